"""Run the command line as if some packages were not installed.

    python blocked.py PACKAGE,PACKAGE pushpull-arguments ...

Python refuses to import what `sys.modules` holds as None.
"""

import sys


def main() -> None:
    packages, *arguments = sys.argv[1:]
    for name in packages.split(","):
        sys.modules[name] = None
    sys.argv = ["pushpull", *arguments]
    from pushpull.cli import main as pushpull

    pushpull()


if __name__ == "__main__":
    main()
