"""A NIR file from elsewhere leads to no other file, and to nothing in itself twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from command_line import call

from alade_brian.conversion.nir_graphs.read import read_nir
from alade_brian.errors import UserError

PROGRAM = Path(__file__).resolve().parent.parent / "experiments" / "run_nir.py"
PLACE = "node/nodes/n/v_leak"
SECRET = np.array([0.125, 0.25, 0.375])


def graph() -> nir.NIRGraph:
    """Three neurons between the ports."""
    neurons = nir.LIF(*(np.ones(3) for _ in range(4)), v_reset=np.zeros(3))
    ends = {"input": nir.Input({"input": np.array([3])}), "output": nir.Output({"output": np.array([3])})}
    return nir.NIRGraph({**ends, "n": neurons}, [("input", "n"), ("n", "output")])


def linked(file: h5py.File, link: object) -> None:
    del file[PLACE]
    file[PLACE] = link


def external_storage(file: h5py.File, folder: Path) -> None:
    SECRET.tofile(folder / "secret.raw")
    del file[PLACE]
    file.create_dataset(PLACE, (3,), "f8", external=[(str(folder / "secret.raw"), 0, 24)])


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "secret", (3,))
    del file[PLACE]
    file.create_virtual_dataset(PLACE, layout)


def references(file: h5py.File, folder: Path) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, data=np.array([file["node"].ref] * 3, dtype=object), dtype=h5py.ref_dtype)


def lists(file: h5py.File, folder: Path) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, (3,), h5py.vlen_dtype(np.float64))


def records(file: h5py.File, folder: Path) -> None:
    del file[PLACE]
    file[PLACE] = np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])


def named_type(file: h5py.File, folder: Path) -> None:
    file["node/type_of_something"] = np.dtype("f8")


FILES: dict[str, tuple[Callable[[h5py.File, Path], None], str]] = {
    "external link": (lambda f, d: linked(f, h5py.ExternalLink(str(d / "secret.h5"), "secret")), "link to the file"),
    "external link to a group": (lambda f, d: f.__setitem__("node/nodes/m", h5py.ExternalLink(str(d / "secret.h5"), "/")), "link to the file"),
    "external link beside the graph": (lambda f, d: f.__setitem__("more", h5py.ExternalLink(str(d / "secret.h5"), "/")), "link to the file"),
    "link by name": (lambda f, d: linked(f, h5py.SoftLink("/node/nodes/n/tau")), "link by name"),
    "link to nowhere": (lambda f, d: linked(f, h5py.SoftLink("/nothing")), "link by name"),
    "external storage": (external_storage, "lie in the file"),
    "virtual dataset": (virtual, "put together from other files"),
    "a group within itself": (lambda f, d: f.__setitem__("node/nodes/n/again", f["node"]), "also has another name"),
    "references": (references, "neither numbers nor text"),
    "lists": (lists, "neither numbers nor text"),
    "records": (records, "neither numbers nor text"),
    "named type": (named_type, "neither a group nor a dataset"),
}  # fmt: skip


def changed(folder: Path, change: Callable[[h5py.File, Path], None]) -> Path:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["secret"] = SECRET
    nir.write(folder / "net.nir", graph())
    with h5py.File(folder / "net.nir", "r+") as file:
        change(file, folder)
    return folder / "net.nir"


@pytest.mark.parametrize("case", FILES)
def test_what_is_not_in_the_file_is_refused(case: str, tmp_path: Path) -> None:
    change, words = FILES[case]
    path = changed(tmp_path, change)
    with pytest.raises(UserError, match=words) as refused:
        read_nir(path, 4)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_the_same_file_without_a_change_is_read(tmp_path: Path) -> None:
    assert read_nir(changed(tmp_path, lambda file, folder: None), 4).populations


def test_the_command_writes_nothing_of_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, external_storage)
    np.savez(tmp_path / "input.npz", input=np.zeros((2, 3)))
    arguments = [path, "--input", tmp_path / "input.npz", "--out", tmp_path / "out.npz", "--record-v"]
    assert (
        call("run-nir", *arguments) == 2
        and "secret.raw" in capsys.readouterr().err
        and not (tmp_path / "out.npz").exists()
    )
