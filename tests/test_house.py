"""The house rules that a machine can check: who imports whom, links, sizes, and what the package may not do.

Folders stand in the order of `ALLOWED`, from the ground to the roof; each may import those named, all of which stand
below it. A rule of a longer name goes before that of the folder in which it lies.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from alade_brian import spec

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "alade_brian"
# Folders of the package that lie elsewhere; links of these names in the package stand for them.
LINKS = {
    "models": "models",
    "conversion": "conversion",
    "benchmarks": "experiments/benchmarks",
    "gpu_checking": "experiments/gpu_checking",
    "configs": "experiments/configs",
    "grids": "experiments/grids",
}
# Files that everything may import, and what those may import.
GROUND = {
    "errors",
    "files",
    "outputs",
    "machine",
    "content",
    "numpy_files",
    "source_digest",
    "brian2_preferences",
    "program_cache",
    "cluster_task",
    "registry",
    "plugins",
    "safe_path",
    "",
}

# From the ground to the roof.
ALLOWED: dict[str, set[str]] = {
    "spec": set(),
    "config": set(),
    "data": set(),
    "spikes": {"spec"},
    "perturbations": {"spec"},
    "analysis": {"spec", "spikes"},
    "models": {"spec"},
    "learning": {"models", "config", "data"},
    "conversion.from_torch": {"spec", "spikes", "models", "conversion"},
    "conversion": {"spec", "spikes", "conversion"},
    "simulation": {"spec", "spikes", "conversion.to_brian2", "conversion.to_nest", "conversion.lowering"},
    "verification": {"spec", "spikes", "models", "conversion", "simulation"},
    "runs": {
        "spec", "spikes", "analysis", "config", "data", "models", "learning", "conversion", "simulation", "verification",
    },
    "studies": {"spec", "spikes", "analysis", "config", "data", "perturbations", "conversion", "simulation", "runs"},
    "systems": {
        "spec", "spikes", "analysis", "config", "data", "models", "learning", "conversion", "simulation", "verification",
        "runs", "studies",
    },
    "commands.options": {"config", "data", "models", "conversion", "simulation", "runs"},
    "benchmarks": {
        "spec", "spikes", "analysis", "config", "data", "models", "learning", "conversion", "simulation", "verification",
        "runs", "commands.options",
    },
    "gpu_checking": {"spec", "spikes", "analysis", "data", "simulation"},
    "commands": {
        "spec", "spikes", "analysis", "config", "data", "models", "learning", "conversion", "simulation", "verification",
        "perturbations", "runs", "studies", "systems", "benchmarks", "gpu_checking", "cli",
    },
    "cli": {"spec", "conversion.refusals"},
    "__main__": {"cli"},
}  # fmt: skip
# Heavy packages, and the folders and files that may import them.
HEAVY = {
    "torch": ("models", "learning", "conversion.from_torch", "conversion.support_table", "verification", "runs", "studies",
              "systems", "commands", "benchmarks", "gpu_checking.tensors"),
    "brian2": ("simulation", "conversion.to_brian2"),
    "brian2cuda": ("simulation.cuda.brian2cuda_device",),
    "nir": ("conversion.nir_graphs",),
    # Run as a program in a process of its own.
    "nest": ("conversion.to_nest.network",),
    "scipy": ("spec.synapses", "spec.operator_algebra", "conversion", "simulation", "analysis", "data", "perturbations",
              "studies"),
    "matplotlib": ("analysis", "studies", "commands", "benchmarks"),
}  # fmt: skip
LONGEST_FUNCTION, LONGEST_FILE = 60, 400
# Nothing may be called like a package that a script beside it would then import.
TAKEN = {"torch", "nir", "brian2", "brian2cuda", "nest", "snntorch", "norse", "spikingjelly"}


@cache
def modules() -> dict[str, Path]:
    """All modules by their names within the package, '' the package itself."""
    found = {}
    for prefix, folder in {"": PACKAGE, **{name: ROOT / folder for name, folder in LINKS.items()}}.items():
        for file in folder.rglob("*.py"):
            parts = [*([prefix] if prefix else []), *file.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts)
            found["" if name == "__init__" else name.removesuffix(".__init__")] = file
    return found


@cache
def imports(file: Path) -> frozenset[str]:
    """Full names of what a file imports, wherever in it, type-checking blocks too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def own_imports(name: str) -> Iterator[str]:
    """The modules of this package that a module imports."""
    for imported in imports(modules()[name]):
        if imported.split(".")[0] == "alade_brian":
            inside = imported.partition(".")[2]
            yield inside if inside in modules() else inside.rpartition(".")[0]


def within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def folder(name: str) -> str:
    """The rule that holds for a module: the longest that fits."""
    fitting = [place for place in ALLOWED if within(name, place)]
    return max(fitting, key=len) if fitting else name


def breaches(name: str, imported: str) -> bool:
    """Whether the architecture forbids a module of this package to import another."""
    own = folder(name)
    if own == "":
        # The package's own file gives public names to all folders, for type checkers; tests/test_public_names.py shows
        # that none is imported before it is used.
        return False
    if imported in GROUND or (within(imported, own) and own not in GROUND):
        return False
    if own in GROUND:
        return True
    return not any(within(imported, place) for place in ALLOWED.get(own, ()))


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_follow_the_architecture(name: str) -> None:
    for imported in own_imports(name):
        assert not breaches(name, imported), f"{name} imports {imported}, which the architecture does not allow"
    for imported in imports(modules()[name]):
        top = imported.split(".")[0]
        assert top not in LINKS, f"{name} imports {imported} by its bare name: a second copy of every class"
        places = HEAVY.get(top, ("",))
        assert places == ("",) or any(within(name, p) for p in places), f"{name} imports {top}; only {places} may"


def test_every_folder_has_a_rule_and_allows_only_what_stands_below() -> None:
    order = list(ALLOWED)
    for place, allowed in ALLOWED.items():
        assert any(within(name, place) for name in modules()), f"{place} does not exist"
        for other in allowed:
            known = [key for key in order if within(other, key)]
            assert known, f"{place} may import {other}, which has no rule"
            same_house = other.split(".")[0] == place.split(".")[0]
            assert same_house or order.index(known[0]) < order.index(place) or place == "commands", (
                f"{place} -> {other}"
            )
    for name in modules():
        assert folder(name) in ALLOWED or name in GROUND, f"{name} lies in a folder without a rule"


def test_the_rules_would_catch_a_breach() -> None:
    assert breaches("spec.network", "simulation.settings") and breaches("models.layers.readouts", "learning.losses")
    assert breaches("conversion.to_brian2.text", "models") and not breaches("conversion.from_torch.convert", "models")
    assert breaches("errors", "spec") and breaches("simulation.simulator", "conversion.from_torch.convert")
    assert folder("conversion.from_torch.layers") == "conversion.from_torch"


def test_no_two_files_import_each_other() -> None:
    graph = {name: set(own_imports(name)) - {name} for name in modules()}
    mutual = {(a, b) for a, found in graph.items() for b in found if a < b and a in graph.get(b, ())}
    # A package's __init__ gathers what its modules offer; they may not take it from there.
    assert not mutual, f"these import each other: {mutual}"


@pytest.mark.parametrize(
    "file", sorted([*modules().values(), *(ROOT / "tests").glob("*.py")]), ids=lambda file: file.name
)
def test_a_specification_has_one_door(file: Path) -> None:
    if file.is_relative_to(PACKAGE / "spec"):
        return
    for imported in imports(file):
        place, _, name = imported.rpartition(".")
        if within(place, "alade_brian.spec") and place != "alade_brian.spec":
            assert name not in spec.__all__, f"{file} imports {imported}; import {name} from alade_brian.spec"


@pytest.mark.parametrize("name", sorted(modules()))
def test_files_and_functions_are_short(name: str) -> None:
    text = modules()[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE, f"{name} has more than {LONGEST_FILE} lines: two subjects?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{name}.{node.name} has {lines} lines; a function fits on a screen"


@pytest.mark.parametrize(
    "module",
    ["spec.network", "simulation", "analysis.report.report", "conversion.nir_graphs.write", "conversion.lowering",
     "verification.verify", "verification.second_simulator"],
)  # fmt: skip
def test_everything_right_of_the_waist_runs_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import alade_brian.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_waist_needs_numpy_only() -> None:
    heavy = {"torch", "brian2", "scipy", "nir", "matplotlib"}
    code = f"import sys, alade_brian.spec.network; print(*{{m.split('.')[0] for m in sys.modules}} & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_links_stand_for_the_folders_elsewhere() -> None:
    for name, target in LINKS.items():
        assert (PACKAGE / name).is_symlink()
        assert os.readlink(PACKAGE / name) == f"../{target}"


def test_both_names_of_a_folder_are_one_module() -> None:
    import alade_brian.models

    assert Path(alade_brian.models.__file__).resolve().parent == ROOT / "models"


def test_no_folder_is_called_like_a_package() -> None:
    folders = {part for name in modules() for part in name.split(".")[:-1]}
    assert not TAKEN & folders, "a script started beside such a folder would import it in the package's place"


@pytest.mark.parametrize("file", sorted([*modules().values(), *(ROOT / "tests").glob("*.py")]), ids=lambda f: f.name)
def test_nobody_changes_the_search_path(file: Path) -> None:
    if file != Path(__file__).resolve():
        assert "sys.path." not in file.read_text(encoding="utf-8"), f"{file} changes sys.path; import the package"


@pytest.mark.parametrize("name", sorted(modules()))
def test_workers_are_started_on_the_safe_path(name: str) -> None:
    text = modules()[name].read_text(encoding="utf-8")
    if "joblib.Parallel(" in text:
        # Those of a simulation do so within `starting_workers`, which takes the safe path.
        opening = "with starting_workers()" if name.startswith("simulation.") else "with safe_path()"
        assert opening in text, f"{name} starts workers that search the working directory for modules"


@pytest.mark.parametrize("name", sorted(modules()))
def test_library_code_does_not_print_or_seed(name: str) -> None:
    prints_may = name.split(".")[0] in ("commands", "cli", "benchmarks", "gpu_checking")
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or prints_may, f"{name} prints; use the package's logger"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            assert (node.value.attr, node.attr) != ("random", "seed"), f"{name} seeds numpy globally"
