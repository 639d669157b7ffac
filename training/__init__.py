"""Training of the bundled lite models, one command for each."""
