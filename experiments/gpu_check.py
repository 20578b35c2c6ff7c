"""The same as `alade-brian gpu-check`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("gpu-check", prog="gpu_check.py")
