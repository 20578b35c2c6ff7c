"""What all commands share: a user's error is one sentence on stderr and exit code 2, Ctrl-C is one and exit code 130,
never a traceback.

A command imports this module before anything else: it is light, and from then on Ctrl-C is a sentence also while the
heavy imports last.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from alade_brian.errors import RunStopped, UserError

INTERRUPTED = 130


def run_command(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Parse, run, and leave with the exit code. Errors that are not the user's stay loud.

    The parser's default `interrupted`, if it has one, says how to go on with what was stopped.
    """
    # Here, not above: they import numpy.
    from alade_brian.conversion.refusals import RefusedLayers
    from alade_brian.spec.errors import SpecError

    parsed = parser.parse_args(arguments)
    # Brian2's own remarks (name clashes, code generation) are for its developers.
    logging.getLogger("brian2").setLevel(logging.ERROR)
    how = f"; {parsed.interrupted}" if hasattr(parsed, "interrupted") else ""
    try:
        code = main(parsed)
    except (UserError, SpecError, RefusedLayers) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}{how if isinstance(error, RunStopped) else ''}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted{how}\n")
        code = INTERRUPTED
    sys.exit(code)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # At Python's own prompt Ctrl-C ends a statement, not the program.
    if not issubclass(kind, KeyboardInterrupt) or hasattr(sys, "ps1"):
        sys.__excepthook__(kind, error, trace)


def _say_interrupted() -> None:
    """Not in the hook: Brian2 puts another in its place, which is silent on Ctrl-C."""
    if getattr(sys, "last_type", None) is not KeyboardInterrupt or hasattr(sys, "ps1"):
        return
    sys.stderr.write(f"{Path(sys.argv[0]).name}: interrupted\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # Python itself would end with the signal.
    os._exit(INTERRUPTED)


sys.excepthook = _excepthook
# The first to be registered, it is the last to be called.
atexit.register(_say_interrupted)

# Sub-commands, and the module of `alade_brian.commands` that holds each, imported only when it is asked for.
COMMANDS = {
    "run": "run_cil",
    "train": "train",
    "convert": "convert",
    "run-nir": "run_nir",
    "perturb": "perturb",
    "study": "perturb_study",
    "compare": "compare",
    "export": "export_spikes",
    "figures": "draw_figures",
    "trace": "trace_neurons",
    "witness": "witness",
    "benchmark": "benchmark",
    "gpu-check": "gpu_check",
    "support-table": "support_table",
}


def main(command: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a sub-command and leave with its exit code."""
    module = importlib.import_module(f"alade_brian.commands.{COMMANDS[command]}")
    run_command(module.parser(), module.main, arguments)
