"""The parts of the container that need no declaration in predict.py."""
