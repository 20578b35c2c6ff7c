"""A command may be run inside any folder: what lies there is not run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = ROOT / "experiments"
SETS = "codegen.target = (open({marker!r}, 'w').close(), 'numpy')[1]\n"
SHOWS = "import alade_brian.simulation, brian2; print(brian2.prefs.codegen.target)"


def preferences(folder: Path, name: str) -> Path:
    """A file of preferences that leaves a marker when it is read."""
    marker = folder / "marker"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(SETS.format(marker=str(marker)))
    return marker


def run(folder: Path, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home or folder / "nobody")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=True
    )


def test_brian2_itself_runs_the_file(tmp_path: Path) -> None:
    marker = preferences(tmp_path, "brian_preferences")
    run(tmp_path, "-c", "import brian2")
    assert marker.exists()


@pytest.mark.parametrize("command", ["run_nir.py", "run_cil.py", "convert.py"])
def test_a_command_does_not_run_the_folder_it_is_started_in(command: str, tmp_path: Path) -> None:
    marker = preferences(tmp_path, "brian_preferences")
    done = run(tmp_path, str(EXPERIMENTS / command), "--help")
    assert "usage" in done.stdout and not marker.exists()
    assert done.stderr.count("brian_preferences") == 1 and "~/.brian/user_preferences" in done.stderr


@pytest.mark.parametrize("module", ["brian2", "brian2.only", "brian2.core.preferences", "brian2.units"])
def test_whatever_imports_brian2_behind_the_package_is_safe(module: str, tmp_path: Path) -> None:
    marker = preferences(tmp_path, "brian_preferences")
    run(tmp_path, "-c", f"import alade_brian, sys; assert 'brian2' not in sys.modules; import {module}, brian2")
    assert not marker.exists()


def test_preferences_of_the_user_are_read(tmp_path: Path) -> None:
    marker = preferences(tmp_path, ".brian/user_preferences")
    done = run(tmp_path, "-c", SHOWS, home=tmp_path)
    assert marker.exists() and done.stdout.strip() == "numpy" and "not read" not in done.stderr


def test_reading_preferences_later_is_the_users_own_choice(tmp_path: Path) -> None:
    marker = preferences(tmp_path, "brian_preferences")
    run(tmp_path, "-c", "import alade_brian.simulation, brian2; brian2.prefs.load_preferences()")
    assert marker.exists()


def test_no_program_imports_brian2_before_the_package() -> None:
    for file in EXPERIMENTS.rglob("*.py"):
        names = {
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not {name for name in names if name.split(".")[0] == "brian2"}, file


def test_a_process_for_another_python_takes_no_module_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text('open("marker", "w").close()\n')
    code = (
        "import pathlib, sys; from alade_brian.simulation.other_python.find import check_python; "
        "check_python(pathlib.Path(sys.executable), 'numpy', 'auto')"
    )
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text(code)
    run(tmp_path, str(tmp_path / "program" / "main.py"))
    assert not (tmp_path / "marker").exists()
