"""The same as `alade-brian compare`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("compare", prog="compare.py")
