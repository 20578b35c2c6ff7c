"""The Python that simulates, where this one cannot: brian2cuda needs another than PyTorch may have.

The other Python runs this very checkout, which is put in front of its path, and needs only what the simulation imports.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import alade_brian
from alade_brian.errors import UserError
from alade_brian.safe_path import SAFE_PATH

VARIABLE = "ALADE_BRIAN_CUDA_PYTHON"
# What a Python that simulates on a GPU is made with.
PACKAGES = "brian2cuda==1.0b1 nvidia-curand joblib scipy"
MAKE = f"python3.12 -m venv cuda-python && cuda-python/bin/pip install {PACKAGES}"
PATIENCE = 120
_NAMES = ("python3.12", "python3.13", "python3.14", "python3", "python")


def simulating_python(needs_brian2cuda: bool, named: Path | None) -> Path | None:
    """The Python that simulates; None for this one. UserError where none that is found can.

    named   by the user; where brian2cuda is needed $ALADE_BRIAN_CUDA_PYTHON names one too, and else one is looked for
    """
    named = named or (Path(os.environ[VARIABLE]) if needs_brian2cuda and os.environ.get(VARIABLE) else None)
    if named is not None:
        path = _executable(named)
        return None if _is_this(path) else path
    if not needs_brian2cuda or importlib.util.find_spec("brian2cuda") is not None:
        return None
    found = next((path for path in _others() if not _is_this(path) and _has_brian2cuda(path)), None)
    if found is None:
        raise UserError(
            f"explicit connectivity on a GPU needs brian2cuda, which neither this Python {sys.version.split()[0]} nor "
            f"another on the PATH has; '{MAKE}', then --cuda-python cuda-python/bin/python; or use --connectivity "
            "shared"
        )
    return found


@cache
def check_python(python: Path, backend: str, connectivity: str) -> None:
    """UserError where that Python cannot simulate in that way on this machine. One that can is asked once."""
    command = [
        str(python),
        "-m",
        "alade_brian.simulation.workers.other_python_server",
        "--check",
        backend,
        connectivity,
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{python} cannot be run ({error}); name a Python that can with --cuda-python") from None
    if done.returncode:
        raise UserError(ended_sentence(python, done.returncode, done.stderr))
    try:
        refusal = json.loads(done.stdout)["refusal"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{python} is no Python, or not one that runs this version of alade_brian: it said "
            f"'{done.stdout.strip()[:100]}'; name another with --cuda-python"
        ) from None
    if refusal is not None:
        raise UserError(f"{refusal} (in {python})")


def ended_sentence(python: Path, code: int, said: str) -> str:
    """What to say of the other Python that ended with this code, saying that on its standard error."""
    lacks = re.search(r"No module named '([\w.]+)'", said)
    if lacks is not None:
        package = lacks[1].split(".")[0]
        return f"{python} lacks the package {package}; {python} -m pip install {package}"
    last = re.sub(r"\s+", " ", said.strip().splitlines()[-1])[:300] if said.strip() else "it said nothing"
    return f"the simulation in {python} ended with code {code} (killed? out of memory?): {last}"


def environment() -> dict[str, str]:
    """Variables with which another Python imports this very alade_brian, and nothing from the working directory."""
    # The package lies beside its checkout's or installation's other packages, whatever link leads there.
    here = str(Path(alade_brian.__file__).resolve().parent.parent)
    before = os.environ.get("PYTHONPATH")
    found = here if not before else f"{here}{os.pathsep}{before}"
    return {**os.environ, "PYTHONPATH": found, **SAFE_PATH}


def _executable(named: Path) -> Path:
    found = shutil.which(named)
    if found is None:
        raise UserError(f"there is no Python at {named}; '{MAKE}', then --cuda-python cuda-python/bin/python")
    # Made absolute, but no link followed: by its link a Python knows its environment.
    return Path(os.path.abspath(found))


def _is_this(python: Path) -> bool:
    return os.path.abspath(python) == os.path.abspath(sys.executable)


def _others() -> Iterator[Path]:
    """Other Pythons of this machine: on the PATH, and pyenv's, the newest first."""
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    yield from sorted(root.glob("3.1[2-9]*/bin/python"), reverse=True)


def _has_brian2cuda(python: Path) -> bool:
    question = "import importlib.util, sys; sys.exit(importlib.util.find_spec('brian2cuda') is None)"
    try:
        command = [str(python), "-c", question]
        return not subprocess.run(command, capture_output=True, timeout=PATIENCE, env=environment()).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False
