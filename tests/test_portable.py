"""Systems that lack parts of Linux: the package is imported there, and simulates."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alade_brian.simulation.fused import process

# Modules and functions that macOS or Windows lacks, taken away before anything is imported but psutil, whose part for
# Linux is built on them.
HIDE = """
import os, psutil, sys
for name in ("fcntl", "resource", "pwd"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "sysconf", "geteuid"):
    delattr(os, name)
"""
SIMULATE = """
import numpy as np
import alade_brian
from alade_brian.simulation import SimulationSettings, simulate
from alade_brian.spec import Dense, Identity, NetworkSpec, NeuronEquations, Population, Projection, Readout, Stimulus
from alade_brian.spec import constant

numbers = {"v_threshold": constant(1.0), "v_reset": constant(0.0)}
neuron = NeuronEquations("v : 1", numbers, comparison=">=")
spec = NetworkSpec(
    (Stimulus((2,)),),
    (Population("cells", (1,), neuron), Population("out", (1,), NeuronEquations("v : 1", spiking=False, reset="none"))),
    (Projection("image", "cells", Dense(np.array([[0.25, 0.25]]))), Projection("cells", "out", Identity())),
    Readout("out"),
    4,
)
found = simulate(spec, np.ones((1, 2)), SimulationSettings(backend="numpy"))
print(found.spikes["cells"][0, :, 0].astype(int).tolist())
"""
STREAMS = """
import sys, tempfile
import numpy as np
from pathlib import Path
from alade_brian.simulation.fused.process import Child

scratch = tempfile.TemporaryDirectory()
echo = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(3)); sys.stdout.flush(); sys.stdin.read()"
child = Child([sys.executable, "-c", echo], Path(scratch.name), scratch, "the echo")
child.feed(iter([b"abc"]))
print(child.read(3).tobytes().decode())
child.close()
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_numpy_backend_simulates_where_linux_modules_are_missing() -> None:
    assert run(HIDE + SIMULATE) == "[0, 1, 0, 1]"


@pytest.mark.parametrize("hide", [HIDE, "import fcntl; del fcntl.F_SETPIPE_SZ\n"], ids=["no fcntl", "no F_SETPIPE_SZ"])
def test_a_program_is_fed_where_pipes_cannot_be_enlarged(hide: str) -> None:
    assert run(hide + STREAMS) == "abc"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux sets the size of a pipe")
def test_linux_gets_large_pipes() -> None:
    import fcntl

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    process._enlarge(child.stdin)
    size = fcntl.fcntl(child.stdin, fcntl.F_GETPIPE_SZ)
    child.communicate(b"\n")
    assert size == process.STREAM_BYTES
