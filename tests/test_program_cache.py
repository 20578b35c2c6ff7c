"""Compiled programs are run only from folders that nobody else can write to, and only as they were built."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from networks import CPP

from alade_brian.errors import UserError
from alade_brian.models.kernels import kernels
from alade_brian.program_cache import private_folder
from alade_brian.simulation import simulate
from alade_brian.spec import Identity, NetworkSpec, NeuronEquations, Population, Projection, Readout, Stimulus

SPEC = NetworkSpec(
    (Stimulus((1,)),),
    (Population("out", (1,), NeuronEquations("v : 1", spiking=False, reset="none")),),
    (Projection("image", "out", Identity()),),
    Readout("out"),
    2,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ALADE_BRIAN_CACHE", str(tmp_path / "cache"))
    kernels.kernel.cache_clear()
    yield tmp_path / "cache"
    kernels.kernel.cache_clear()


def give_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folder belong to somebody else, or this process to somebody else than its owner."""
    if os.geteuid() == 0:
        os.chown(folder, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)


def run() -> None:
    simulate(SPEC, np.ones((1, 1)), dataclasses.replace(CPP, batch=1))


def test_the_cache_is_made_for_this_user_alone(cache: Path) -> None:
    old = os.umask(0)
    try:
        run()
        assert kernels.kernel("neurons") is not None
    finally:
        os.umask(old)
    folders = [
        cache,
        *(path for path in cache.rglob("*") if path.is_dir() and path.parent in (cache, cache / "kernels")),
    ]
    assert len(folders) == 4 and {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is taken if none is named."""
    monkeypatch.delenv("ALADE_BRIAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "alade_brian" / "builds"


def test_the_usual_folder_is_closed_to_others(usual: Path, caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name.startswith("alade_brian") and r.levelname == "WARNING"]

    run()
    (build,) = (path for path in usual.iterdir() if (path / "main").is_file())
    assert not said()
    made = (build / "main").stat().st_mtime_ns
    usual.chmod(0o770)
    run()
    assert usual.stat().st_mode & 0o777 == 0o700
    assert said() == [f"others could write to the cache folder {usual}; now only you can"]
    assert (build / "main").stat().st_mtime_ns == made
    # What somebody else could have changed is not run.
    build.chmod(0o770)
    run()
    assert "built anew" in said()[-1] and build.stat().st_mode & 0o777 == 0o700
    assert (build / "main").stat().st_mtime_ns > made


def test_the_usual_folder_of_somebody_else_is_refused(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual.mkdir(parents=True)
    usual.chmod(0o777)
    give_away(usual, monkeypatch)
    with pytest.raises(UserError, match="belongs to"):
        run()
    assert usual.stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777])
def test_a_program_is_not_run_from_where_others_can_write(mode: int, cache: Path) -> None:
    run()
    cache.chmod(mode)
    with pytest.raises(UserError, match=f"others can write .*mode {mode:o}.*chmod 700") as refused:
        run()
    assert str(cache) in str(refused.value)


def test_a_program_is_not_run_from_a_build_that_others_can_write_to(cache: Path) -> None:
    run()
    next(path for path in cache.iterdir() if (path / "main").is_file()).chmod(0o777)
    with pytest.raises(UserError, match="others can write"):
        run()


def test_a_program_of_somebody_else_is_not_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    give_away(cache, monkeypatch)
    with pytest.raises(UserError, match=r"belongs to .*user \d+.*ALADE_BRIAN_CACHE"):
        run()


def test_a_folder_of_root_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = os.stat_result((0o040755, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self, **options: root)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    private_folder(tmp_path)


@pytest.mark.parametrize("folder", [".", "kernels"])
def test_a_kernel_is_not_run_from_where_others_can_write(
    folder: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert kernels.kernel("neurons") is not None
    kernels.kernel.cache_clear()
    (cache / folder).chmod(0o777)
    assert kernels.kernel("neurons") is None
    assert "others can write" in caplog.text and "chmod 700" in caplog.text


def test_a_kernel_that_is_not_as_it_was_built_is_built_anew(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kernels.kernel("neurons") is not None
    kernels.kernel.cache_clear()
    (library,) = cache.glob("kernels/*/kernel.so")
    built = library.read_bytes()
    library.unlink()  # the loaded one stays as it is
    library.write_bytes(b"something else")
    with caplog.at_level(logging.WARNING, "alade_brian"):
        assert kernels.kernel("neurons") is not None
    assert "damaged" in caplog.text and library.read_bytes() == built
