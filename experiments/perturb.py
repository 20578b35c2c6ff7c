"""The same as `alade-brian perturb`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("perturb", prog="perturb.py")
