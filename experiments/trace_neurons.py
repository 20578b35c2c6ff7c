"""The same as `alade-brian trace`; `--help` lists the options."""

from alade_brian.cli import main

if __name__ == "__main__":
    main("trace", prog="trace_neurons.py")
