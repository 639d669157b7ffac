"""The page: a small web server on this machine, and the files it sends to the browser."""
