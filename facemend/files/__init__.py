"""Picture files: bytes to `Picture` and back."""
