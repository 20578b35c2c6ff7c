"""Worker processes import nothing from the folder in which a command was called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alade_brian.safe_path import safe_path

PROGRAM = """
import joblib
from alade_brian.safe_path import safe_path

with safe_path():
    print(joblib.Parallel(2, backend="loky")(joblib.delayed(abs)(k) for k in (-1, -2)))
"""


def test_workers_take_no_module_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("numpy", "brian2", "joblib"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('a stranger is {name}')")
    # `-P` keeps the folder from this Python, as a console script does, and is not handed on.
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr
    assert "stranger" not in done.stderr


@pytest.mark.parametrize("before", [None, "0"])
def test_the_environment_is_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with pytest.raises(KeyError), safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        raise KeyError
    assert os.environ.get("PYTHONSAFEPATH") == before
