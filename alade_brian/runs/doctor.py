"""What a machine has of what the simulation needs: one finding per subject, with what to do if it is missing.

Nothing heavy is imported above: a machine that lacks a package is one of those that are looked at.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from alade_brian.errors import UserError
from alade_brian.machine import compiler
from alade_brian.program_cache import private_folder

if TYPE_CHECKING:
    from alade_brian.spec import NetworkSpec

DISTRIBUTION = "alade-brian"
PACKAGES = ("brian2", "torch", "numpy", "nir")
# Below these, long runs end in the middle.
LEAST_DISK, LEAST_MEMORY = 2**30, 2**30


@dataclass(frozen=True)
class Finding:
    """One line: whether it is there, what it is, and, where it is missing, what to do.

    needed   the simulation on the processor does not work without it
    """

    subject: str
    present: bool
    text: str
    needed: bool = True

    def __str__(self) -> str:
        return f"{'ok' if self.present else 'missing':<8}{self.subject:<20} {self.text}"


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in order. What needs a package that is missing is not."""
    yield _compiler()
    packages = [_package(name) for name in PACKAGES]
    yield from packages
    if not all(package.present for package in packages):
        yield Finding("simulation", False, "not tried before the packages are there")
        return
    from alade_brian.simulation import SimulationSettings

    cache = SimulationSettings().cache_folder
    yield _cache(cache)
    yield _simulation(cache)
    yield _found("gpu", _gpu)
    yield _found("nvcc", _nvcc)
    yield from _data_sets()
    yield _disk(cache)
    yield _memory()


def _compiler() -> Finding:
    path = compiler()
    if path is None:
        named = os.environ.get("CXX")
        where = f"$CXX is {named}, which is not found" if named else "g++ is not on the PATH"
        return Finding("compiler", False, f"{where}; install it (Debian: apt-get install g++), or use --backend numpy")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("compiler", False, f"{path} does not work ({error}); install another, or use --backend numpy")
    said = done.stdout.splitlines()
    return Finding("compiler", True, f"{path}: {said[0]}" if said else path)


def _package(name: str) -> Finding:
    wanted = supported(name)
    text = f"{wanted} is supported" if wanted else f"any version, since {DISTRIBUTION} itself is not installed"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed; pip install '{name}{wanted}'")
    if wanted and not Requirement(f"{name}{wanted}").specifier.contains(version, prereleases=True):
        return Finding(name, False, f"{version}, and {text}; pip install '{name}{wanted}'")
    return Finding(name, True, f"{version} ({text})")


def supported(name: str) -> str:
    """The range of a package's versions that this one asks for, empty where it is not installed itself."""
    try:
        wanted = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
        return next((str(w.specifier) for w in wanted if w.name == name and (not w.marker or w.marker.evaluate())), "")
    except (importlib.metadata.PackageNotFoundError, InvalidRequirement):
        return ""


def _simulation(cache: Path) -> Finding:
    """A network of two neurons, compiled and simulated, and held against the plain numpy target."""
    import numpy as np

    from alade_brian.simulation import SimulationSettings, simulate
    from alade_brian.simulation.resources import format_seconds

    images, began = np.array([[0.75], [1.5]]), time.monotonic()
    try:
        found, wanted = (
            simulate(_two_neurons(), images, SimulationSettings(backend=backend, cache=cache)).spikes["a"]
            for backend in ("cpp", "numpy")
        )
    except Exception as error:  # whatever a compiler or Brian2 raises on a machine that is not in order
        return Finding("simulation", False, f"does not run ({type(error).__name__}: {_one_line(error)})")
    if not np.array_equal(found, wanted) or not wanted.any():
        return Finding("simulation", False, "generated C++ and numpy spike differently; update the compiler and numpy")
    spent = format_seconds(time.monotonic() - began)
    return Finding("simulation", True, f"compiled, run and equal to numpy's in {spent}")


def _two_neurons() -> NetworkSpec:
    import numpy as np

    from alade_brian import spec

    one = spec.constant(1.0)
    fires = spec.NeuronEquations("v : 1", {"v_threshold": one, "v_reset": one}, reset="subtract")
    reads = spec.NeuronEquations("v : 1", spiking=False, reset="none")
    weight = spec.Dense(np.ones((1, 1)))
    return spec.NetworkSpec(
        (spec.Stimulus((1,)),),
        (spec.Population("a", (1,), fires), spec.Population("read", (1,), reads)),
        (spec.Projection("image", "a", weight), spec.Projection("a", "read", weight)),
        spec.Readout("read"),
        steps=4,
    )


def _found(subject: str, look: Callable[[], str]) -> Finding:
    """Something that only a GPU's user needs."""
    try:
        return Finding(subject, True, look(), needed=False)
    except UserError as error:
        return Finding(subject, False, f"{_one_line(error)} (only the backend 'cuda' needs it)", needed=False)


def _gpu() -> str:
    from alade_brian.simulation.cuda.toolkit import find_gpu
    from alade_brian.simulation.resources import format_bytes

    gpu = find_gpu()
    return f"{gpu.name}, {gpu.architecture}, {format_bytes(gpu.memory)}, driver {gpu.driver}"


def _nvcc() -> str:
    from alade_brian.simulation.cuda.toolkit import find_toolkit

    toolkit = find_toolkit()
    return f"{toolkit.nvcc}, CUDA {'.'.join(map(str, toolkit.version))}"


def _data_sets() -> Iterator[Finding]:
    """Those that can be found without naming a folder."""
    from alade_brian.data import DATASETS, load_dataset

    for name in DATASETS:
        if name in ("folder", "npz") or name.endswith(":NAME"):
            continue
        subject = f"data {name}"
        try:
            found = load_dataset(name)
        except UserError as error:
            yield Finding(subject, False, _one_line(error), needed=False)
        else:
            count = len(found.train_labels) + len(found.test_labels)
            yield Finding(subject, True, f"{count:,} images {found.content}", needed=False)


def _cache(folder: Path) -> Finding:
    from alade_brian.simulation.resources import format_bytes

    try:
        private_folder(folder)
    except (UserError, OSError) as error:
        return Finding("cache", False, f"{_one_line(error)}; set ALADE_BRIAN_CACHE to a folder of your own")
    if not os.access(folder, os.W_OK):
        return Finding("cache", False, f"{folder} cannot be written; set ALADE_BRIAN_CACHE to a folder of your own")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Finding("cache", True, f"{folder}, {format_bytes(size)}; may be deleted at any time")


def _disk(folder: Path) -> Finding:
    from alade_brian.simulation.resources import format_bytes

    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    text = f"{format_bytes(free)} free at {there}"
    return Finding("disk", free >= LEAST_DISK, text if free >= LEAST_DISK else f"{text}; make room")


def _memory() -> Finding:
    from alade_brian.simulation.resources import available_bytes, format_bytes

    free = available_bytes()
    if free is None:
        return Finding("memory", True, f"not known on {sys.platform}")
    text = f"{format_bytes(free)} available"
    return Finding("memory", free >= LEAST_MEMORY, text if free >= LEAST_MEMORY else f"{text}; end other programs")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
