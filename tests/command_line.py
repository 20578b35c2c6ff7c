"""Commands as a shell calls them, in this process."""

from __future__ import annotations

import pytest

from alade_brian.cli import main


def call(command: str, *arguments: object, prog: str = "") -> int:
    """The exit code of `alade-brian COMMAND ARGUMENTS`, under another program name where one is given."""
    with pytest.raises(SystemExit) as left:
        main(command, prog or f"alade-brian {command}", [str(each) for each in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code
