"""Entry point of `python -m textvae`, also used by torchrun."""

from textvae.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
