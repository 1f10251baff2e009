"""`python -m textvae`, which is also what torchrun starts."""

from textvae.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
