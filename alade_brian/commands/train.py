"""Train one network, or a system by its name, on all classes of a data set at once; convert, simulate, compare spikes.

    alade-brian train digits-plain
    alade-brian train my.yaml --dataset fashion-mnist --set learning.optimiser=adamw
    alade-brian train digits-position                    # values to be learnt in place of classes

CONFIG is a YAML file or the name of one that is shipped. The run folder, resuming and the report are those of
`alade-brian run`, with one task. Exit code 0: done; 1: the simulated network does not agree with the trained one; 2:
wrong use or input.
"""

from __future__ import annotations

import argparse

from alade_brian.commands import run_cil
from alade_brian.commands.options import add_run
from alade_brian.config.run import read_mapping
from alade_brian.config.shipped import find_file, shipped_files
from alade_brian.errors import UserError
from alade_brian.learning import method_class


def parser(prog: str = "alade-brian train") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "config", nargs="?", metavar="CONFIG",
        help=f"YAML file of a method that learns all classes at once, or one of {', '.join(shipped())}; may be left "
        "out with --resume",
    )  # fmt: skip
    add_run(p)
    p.set_defaults(method=None)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Run the job; the exit code."""
    if arguments.config is None and not (arguments.resume and arguments.out is not None):
        raise UserError(f"name a CONFIG: a YAML file, or one of {', '.join(shipped())}; or --resume --out DIR")
    if arguments.config is not None:
        arguments.config = str(find_file(arguments.config, "configs"))
    name, config = run_cil.configuration(arguments)
    if not method_class(config.method).all_at_once:
        raise UserError(
            f"the method '{config.method}' learns task after task; use `alade-brian run`, or `method: plain` in the "
            "configuration"
        )
    return run_cil.run_configured(arguments, name, config, incremental=False)


def shipped() -> tuple[str, ...]:
    """Names of the shipped configurations of one network that learns all classes at once."""
    methods = {name: read_mapping(file).get("method") for name, file in shipped_files("configs").items()}
    return tuple(name for name, method in methods.items() if method is not None and method_class(method).all_at_once)
