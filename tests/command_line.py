"""Commands as a shell calls them: in this process, or in one that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alade_brian.cli import main

TRAIN = Path(__file__).resolve().parent.parent / "experiments" / "train.py"


def call(command: str, *arguments: object, prog: str = "") -> int:
    """The exit code of `alade-brian COMMAND ARGUMENTS`, under another program name where one is given."""
    with pytest.raises(SystemExit) as left:
        main(command, prog or f"alade-brian {command}", [str(each) for each in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def kill_training(config: Path, out: Path) -> None:
    """Train by a configuration in a process of its own, and kill that at the first epoch that it keeps in `out`."""
    command = [sys.executable, str(TRAIN), str(config), "--out", str(out), "--keep-every", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / "resume-epoch.pt").is_file() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / "metrics.json").exists()
