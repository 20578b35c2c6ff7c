"""The command `alade-brian`, and what all its sub-commands share: a user's error is one sentence on stderr and exit
code 2, Ctrl-C is one and exit code 130, a reader that went away (`| head`) is no message and exit code 141; none is a
traceback.

This module is light, and a sub-command is imported only when it is asked for, so that `--help` and a mistyped name are
answered at once and Ctrl-C is a sentence also while heavy imports last.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from alade_brian import __version__
from alade_brian.errors import RunStopped, UserError
from alade_brian.files import is_utf8

INTERRUPTED = 130
# What a shell reports for a program that SIGPIPE ended.
PIPE_CLOSED = 141
PROGRAM = "alade-brian"
# What a file system refuses; other errors of the system are the program's, and stay loud.
FILE_SYSTEM = frozenset({
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EINVAL, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.ENXIO, errno.EPERM,
    errno.EROFS, errno.ESTALE,
})  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A sub-command: its module in `alade_brian.commands` and the line that `alade-brian --help` shows."""

    name: str
    module: str
    help: str
    hidden: bool = False


COMMANDS = (
    Command("run", "run_cil", "train class-incrementally, convert after every task, simulate, verify, report"),
    Command("train", "train", "train a system or a configuration, convert, simulate, verify, report"),
    Command("convert", "convert", "export a network as NIR, Brian2 script or specification, or print its table"),
    Command("verify", "verify", "compare every spike of a network of your own with its simulation"),
    Command("run-nir", "run_nir", "run any NIR graph in Brian2"),
    Command("conformance", "conformance", "compare NIR graphs with their runs in other frameworks, spike by spike"),
    Command("perturb", "perturb", "accuracy of a trained network under growing perturbations"),
    Command("side-by-side", "side_by_side", "several networks under the same perturbations: one figure, one table"),
    Command("study", "perturb_study", "perturb all networks of a grid, by the age of what they learnt"),
    Command("compare", "compare", "compare methods over seeds: table, numbers and figures of a grid"),
    Command("trace", "trace_neurons", "record variables of single neurons in PyTorch and in Brian2"),
    Command("figures", "draw_figures", "draw the figures of a paper from the spikes of a run"),
    Command("export", "export_spikes", "export the spikes of a run as CSV, NWB or NPZ"),
    Command("witness", "witness", "compare every spike with a second simulator, NEST"),
    Command("benchmark", "benchmark", "measured comparisons, each a ratio taken in one run"),
    Command("report", "report", "write the reports of run folders again"),
    Command("coverage", "coverage", "try every neuron class of snnTorch, SpikingJelly and Norse"),
    Command("doctor", "doctor", "check this machine: compiler, packages, GPU, data sets, cache, memory"),
    Command("gpu-check", "gpu_check", "check the simulation on a machine with a GPU"),
    Command("systems", "systems", "list the systems that can be trained"),
    Command(
        "support-table", "support_table", "write the table of what is converted into the documentation", hidden=True
    ),
    Command(
        "zoo-table", "zoo_table", "write the table of other frameworks' networks into the documentation", hidden=True
    ),
)


def console() -> NoReturn:
    """The console script `alade-brian`: find the sub-command, run it and leave with its exit code."""
    _leave(PROGRAM, lambda: _dispatch(sys.argv[1:]))


def main(command: str, prog: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a sub-command under the program name `prog` and leave with its exit code.

    arguments   those of the sub-command (default: the process's)
    """
    _leave(prog, lambda: _run(command, prog, arguments))


def run_command(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Parse, run, and leave with the exit code. Errors that are not the user's stay loud.

    The parser's default `interrupted`, if it has one, says how to go on with what was stopped; `main` finds the
    program's name as `prog` among its arguments.
    """
    _leave(parser.prog, lambda: _parsed_and_run(parser, main, arguments))


def _dispatch(arguments: Sequence[str]) -> int:
    """The exit code of `alade-brian ARGUMENTS`."""
    if "_ARGCOMPLETE" in os.environ:
        return _complete()
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("-h", "--help"):
        print(_overview())
        return 0
    if name == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    known = [command.name for command in COMMANDS]
    if name in known:
        return _run(name, f"{PROGRAM} {name}", rest)
    close = difflib.get_close_matches(name, known, 1)
    what = f"there is no command '{name}'" if name else "no command is given"
    remedy = f"did you mean '{close[0]}'?" if close else f"'{PROGRAM} --help' lists them"
    sys.stderr.write(f"{PROGRAM}: error: {what}; {remedy}\n")
    return 2


def _overview() -> str:
    shown = [command for command in COMMANDS if not command.hidden]
    width = max(len(command.name) for command in shown)
    lines = [f"  {command.name:<{width}}  {command.help}" for command in shown]
    head = (
        f"usage: {PROGRAM} [-h] [--version] COMMAND ...\n\nTrain spiking networks in PyTorch, simulate them in Brian2, "
    )
    tail = f"'{PROGRAM} COMMAND --help' lists the options of a command."
    return "\n".join([f"{head}and compare every spike.\n", *lines, "", tail])


def _module(name: str) -> Any:
    """The module of a sub-command."""
    (command,) = (each for each in COMMANDS if each.name == name)
    return importlib.import_module(f"alade_brian.commands.{command.module}")


def _run(name: str, prog: str, arguments: Sequence[str] | None) -> int:
    module = _module(name)
    return _parsed_and_run(module.parser(prog), module.main, arguments)


def _parsed_and_run(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None
) -> int:
    _leave_usage_out(parser)
    for each in sys.argv[1:] if arguments is None else arguments:
        if not is_utf8(each):
            parser.error(f"the argument {each!a} is not UTF-8; rename the file, or write it in UTF-8")
    parsed = parser.parse_args(arguments)
    parsed.prog = parser.prog
    # Brian2's own remarks (name clashes, code generation) are for its developers.
    logging.getLogger("brian2").setLevel(logging.ERROR)
    how = f"; {parsed.interrupted}" if hasattr(parsed, "interrupted") else ""
    try:
        return main(parsed)
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted{how}\n")
        return INTERRUPTED
    except Exception as error:
        sentence = str(error) if _is_users(error) else _environments(error)
        if sentence is None:
            raise
        kept = isinstance(error, RunStopped | MemoryError | OSError)
        sys.stderr.write(f"{parser.prog}: error: {sentence}{how if kept else ''}\n")
        return 2


def _leave_usage_out(parser: argparse.ArgumentParser) -> None:
    """A wrong argument is one sentence; `--help` has the rest."""
    setattr(parser, "print_usage", lambda file=None: None)  # noqa: B010
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _leave_usage_out(each)


def _environments(error: Exception) -> str | None:
    """A sentence if a file system or the memory failed, which no reader or writer turned into its own; else None."""
    if isinstance(error, MemoryError):
        return f"the memory of this machine does not suffice ({error or 'out of memory'}); use fewer or smaller inputs"
    if isinstance(error, OSError) and error.errno in FILE_SYSTEM:
        where = error.filename if error.filename is not None else "a file"
        return f"{where} cannot be read or written ({error.strerror}); check the path, its permissions and free space"
    return None


def _is_users(error: Exception) -> bool:
    if isinstance(error, UserError):
        return True
    # Here, not above: they import numpy, which a machine that is to be checked for a GPU may not have yet.
    from alade_brian.conversion.refusals import RefusedLayers
    from alade_brian.spec import SpecError

    return isinstance(error, SpecError | RefusedLayers)


def _leave(prog: str, run: Callable[[], int]) -> NoReturn:
    """Leave with the exit code of `run`, whose interrupt or closed output is no traceback."""
    code: Any
    if sys.stdout is None:  # it was closed before Python began
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        code = run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: interrupted\n")
        code = INTERRUPTED
    except SystemExit as left:  # argparse: --help and wrong usage
        code = left.code
        if _output_is_closed():
            code = PIPE_CLOSED
    except BrokenPipeError:
        # Another pipe's end, that of a program we started for example, is an error of ours and stays loud.
        if not _output_is_closed():
            raise
        code = PIPE_CLOSED
    sys.exit(code)


def _output_is_closed() -> bool:
    """Whether nobody reads stdout any more; what is still to be written there is then dropped."""
    try:
        number = sys.stdout.fileno()
    except OSError:  # not a file: somebody caught what is written
        return False
    # A flush does not tell: an unbuffered stream has nothing left to write.
    poll = select.poll()
    poll.register(number, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    # Python flushes once more at its exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return True


def _complete() -> int:
    """Answer a shell that asks for completions (`eval "$(register-python-argcomplete alade-brian)"`).

    Only the sub-command on the line is imported.
    """
    import argcomplete

    typed = os.environ.get("COMP_LINE", "").split()[1:2]
    top = argparse.ArgumentParser(prog=PROGRAM)
    top.add_argument("--version", action="store_true")
    names = top.add_subparsers()
    for command in COMMANDS:
        if command.hidden:
            continue
        parents = [_module(command.name).parser(f"{PROGRAM} {command.name}")] if [command.name] == typed else []
        names.add_parser(command.name, parents=parents, add_help=not parents)
    argcomplete.autocomplete(top)
    return 0
