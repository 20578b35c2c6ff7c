"""Options, environment variables, folders and disks that a command cannot work with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from command_line import call
from hostile import contents, ids, limited, refused, write_config
from test_nir_links import graph

from alade_brian import files
from alade_brian.files import CannotWrite, write_bytes, write_json
from alade_brian.simulation.cache import builds

OPTIONS: list[tuple[str, tuple[str, ...], str]] = [
    ("run", ("--seed", "1e3"), "--seed"),
    ("run", ("--seed", "-1"), "--seed"),
    ("run", ("--seed", "99999999999999999999"), "--seed"),
    ("run", ("--keep-every", "nan"), "--keep-every"),
    ("run", ("--keep-every", "-1"), "--keep-every"),
    ("run", ("--keep-every", "inf"), "--keep-every"),
    ("run", ("--verify-images", "0"), "verify_images is 0"),
    ("run", ("--verify-images", "9" * 30), "verify_images"),
    ("run", ("--workers", "0"), "workers is 0"),
    ("run", ("--cluster", "nowhere"), "cluster"),
    ("run", ("--backend", ""), "unknown backend ''"),
    ("run", ("--connectivity", "x"), "unknown connectivity 'x'"),
    ("run", ("--device", "x"), "training.device is 'x'"),
    ("run", ("--dataset", ""), "unknown data set ''"),
    ("run", ("--method", ""), "''"),
    ("run", ("--method", "x.py:y"), "x.py cannot be read"),
    ("run", ("--backbone", "x"), "unknown backbone 'x'"),
    ("run", ("--data-root", "nowhere", "--dataset", "npz"), "nowhere is not a file"),
    ("run", ("--data-root", "a\0b", "--dataset", "npz"), "printable"),
    ("run", ("--data-root", "a\udc80b", "--dataset", "npz"), "is not UTF-8"),
    ("run", ("--config", "a\udc80b"), "is not UTF-8"),
    ("run", ("--config", 300 * "a"), "File name too long"),
    ("run", ("--out", "a\udc80b"), "is not UTF-8"),
    ("run", ("--out", 300 * "a"), "File name too long"),
    ("run", ("--out", "/proc/x"), "cannot be written"),
    ("run", ("--out", "/dev/null"), "holds another run or other files"),
    ("run", ("--out", "/dev/null/x"), "cannot be written"),
    ("run", ("--resume", "--out", "nowhere"), "holds no run"),
    ("run", ("--resume", "--out", "/dev/null"), "holds no run"),
    ("run", ("--set",), "--set"),
    ("compare", ("digits",), "no grid file"),
    ("compare", ("ablation", "--jobs", "0"), "--jobs 0"),
    ("compare", ("ablation", "--rows", "x"), "has no row 'x'"),
    ("compare", ("ablation", "--seeds", "-1"), "has no seed '-1'"),
    ("compare", ("ablation", "--out", "/dev/null/x", "--report-only"), "/dev/null/x"),
    ("benchmark", ("engine", "--seed", "-1"), "--seed"),
    ("benchmark", ("engine", "--seconds", "nan"), "--seconds"),
    ("benchmark", ("engine", "--seconds", "-1"), "--seconds"),
    ("benchmark", ("engine", "--seconds", "0"), "--seconds"),
    ("benchmark", ("engine", "--rates", "1.5"), "--rates"),
    ("benchmark", ("engine", "--rates", "0"), "--rates"),
    ("benchmark", ("engine", "--explicit-rates", "nan"), "--explicit-rates"),
    ("benchmark", ("engine", "--images", "-1"), "images"),
    ("benchmark", ("engine", "--rounds", "0"), "--rounds"),
    ("benchmark", ("engine", "--json", "/tmp"), "is a folder"),
    ("benchmark", ("engine", "--only", "x"), "--only"),
    ("benchmark", ("agreement", "--rate", "2"), "--rate"),
    ("benchmark", ("agreement", "--images", "0"), "--images 0"),
    ("benchmark", ("training", "--batch", "0"), "--batch"),
    ("benchmark", ("training", "--threads", "-1"), "--threads"),
    ("benchmark", ("training", "--tasks", "1"), "--tasks"),
    ("benchmark", ("nope",), "nope"),
    ("gpu-check", ("--seconds", "nan"), "--seconds"),
    ("gpu-check", ("--minutes", "-1"), "--minutes"),
    ("gpu-check", ("--minutes", "inf"), "--minutes"),
    ("gpu-check", ("--batches", "0"), "--batches"),
    ("gpu-check", ("--rates", "1.5"), "--rates"),
    ("gpu-check", ("--rates", "nan"), "--rates"),
    ("gpu-check", ("--images", "-1"), "--images -1"),
    ("gpu-check", ("--bandwidth", "0"), "--bandwidth"),
    ("gpu-check", ("--seed", "-1"), "--seed"),
    ("gpu-check", ("--json", "/tmp"), "is a folder"),
    ("report", ("nowhere",), "there is no run folder nowhere"),
    ("report", ("/dev/null",), "there is no run folder"),
    ("figures", ("nowhere", "--dpi", "0"), "--dpi"),
    ("figures", ("nowhere", "--dpi", "1" + 20 * "0"), "--dpi"),
    ("export", ("nowhere", "--to", "x.txt"), "the ending"),
    ("export", ("nowhere", "--to", "x.nwb", "--gap", "nan"), "--gap"),
    ("verify", ("nowhere.py:x", "nowhere.npy"), "nowhere"),
    ("verify", ("nowhere", "nowhere.npy"), "nowhere.npy cannot be read"),
    ("systems", ("nope",), "nope"),
    ("conformance", ("nowhere",), "nowhere"),
]  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: ids((" ".join(case[1][:3]),)))
def test_an_option_is_refused(
    case: tuple[str, tuple[str, ...], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(capsys, case[2], case[0], *case[1])
    assert contents(tmp_path) == {}


# The environment


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


ONLY_VERSION = '[ "$1" = --version ] && echo c 1.0 && exit 0; echo busy >&2; sleep 600'

VARIABLES: list[tuple[str, Callable[[Path], dict[str, str]], str]] = [
    ("no compiler", lambda tmp: {"CXX": "no-such-compiler"}, "compiler"),
    ("a folder for a compiler", lambda tmp: {"CXX": str(tmp)}, "compiler"),
    ("a compiler with options", lambda tmp: {"CXX": "g++ -O2"}, "compiler"),
    ("a compiler that fails", lambda tmp: {"CXX": script(tmp / "c", "echo error: no >&2; exit 1")}, "error: no"),
    ("a compiler of noise", lambda tmp: {"CXX": script(tmp / "c", "printf 'error: \\377' >&2; exit 1")}, "error"),
    ("a compiler that is none", lambda tmp: {"CXX": script(tmp / "c", "exit 0")}, ""),
    ("a compiler that hangs", lambda tmp: {"CXX": script(tmp / "c", "echo busy >&2; sleep 600")}, "last words: busy"),
    ("a compiler that compiles forever", lambda tmp: {"CXX": script(tmp / "c", ONLY_VERSION)}, "last words: busy"),
    ("a file for the cache", lambda tmp: {"ALADE_BRIAN_CACHE": str(tmp / "x.nir")}, "x.nir"),
    ("a cache below a file", lambda tmp: {"ALADE_BRIAN_CACHE": str(tmp / "x.nir" / "y")}, "x.nir"),
    ("a cache nowhere", lambda tmp: {"ALADE_BRIAN_CACHE": "/proc/x"}, "/proc/x"),
]


@pytest.mark.parametrize("case", VARIABLES, ids=ids)
def test_an_environment_is_refused(
    case: tuple[str, Callable[[Path], dict[str, str]], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nir.write(tmp_path / "x.nir", graph())
    np.savez(tmp_path / "input.npz", input=np.ones((2, 3)))
    monkeypatch.setattr(builds, "PATIENCE", 0.5)
    monkeypatch.setenv("ALADE_BRIAN_CACHE", str(tmp_path / "cache"))
    for name, value in case[1](tmp_path).items():
        monkeypatch.setenv(name, value)
    files = ["--input", tmp_path / "input.npz", "--out", tmp_path / "out.npz"]
    refused(capsys, case[2], "run-nir", tmp_path / "x.nir", *files, "--backend", "cpp")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "-1"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_a_variable_of_torchrun_is_refused(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = write_config(tmp_path / "run.yaml")
    refused(capsys, "torchrun", "run", "--config", config, "--out", tmp_path / "out")
    assert contents(tmp_path).keys() == {"run.yaml"}


# Writing

FAULTS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES]


@pytest.mark.parametrize("fault", FAULTS, ids=errno.errorcode.__getitem__)
def test_what_cannot_be_written_leaves_what_was(fault: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "x", b"before")

    def fail(number: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(CannotWrite, match=os.strerror(fault)) as caught:
        write_json(tmp_path / "x", {"a": 1})
    assert caught.value.errno == fault and str(tmp_path / "x") in str(caught.value)
    assert contents(tmp_path) == {"x": b"before"}


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_run_whose_disk_is_full_can_be_resumed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, real, written = write_config(tmp_path / "run.yaml"), files.os.fsync, iter(range(10**6))

    def fill(descriptor: int) -> None:
        if next(written) >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fill)
        refused(capsys, "No space left on device", "run", "--config", config, "--out", tmp_path / "out")
    again = ["--resume"] if (tmp_path / "out" / "config.yaml").exists() else []
    with limited():
        assert call("run", "--config", config, *again, "--out", tmp_path / "out") == 0
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(CannotWrite, match="check the folder"):
        write_bytes(tmp_path / "x", b"")
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_bytes(Path("/dev/null/x"), b"")
    assert contents(tmp_path).keys() == {"x", "x/y"}


CODE = "import sys; from alade_brian.cli import main; main('systems', 'alade-brian systems', [])"


def outcome(**streams: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE], stderr=subprocess.PIPE, text=True, timeout=120, **streams)


def test_a_full_or_closed_output_is_no_traceback() -> None:
    with open("/dev/full", "w") as full:
        done = outcome(stdout=full)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr
    closed = outcome(preexec_fn=lambda: os.close(1))
    assert closed.returncode == 0 and not closed.stderr
