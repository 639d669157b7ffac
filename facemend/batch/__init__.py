"""Many pictures by many processes: from a folder or a bucket to another one, on one machine or on a Ray cluster."""
