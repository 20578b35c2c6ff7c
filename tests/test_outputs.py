"""Where commands write: the lock of a folder between processes, and files that are there already."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alade_brian.errors import UserError
from alade_brian.outputs import LOCK, check_new_file, check_not_locked, is_unused, remove_unfinished, writing_to

HOLD = """
import sys
from pathlib import Path
from alade_brian.outputs import writing_to
with writing_to(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
UNFINISHED = f".config.yaml.{'0a' * 16}.tmp"


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error, writing_to(folder):
        pass
    return str(error.value)


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = holder(tmp_path / "out")
    expected = f"another process is writing to {tmp_path / 'out'}; wait for it or choose another --out"
    assert refused(tmp_path / "out") == expected
    with pytest.raises(UserError, match="another process is writing"):
        check_not_locked(tmp_path / "out")
    first.communicate("")
    assert first.returncode == 0
    check_not_locked(tmp_path / "out")
    with writing_to(tmp_path / "out"):
        (tmp_path / "out" / "result").write_text("1")
    check_not_locked(tmp_path / "out")


def test_a_lock_whose_process_was_killed_blocks_nobody(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / LOCK).is_file() and is_unused(tmp_path)
    check_not_locked(tmp_path)
    with writing_to(tmp_path):
        pass


def test_a_command_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing_to(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with writing_to(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert refused(out).startswith(f"{out} cannot be written (")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "content", "unused"),
    [
        (LOCK, "", True),
        ("run.log", "", True),
        (UNFINISHED, "half", True),
        ("run.log", "a line", False),
        ("config.yaml", "", False),
        (".notes.tmp", "mine", False),
    ],
)
def test_what_makes_a_folder_used(tmp_path: Path, name: str, content: str, unused: bool) -> None:
    assert is_unused(tmp_path / "missing") and is_unused(tmp_path)
    (tmp_path / name).write_text(content)
    assert is_unused(tmp_path) == unused


def test_unfinished_files_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (UNFINISHED, ".notes.tmp", "config.yaml"):
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", "config.yaml"}


def test_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    check_new_file(None, "--json")
    check_new_file(tmp_path / "new.json", "--json")
    (tmp_path / "old.json").write_text("precious")
    with pytest.raises(UserError, match=r"old\.json already exists; choose another --json or remove it"):
        check_new_file(tmp_path / "old.json", "--json")
    with pytest.raises(UserError, match="is a folder; choose another --json"):
        check_new_file(tmp_path, "--json")
