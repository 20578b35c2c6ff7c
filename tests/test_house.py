"""The house rules that a machine can check: who imports whom, links, and what the package may not do."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKS = ("models", "conversion")
BASE = {
    "alade_brian",
    "alade_brian.errors",
    "alade_brian.files",
    "alade_brian.machine",
    "alade_brian.program_cache",
    "alade_brian.cluster_task",
}
SPEC = {"alade_brian.spec.network"}

# Which of our own modules a part may import, besides its own folder and `BASE`. Parts are matched longest name first.
ALLOWED: dict[str, set[str]] = {
    "alade_brian.spec.errors": set(),
    "alade_brian.spec.operators": {"alade_brian.spec.errors"},
    "alade_brian.spec.neuron_grammar": {"alade_brian.spec.errors"},
    "alade_brian.spec.neuron": {
        "alade_brian.spec.errors",
        "alade_brian.spec.neuron_grammar",
    },
    "alade_brian.spec.release": {"alade_brian.spec.errors"},
    "alade_brian.spec.network": {
        "alade_brian.spec.errors",
        "alade_brian.spec.operators",
        "alade_brian.spec.neuron",
        "alade_brian.spec.release",
    },
    "alade_brian.conversion.torch_": {"alade_brian.models", "alade_brian.conversion"},
    # The loop is closed here: both networks run, so both sides are needed.
    "alade_brian.verification.verify": {"alade_brian.simulation", "alade_brian.conversion"},
    "alade_brian.verification.inner_states": {"alade_brian.simulation", "alade_brian.conversion"},
    "alade_brian.verification.diagnosis.diagnose": {"alade_brian.simulation", "alade_brian.conversion"},
    "alade_brian.conversion": {"alade_brian.conversion"},
    "alade_brian.models": SPEC,
    "alade_brian.simulation": {"alade_brian.conversion"},
    "alade_brian.analysis": SPEC | {"alade_brian.spikes.states"},
    "alade_brian.data": SPEC,
    "alade_brian.learning": {"alade_brian.models", "alade_brian.config.run"},
}
HEAVY = {
    "torch": (
        "alade_brian.models",
        "alade_brian.learning",
        "alade_brian.conversion.torch_",
        "alade_brian.runs.folder",
        "alade_brian.runs.incremental_run",
    ),
    "brian2": ("alade_brian.simulation", "alade_brian.conversion.brian2_"),
    "brian2cuda": ("alade_brian.simulation.cuda.brian2cuda_device",),
    "nir": ("alade_brian.conversion.nir_",),
    # Run as a program in a process of its own.
    "nest": ("alade_brian.conversion.to_nest.network",),
    "matplotlib": ("alade_brian.analysis",),
}


def modules() -> dict[str, Path]:
    found = {}
    for folder, prefix in ((ROOT / "alade_brian", "alade_brian"), *((ROOT / n, f"alade_brian.{n}") for n in LINKS)):
        for file in folder.rglob("*.py"):
            relative = file.relative_to(folder)
            if prefix == "alade_brian" and relative.parts[0] in LINKS:
                continue
            parts = [prefix, *relative.with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(file: Path, include_type_checking: bool = False) -> set[str]:
    """Full names of what a file imports, wherever in it, type-checking blocks left out."""
    tree, names = ast.parse(file.read_text(encoding="utf-8")), set()
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports in full"
            names.add(str(node.module))
    return names


def rule(name: str) -> set[str] | None:
    key = max(
        (k for k in ALLOWED if name == k or name.startswith(k if k.endswith("_") else f"{k}.")), key=len, default=None
    )
    return None if key is None else ALLOWED[key]


def own_folder(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_follow_the_architecture(name: str) -> None:
    allowed, names = rule(name), imports(modules()[name])
    for imported in names:
        assert imported.split(".")[0] not in LINKS, (
            f"{name} imports {imported} by its bare name: a second copy of every class"
        )
        for package, places in HEAVY.items():
            if imported.split(".")[0] == package:
                assert name.startswith(places), f"{name} imports {package}; only {', '.join(places)} may"
        if imported.split(".")[0] != "alade_brian" or imported in BASE or allowed is None:
            continue
        inside = own_folder(name) == own_folder(imported) and not name.startswith("alade_brian.conversion")
        fits = any(imported == a or imported.startswith(f"{a}.") for a in allowed)
        assert inside or fits, f"{name} imports {imported}, which the architecture does not allow"


def test_the_rules_would_catch_a_breach(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("import torch\nfrom alade_brian.learning import Learner\n")
    assert imports(file) == {"torch", "alade_brian.learning"}
    assert rule("alade_brian.simulation.cpp") == {"alade_brian.conversion"}
    assert rule("alade_brian.spec.errors") == set()


@pytest.mark.parametrize(
    "modules_",
    [
        "alade_brian.spec.network",
        "alade_brian.simulation",
        "alade_brian.analysis.report.report",
        "alade_brian.conversion.nir_graphs.write",
        "alade_brian.conversion.lowering",
    ],
)
def test_everything_right_of_the_waist_runs_without_torch(modules_: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {modules_}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_waist_needs_numpy_only() -> None:
    code = "import sys, alade_brian.spec.network; print(*{m.split('.')[0] for m in sys.modules} & {'torch', 'brian2', 'scipy', 'nir', 'matplotlib'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_links_stand_for_the_top_folders() -> None:
    for name in LINKS:
        assert (ROOT / "alade_brian" / name).is_symlink()
        assert os.readlink(ROOT / "alade_brian" / name) == f"../{name}"


def test_both_names_of_a_folder_are_one_module() -> None:
    import alade_brian.models

    assert Path(alade_brian.models.__file__).resolve().parent == ROOT / "models"


@pytest.mark.parametrize("name", sorted(modules()))
def test_library_code_does_not_print_or_seed(name: str) -> None:
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name} prints; use the package's logger"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            assert (node.value.attr, node.attr) != ("random", "seed"), f"{name} seeds numpy globally"
