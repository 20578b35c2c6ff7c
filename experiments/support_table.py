"""The same as `alade-brian support-table`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("support-table", prog="support_table.py")
