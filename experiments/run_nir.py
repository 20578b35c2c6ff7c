"""The same as `alade-brian run-nir`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("run-nir", prog="run_nir.py")
