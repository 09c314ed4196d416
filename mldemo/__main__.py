"""`python -m mldemo`."""

from mldemo.cli import main

if __name__ == "__main__":
    main()
