"""`alade-brian doctor` and `alade-brian report`."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call
from test_analysis_synthetic import make_run

from alade_brian.runs import doctor


def lines(shown: str) -> dict[str, tuple[str, str]]:
    """Of each subject, whether it is there, and the text."""
    split = [(line[:8].strip(), line[8:28].strip(), line[29:]) for line in shown.splitlines()]
    return {subject: (state, text) for state, subject, text in split}


def test_a_machine_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code = call("doctor")
    found = lines(capsys.readouterr().out)
    assert {"compiler", *doctor.PACKAGES, "cache", "simulation", "gpu", "nvcc", "data digits", "disk", "memory"} <= set(
        found
    )
    assert all(state in ("ok", "missing") and text for state, text in found.values())
    assert found["data digits"] == ("ok", "1,797 images of 10 classes")
    if shutil.which("g++"):
        assert code == 0 and found["simulation"][0] == "ok", found


def test_without_a_compiler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(doctor, "_data_sets", lambda: iter(()))
    assert call("doctor") == 1
    found = lines(capsys.readouterr().out)
    assert found["compiler"][0] == found["simulation"][0] == "missing"
    assert "apt-get install g++" in found["compiler"][1] and "C++ compiler" in found["simulation"][1]


@pytest.mark.parametrize(("version", "says"), [("1.0", "pip install 'nir"), (None, "not installed; pip install 'nir")])
def test_a_package_that_is_old_or_missing_stops_the_rest(
    version: str | None, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.metadata.version

    def changed(name: str) -> str:
        if name != "nir":
            return known(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(importlib.metadata, "version", changed)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["nir>=1.0.8,<2", "numpy>=1; extra == 'none'"])
    assert call("doctor") == 1
    found = lines(capsys.readouterr().out)
    assert found["nir"][0] == "missing" and says in found["nir"][1] and "gpu" not in found
    assert found["numpy"][0] == "ok"


def test_a_cache_that_others_can_write_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setenv("ALADE_BRIAN_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "_data_sets", lambda: iter(()))
    assert call("doctor") == 1
    state, text = lines(capsys.readouterr().out)["cache"]
    assert state == "missing" and "others can write" in text and "ALADE_BRIAN_CACHE" in text


def test_nothing_heavy_is_needed_to_say_what_is_missing() -> None:
    code = "import sys\nfor name in ('numpy', 'torch', 'brian2', 'scipy'): sys.modules[name] = None\nimport alade_brian.commands.doctor"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_reports_are_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a", tasks=2, images=20, every_record=True)
    (tmp_path / "a" / "report.html").unlink(missing_ok=True)
    before = (tmp_path / "a" / "metrics.json").read_bytes()
    assert call("report", tmp_path / "missing", tmp_path / "a") == 2
    shown = capsys.readouterr()
    assert shown.out == f"wrote {tmp_path / 'a' / 'report.html'}\n"
    assert shown.err == f"alade-brian report: error: there is no run folder {tmp_path / 'missing'}; check the path\n"
    assert (tmp_path / "a" / "report.html").stat().st_size > 1000 and not (tmp_path / "missing").exists()
    assert call("report", tmp_path / "a") == 0 and (tmp_path / "a" / "metrics.json").read_bytes() == before
