"""Compiled programs in a cache: built once per structure, whole or not there, also when two processes build the same.

Running a program needs neither Brian2 nor a compiler. See `program_cache` for a build's folder.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
from brian2.core.variables import DynamicArrayVariable
from brian2.devices.device import reset_device, set_device

from alade_brian.errors import UserError
from alade_brian.machine import compiler, processor
from alade_brian.program_cache import MANIFEST, finish_build, private_folder, read_build
from alade_brian.simulation.preferences import preferences
from alade_brian.source_digest import packages_digest

log = logging.getLogger(__name__)

# No contraction of a * b + c and nothing else that changes a number: the same arithmetic as torch and numpy, on every
# machine. Exceptions and errno are given up, which nobody reads and which keep loops from being vectorised.
FLAGS = ("-w", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-std=c++17")
NATIVE = "-march=native"
CACHE_BYTES = 4 * 2**30
STALE_SECONDS = 24 * 3600
PROGRAM = "main"
# In seconds; the largest generated program takes some minutes on a busy machine.
PATIENCE = 3600
VERSION_PATIENCE = 60
# Where code is generated, and what it is generated from.
GENERATOR_PACKAGES = ("alade_brian.simulation", "alade_brian.spec", "alade_brian.conversion.to_brian2")

# By its name in the program's arguments, an array's number of elements and their type.
Arrays = Mapping[str, Sequence[Any]]
Generate = Callable[[Path], dict[str, Any]]
Compile = Callable[[Path], None]
# The folder of a build, its notes, and whether a compiler had to run.
Build = tuple[Path, dict[str, Any], bool]


def toolchain() -> dict[str, Any]:
    """What decides, beside the structure, which machine code a build holds."""
    return {
        "flags": (*FLAGS, NATIVE),
        "brian2": b2.__version__,
        "compiler": compiler_version(),
        "processor": processor(),
        "generator": generator_digest(),
    }


def generator_digest() -> str:
    """A digest of our own code that generates code: another version of it makes another build."""
    return packages_digest(*GENERATOR_PACKAGES).hex()


def compiler_version() -> str:
    """The compiler's own line about itself."""
    path = compiler()
    return "none" if path is None else _version_of(path)


@cache
def _version_of(path: str) -> str:
    _, out, _ = _run([path, "--version"], Path.cwd(), min(PATIENCE, VERSION_PATIENCE))
    return next(iter(out.splitlines()), f"{path} without a version")


def find_or_build(cache: Path, key: str, generate: Generate, make: Compile | None = None) -> Build:
    """The folder of a build, its notes, and whether a compiler had to run.

    generate   writes the C++ project into a folder and returns the notes
    make       compiles it (default: `compile_program`)
    """
    folder = cache / key
    try:
        private_folder(cache)
    except OSError as error:
        raise _not_writable(cache, error) from None
    notes = read_build(folder, PROGRAM)
    compiled = notes is None
    if notes is None:
        _build(folder, generate, make or compile_program)
        notes = read_build(folder, PROGRAM)
        if notes is None:
            raise UserError(f"the build in {folder} was damaged as it was made; is the disk full?")
    try:
        os.utime(folder)
    except OSError:
        # A cache that others fill and we only read.
        log.debug("the time of %s cannot be set", folder)
    return folder, notes, compiled


def _build(folder: Path, generate: Generate, make: Compile) -> None:
    """Generate, compile, and only then put the folder in place: a folder with that name is always whole."""
    started = time.perf_counter()
    with _scratch(folder.parent) as scratch:
        notes = generate(scratch)
        make(scratch)
        _prune(folder.parent)
        finish_build(scratch, folder, PROGRAM, notes)
    log.info("built %s in %.1f s", folder, time.perf_counter() - started)


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A folder beside the builds that is gone afterwards, unless it was moved."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    except OSError as error:
        raise _not_writable(cache, error) from None
    try:
        yield scratch
    except OSError as error:
        raise UserError(
            f"the compiled network cannot be kept in {cache} ({error.strerror}); make room there, or set "
            "ALADE_BRIAN_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _not_writable(cache: Path, error: OSError) -> UserError:
    return UserError(
        f"the cache folder {cache} cannot be written ({error.strerror}); set ALADE_BRIAN_CACHE to one that can"
    )


@contextmanager
def standalone_project(folder: Path, dtype: type, headers: Sequence[str] = ()) -> Iterator[None]:
    """Let Brian2 write what is made in the block as a C++ project into a folder, and be as before afterwards.

    headers   files of our own beside it, the first of which all of the project includes
    """
    set_device("cpp_standalone", build_on_run=False, directory=str(folder))
    try:
        b2.device.reinit()
        b2.device.activate(build_on_run=False, directory=str(folder))
        for header in headers:
            (folder / header).write_text((files("alade_brian.simulation") / "templates" / header).read_text())
        with preferences(
            core__default_float_dtype=dtype,
            # The program would take an interrupt for a wish to end early, and leave what it has as if it were all.
            core__stop_on_keyboard_interrupt=False,
            codegen__cpp__extra_compile_args_gcc=[*FLAGS, NATIVE],
            codegen__cpp__headers=[f'"{header}"' for header in headers[:1]],
        ):
            yield
    finally:
        b2.device.reinit()
        reset_device()


def compile_program(folder: Path, flags: Sequence[str] = FLAGS) -> None:
    """Compile the project as one translation unit with these flags, or, where that fails, as Brian2 meant it.

    Brian2 writes some forty small files which all read the same headers: one file of all is five times faster to
    compile. Its generated code may look different in another version, so its own makefile stays the second way, and
    machine code for any processor the third.
    """
    path = compiler()
    assert path is not None
    (folder / "whole.cc").write_text(one_file(folder))
    whole = ["-I.", "-Ibrianlib", "whole.cc", "-o", PROGRAM]
    ways = [[path, *flags, NATIVE, *whole], [path, *flags, *whole]]
    if shutil.which("make"):
        ways.insert(1, ["make", "-j2", f"CXX={path}"])
    failed = compile_by(ways, folder)
    if failed is not None:
        raise UserError(
            f"the C++ compiler {path} failed on Brian2's generated code ({failed}); check it with a small program, or "
            "use --backend numpy"
        )


def compile_by(ways: Sequence[Sequence[str]], folder: Path) -> str | None:
    """Compile by the first of these commands that works; None, or where none does, the first error of the last."""
    said = ""
    for number, way in enumerate(ways):
        code, out, err = _run(way, folder, PATIENCE)
        if not code:
            return None
        said = err or out
        log.info("compiling %s failed (way %d of %d): %s", folder, number + 1, len(ways), said[:300])
    return next((line for line in said.splitlines() if "error" in line), said[-300:]).strip()


def _run(command: Sequence[str], folder: Path, patience: float) -> tuple[int, str, str]:
    """The exit code of a command, its output and its errors. It and all that it started are ended after so many
    seconds, and where this process is interrupted; UserError if it cannot be started or was ended."""
    try:
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started ({error.strerror}); install a C++ compiler") from None
    try:
        out, err = child.communicate(timeout=patience)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        last = (err or out).strip()[-200:] or "nothing"
        raise UserError(
            f"{command[0]} did not end within {patience} s (its last words: {last}); check it with a small program"
        ) from None
    return child.returncode, out, err


def one_file(folder: Path) -> str:
    """All files that the project's makefile names, as one.

    The helpers of each generated file stand in an unnamed namespace; together they need names. The file that allocates
    arrays, reads and writes them, each by its name, is long and runs once: optimising it took a third of the time.
    """
    line = next(line for line in (folder / "makefile").read_text().splitlines() if line.startswith("SRCS ="))
    parts = []
    for number, name in enumerate(line.removeprefix("SRCS =").split()):
        own, text = f"helpers_{number}", (folder / name).read_text()
        if name.startswith("code_objects") and "namespace {" in text:
            text = text.replace("namespace {", f"namespace {own} {{")
            text = text.replace("using namespace brian;", f"using namespace brian; using namespace {own};")
        parts.append(_not_optimised(text) if name == "objects.cpp" else text)
    return "\n".join(parts)


def _not_optimised(text: str) -> str:
    """A C++ file whose own code, behind its includes, is compiled as it stands. Not every compiler knows the pragmas;
    the others pass over them."""
    end = text.find("\n", text.rfind("#include"))
    own = "\n#pragma GCC push_options\n#pragma GCC optimize (0)\n"
    return f"{text[:end]}{own}{text[end:]}\n#pragma GCC pop_options\n"


def _prune(cache: Path) -> None:
    """Delete the builds that were not used for longest until the rest fits into the cache's size, and what builds that
    were stopped left behind."""
    for left in cache.glob("building-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    builds = sorted(
        (f for f in cache.iterdir() if (f / MANIFEST).is_file()), key=lambda f: f.stat().st_mtime, reverse=True
    )
    total = 0
    for build in builds:
        total += sum(f.stat().st_size for f in build.rglob("*") if f.is_file())
        if total > CACHE_BYTES:
            shutil.rmtree(build, ignore_errors=True)


def settable_arrays() -> Arrays:
    """The arrays of the Brian2 project being written that its program's arguments may set, with their sizes and types.
    Those whose size is only known when the program runs (of `Synapses`) are left out."""
    return {
        f"{variable.owner.name}.{variable.name}": (int(variable.size), np.dtype(variable.dtype).name)
        for variable in b2.device.arrays
        if not variable.read_only and not isinstance(variable, DynamicArrayVariable)
    }


def check_numbers(numbers: Mapping[str, np.ndarray], arrays: Arrays) -> None:
    """RuntimeError for numbers that do not fill the array that the program reads them into.

    Brian2's generated code leaves such an array at zero and goes on.
    """
    for name, values in numbers.items():
        if name not in arrays:
            raise RuntimeError(f"the compiled network has no array {name}")
        size, dtype = arrays[name]
        if (values.size, values.dtype.name) != (size, dtype):
            raise RuntimeError(
                f"the compiled network reads {size:,} numbers of type {dtype} into {name}, and "
                f"{values.size:,} of type {values.dtype} are handed over"
            )


def write_numbers(folder: Path, numbers: Mapping[str, np.ndarray], arrays: Arrays) -> list[str]:
    """Numbers as files in a folder; returns the program's arguments that make it read them.

    arrays   what the program reads, see `check_numbers`
    """
    check_numbers(numbers, arrays)
    arguments = []
    for number, (name, array) in enumerate(numbers.items()):
        path = folder / f"{number}.dat"
        np.ascontiguousarray(array).tofile(path)
        arguments.append(f"{name}={path}")
    return arguments
