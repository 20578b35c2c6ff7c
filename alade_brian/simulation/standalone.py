"""Brian2's generated C++, compiled once per structure, kept in a cache, and run with other numbers from then on.

A build folder holds the program, the synapses' endpoints, and `build.json`, which names the variables that take numbers
and the files that a run leaves. Running it needs neither Brian2 nor a compiler.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
from brian2.devices.device import reset_device, set_device

from alade_brian.conversion.brian2_network import BrianNetwork, Layout, build_network, stimulus_values
from alade_brian.conversion.brian2_text import network_values, period_steps
from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.errors import UserError
from alade_brian.machine import processor
from alade_brian.simulation.decoding import Recorded, decode
from alade_brian.simulation.runtime import float_type, preferences
from alade_brian.simulation.settings import compiler
from alade_brian.simulation.structure import structure_key

log = logging.getLogger(__name__)

# No contraction of a * b + c: the same arithmetic as torch and numpy, on every machine.
FLAGS = ("-w", "-O2", "-march=native", "-ffp-contract=off", "-std=c++17")
CACHE_BYTES = 4 * 2**30
STALE_SECONDS = 24 * 3600


class StandaloneNetwork:
    """A compiled network. `compiled` says whether a compiler had to run for it."""

    def __init__(self, spec: NetworkSpec, layout: Layout, dtype: str, cache: Path, traces: Sequence[str] = ()) -> None:
        self.spec, self.layout, self.dtype = spec, layout, float_type(dtype)
        toolchain = {
            "flags": FLAGS,
            "brian2": b2.__version__,
            "compiler": _compiler_version(),
            "processor": processor(),
        }
        key = structure_key(spec, layout, dtype=dtype, traces=list(traces), **toolchain)
        self.folder = cache / key
        self.compiled = not (self.folder / "build.json").is_file()
        if self.compiled:
            _build(spec, layout, self.dtype, self.folder, traces)
        os.utime(self.folder)
        self.files = _read_manifest(self.folder)
        self._values = network_values(spec, layout.batch)

    def run(self, pixels: np.ndarray) -> Responses:
        """Responses to at most ``layout.images`` images, as pixels ``(n, rows, pixels)``."""
        with tempfile.TemporaryDirectory(prefix="alade_brian_") as scratch:
            arguments = self._write_numbers(Path(scratch), pixels)
            results = Path(scratch, "results")
            results.mkdir()
            command = [str(self.folder / "main"), "--results_dir", f"{results}{os.sep}", *arguments]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
            if done.returncode or done.stderr.strip():
                raise RuntimeError(
                    f"the simulation in {self.folder} ended with code {done.returncode}: {done.stderr.strip()[-2000:]}"
                )
            return self._read(results, len(pixels))

    def _write_numbers(self, folder: Path, pixels: np.ndarray) -> list[str]:
        arguments = []
        numbers = {f"{owner}.{name}": array for (owner, name), array in self._values.items()}
        numbers[self.files["stimulus"]] = stimulus_values(self.spec, pixels, self.layout)
        for number, (name, array) in enumerate(numbers.items()):
            path = folder / f"{number}.dat"
            # Brian2 keeps a TimedArray in double precision, whatever the network's type.
            dtype = np.float64 if name == self.files["stimulus"] else self.dtype
            np.ascontiguousarray(array, dtype=dtype).tofile(path)
            arguments.append(f"{name}={path}")
        return arguments

    def _read(self, results: Path, images: int) -> Responses:
        spikes = {
            name: (np.fromfile(results / files["i"], np.int32), np.fromfile(results / files["t"], np.float64))
            for name, files in self.files["spikes"].items()
        }
        membrane = self.files["membrane"]
        recorded = Recorded(
            spikes,
            None if membrane is None else self._steps(results / membrane),
            {name: self._steps(results / file) for name, file in self.files["traces"].items()},
        )
        return decode(self.spec, self.layout, images, recorded)

    def _steps(self, file: Path) -> np.ndarray:
        """What a monitor recorded, ``(steps of the run, neurons)``."""
        return np.fromfile(file, self.dtype).reshape(self.layout.presentations * period_steps(self.spec), -1)


def _compiler_version() -> str:
    path = compiler()
    if path is None:
        return "none"
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()[0]


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "build.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"the compiled network in {folder} is damaged ({error}); delete that folder and run again"
        ) from None


def _build(spec: NetworkSpec, layout: Layout, dtype: type, folder: Path, traces: Sequence[str]) -> None:
    """Generate, compile, and only then put the folder in place: a folder with that name is always whole."""
    started = time.perf_counter()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    except OSError as error:
        raise UserError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}); set ALADE_BRIAN_CACHE to one "
            "that can"
        ) from None
    try:
        manifest = _generate(spec, layout, dtype, scratch, traces)
        _compile(scratch)
        (scratch / "build.json").write_text(json.dumps(manifest))
        _prune(folder.parent)
        try:
            os.rename(scratch, folder)
        except OSError:
            # Another process built the same network meanwhile; its folder is as good.
            if not (folder / "build.json").is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log.info("built %s in %.1f s", folder, time.perf_counter() - started)


def _generate(spec: NetworkSpec, layout: Layout, dtype: type, folder: Path, traces: Sequence[str]) -> dict[str, Any]:
    """Let Brian2 write the C++ project, and note where its numbers come from and go to."""
    set_device("cpp_standalone", build_on_run=False, directory=str(folder))
    try:
        b2.device.reinit()
        b2.device.activate(build_on_run=False, directory=str(folder))
        with preferences(core__default_float_dtype=dtype, codegen__cpp__extra_compile_args_gcc=list(FLAGS)):
            built = build_network(spec, np.zeros((0, 1, sum(s.size for s in spec.stimuli))), layout, traces)
            built.network.run(built.duration * b2.second, namespace={})
            b2.device.build(directory=str(folder), compile=False, run=False)
            return _manifest(built)
    finally:
        b2.device.reinit()
        reset_device()


def _manifest(built: BrianNetwork) -> dict[str, Any]:
    def file(group: b2.Group, variable: str) -> str:
        return b2.device.get_array_filename(group.variables[variable])

    return {
        "spikes": {name: {"i": file(m, "i"), "t": file(m, "t")} for name, m in built.spikes.items()},
        "membrane": None if built.membrane is None else file(built.membrane, built.membrane.record_variables[0]),
        "traces": {name: file(m, m.record_variables[0]) for name, m in built.traces.items()},
        "stimulus": f"{built.stimulus.name}.values",
    }


def _compile(folder: Path) -> None:
    """Compile the project as one translation unit, or, where that fails, as Brian2 meant it.

    Brian2 writes some forty small files which all read the same headers: one file of all is five times faster to
    compile. Its generated code may look different in another version, so its own makefile stays the second way.
    """
    path = compiler()
    assert path is not None
    (folder / "whole.cc").write_text(_one_file(folder))
    done = subprocess.run(
        [path, *FLAGS, "-I.", "-Ibrianlib", "whole.cc", "-o", "main"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode and shutil.which("make"):
        log.info("compiling %s file by file: as one file it failed with %s", folder, done.stderr[:300])
        done = subprocess.run(["make", "-j2", f"CXX={path}"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-300:])
        raise UserError(
            f"the C++ compiler {path} failed on Brian2's generated code ({first.strip()}); check it with a small "
            "program, or use --backend numpy"
        )


def _one_file(folder: Path) -> str:
    """All files that the project's makefile names, as one.

    The helpers of each generated file stand in an unnamed namespace; together they need names.
    """
    line = next(line for line in (folder / "makefile").read_text().splitlines() if line.startswith("SRCS ="))
    parts = []
    for number, name in enumerate(line.removeprefix("SRCS =").split()):
        own, text = f"helpers_{number}", (folder / name).read_text()
        if name.startswith("code_objects") and "namespace {" in text:
            text = text.replace("namespace {", f"namespace {own} {{")
            text = text.replace("using namespace brian;", f"using namespace brian; using namespace {own};")
        parts.append(text)
    return "\n".join(parts)


def _prune(cache: Path) -> None:
    """Delete the builds that were not used for longest until the rest fits into the cache's size, and what builds that
    were stopped left behind."""
    for left in cache.glob("building-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    builds = sorted(
        (f for f in cache.iterdir() if (f / "build.json").is_file()), key=lambda f: f.stat().st_mtime, reverse=True
    )
    total = 0
    for build in builds:
        total += sum(f.stat().st_size for f in build.rglob("*") if f.is_file())
        if total > CACHE_BYTES:
            shutil.rmtree(build, ignore_errors=True)
