"""Digests of source code count every file: kept references and builds of another version of the code are not taken."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from alade_brian.simulation.cache import builds
from alade_brian.source_digest import packages_digest, source_files, tree_digest
from alade_brian.verification import kept_reference as torch_kept

ROOT = Path(__file__).resolve().parent.parent


def copied(tmp_path: Path, packages: tuple[str, ...]) -> list[Path]:
    """Copies of the packages' folders, the links between them left out."""
    folders = []
    for number, package in enumerate(packages):
        source = Path(str(files(package)))
        links = [link.name for link in source.iterdir() if link.is_symlink()]
        target = tmp_path / str(number)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", *links))
        folders.append(target)
    return folders


@pytest.mark.parametrize(
    "packages", [torch_kept.OWN_PACKAGES, builds.GENERATOR_PACKAGES], ids=["reference", "generator"]
)
def test_every_file_of_the_tree_counts(packages: tuple[str, ...], tmp_path: Path) -> None:
    folders = copied(tmp_path, packages)
    digest = tree_digest(folders)
    assert digest == packages_digest(*packages)
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        assert tree_digest(folders) != digest, f"{file} does not count"
        file.write_bytes(content)
        if file.stat().st_size:
            file.rename(file.with_name("other"))
            assert tree_digest(folders) != digest, f"the name of {file} does not count"
            file.with_name("other").rename(file)
    assert tree_digest(folders) == digest


def test_the_reference_counts_kernels_and_neurons_and_the_generator_its_templates() -> None:
    reference = {file.name for package in torch_kept.OWN_PACKAGES for file in source_files(Path(str(files(package))))}
    generator = {file.name for package in builds.GENERATOR_PACKAGES for file in source_files(Path(str(files(package))))}
    assert {"neurons.cpp", "multistep.py", "surrogate.py", "torch_reference.py"} <= reference
    assert {
        path.name for path in ROOT.glob("alade_brian/simulation/**/*") if path.suffix in (".cpp", ".h", ".cu")
    } <= generator


def test_another_version_of_the_code_gives_kept_references_and_builds_other_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 2)
    name, generator = torch_kept.digest(net), builds.generator_digest()
    for module in (torch_kept, builds):
        monkeypatch.setattr(module, "packages_digest", lambda *packages: b"another version")
    assert torch_kept.digest(net) != name
    assert builds.generator_digest() != generator
