"""`python -m pushpull` is the `pushpull` command."""

from pushpull.cli import main

if __name__ == "__main__":
    main()
