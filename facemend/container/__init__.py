"""Parts of the container: what Cog does not require to be in predict.py."""
