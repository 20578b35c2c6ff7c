"""The same as `alade-brian run`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("run", prog="run_cil.py")
