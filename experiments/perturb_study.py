"""The same as `alade-brian study`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("study", prog="perturb_study.py")
