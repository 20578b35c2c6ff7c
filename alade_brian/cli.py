"""What all commands share: a user's error is one sentence on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from alade_brian.conversion.spec import SpecError
from alade_brian.conversion.table import RefusedLayers
from alade_brian.errors import UserError


def run_command(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Parse, run, and leave with the exit code. Errors that are not the user's stay loud."""
    parsed = parser.parse_args(arguments)
    # Brian2's own remarks (name clashes, code generation) are for its developers.
    logging.getLogger("brian2").setLevel(logging.ERROR)
    try:
        code = main(parsed)
    except (UserError, SpecError, RefusedLayers) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted; go on with --resume\n")
        code = 130
    sys.exit(code)
