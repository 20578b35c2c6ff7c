"""The same as `alade-brian export`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("export", prog="export_spikes.py")
