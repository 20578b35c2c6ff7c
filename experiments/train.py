"""The same as `alade-brian train`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("train", prog="train.py")
