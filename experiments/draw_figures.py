"""The same as `alade-brian figures`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("figures", prog="draw_figures.py")
