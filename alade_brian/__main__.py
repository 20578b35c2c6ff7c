"""`python -m alade_brian` is `alade-brian`."""

from alade_brian.cli import console

if __name__ == "__main__":
    console()
