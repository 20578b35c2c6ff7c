"""`alade-brian`: the table of commands, names that do not exist, and ends that are not the program's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call

from alade_brian import __version__, cli
from alade_brian.systems import SYSTEMS

ROOT = Path(__file__).resolve().parent.parent
CONSOLE = [sys.executable, "-m", "alade_brian"]


def console(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CONSOLE, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT
    )


def test_the_help_lists_every_command_but_the_hidden_one() -> None:
    shown = console("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    listed = [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")]
    assert listed == [command.name for command in cli.COMMANDS if not command.hidden]
    assert "support-table" in {command.name for command in cli.COMMANDS} - set(listed)


def test_the_version() -> None:
    assert console("--version").stdout == f"alade-brian {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["trase"], "there is no command 'trase'; did you mean 'trace'?"),
        (["xyz"], "there is no command 'xyz'; 'alade-brian --help' lists them"),
        ([], "no command is given; 'alade-brian --help' lists them"),
    ],
)
def test_a_name_that_is_no_command_is_one_sentence(typed: list[str], says: str) -> None:
    done = console(*typed)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"alade-brian: error: {says}\n")


def test_help_version_and_mistakes_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom alade_brian.cli import console\nsys.argv = ['alade-brian', sys.argv[1]]\n"
        "try:\n    console()\nfinally:\n"
        "    assert not {'numpy', 'torch', 'brian2', 'scipy', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    for typed, exit_code in (("--help", 0), ("--version", 0), ("trase", 2)):
        done = subprocess.run([sys.executable, "-c", code, typed], capture_output=True, text=True)
        assert done.returncode == exit_code and "Traceback" not in done.stderr


MODULES = {command.name: command.module for command in cli.COMMANDS}


@pytest.mark.parametrize(
    "name", [name for name, module in MODULES.items() if importlib.util.find_spec(f"alade_brian.commands.{module}")]
)
def test_a_command_goes_by_the_name_it_was_called_by(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for prog in (f"alade-brian {name}", "shim.py"):
        assert call(name, "--help", prog=prog) == 0
        assert capsys.readouterr().out.startswith(f"usage: {prog} [")
        assert call(name, "--no-such-option", prog=prog) == 2
        assert f"{prog}: error: " in capsys.readouterr().err.splitlines()[-1]


def test_every_command_file_has_its_line_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "alade_brian" / "commands").glob("*.py")} - {"__init__", "options", "pages"}
    assert files <= set(MODULES.values())


@pytest.mark.parametrize("shim", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.name)
def test_a_shim_keeps_its_name(shim: Path) -> None:
    assert f'prog="{shim.name}")' in shim.read_text(encoding="utf-8")


def test_a_shim_says_its_own_name_in_errors() -> None:
    command = [sys.executable, ROOT / "experiments" / "convert.py", "missing.npz", "--table"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("convert.py: error: there is no file missing.npz")


@pytest.mark.parametrize("typed", [["--help"], ["systems"], ["systems", "--help"]])
def test_a_reader_that_went_away_is_no_traceback(typed: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*CONSOLE, *typed], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_stays_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: object) -> int:
        raise BrokenPipeError("a program that was started went away")

    monkeypatch.setattr("alade_brian.commands.systems.main", broken)
    with pytest.raises(BrokenPipeError, match="went away"):
        cli.main("systems", "alade-brian systems", [])


def test_ctrl_c_during_the_imports_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = console("run", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (130, "alade-brian: interrupted\n")


def test_the_systems_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("systems") == 0
    shown = capsys.readouterr().out
    assert all(f"{system.name}: {system.paper}" in shown for system in SYSTEMS)
    assert {"alade", "dsd"} <= {system.name for system in SYSTEMS}


def test_a_shell_is_offered_commands_and_options() -> None:
    pytest.importorskip("argcomplete")

    def completions(line: str) -> list[str]:
        environment = {
            **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        }  # fmt: skip
        done = subprocess.run(CONSOLE, capture_output=True, text=True, env=environment)
        return [word.strip() for word in done.stdout.split("\n")]

    assert set(completions("alade-brian sy")) == {"systems"}
    assert set(completions("alade-brian convert m.npz --discretisation e")) == {"exact", "euler"}
    assert "support-table" not in completions("alade-brian su")
