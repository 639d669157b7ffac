"""`python -m facemend` is the command line."""

from facemend.cli import main

if __name__ == "__main__":
    main()
