"""What of CUDA a machine has: the compiler, cuRAND, a GPU and its driver, found by asking them. Needs no Brian2."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from alade_brian.errors import UserError

# What code is compiled for where no GPU says otherwise.
ARCHITECTURE = "sm_90"
# The oldest GPU that brian2cuda takes.
OLDEST = "sm_50"
PATIENCE = 60
USUAL_PLACE = "/usr/local/cuda/bin"
_FIELDS = ("index", "uuid", "name", "compute_cap", "memory.total", "memory.free", "driver_version", "compute_mode")


@dataclass(frozen=True)
class Toolkit:
    """The CUDA compiler and its version."""

    nvcc: Path
    version: tuple[int, int]


@dataclass(frozen=True)
class Curand:
    """A library of CUDA that brian2cuda's code includes: the folder of its headers, and the shared library. Both None
    where it is a part of the toolkit."""

    headers: Path | None = None
    library: Path | None = None


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it; memory in bytes, `cuda` the newest CUDA version that the driver runs."""

    number: int
    name: str
    architecture: str
    memory: int
    free: int
    driver: str
    cuda: tuple[int, int]
    prohibited: bool = False


def find_toolkit() -> Toolkit:
    """The toolkit: $CUDA_PATH, $CUDA_HOME, nvcc on the PATH, or /usr/local/cuda. UserError where there is none."""
    nvcc = _nvcc()
    if nvcc is None:
        raise UserError(
            "the backend 'cuda' needs NVIDIA's compiler nvcc, which was found neither in $CUDA_PATH/bin nor on the "
            "PATH nor in /usr/local/cuda/bin; install it (Debian, from NVIDIA's package source: apt-get install "
            "cuda-toolkit), or use --backend cpp"
        )
    found = re.search(r"release (\d+)\.(\d+)", _said([str(nvcc), "--version"]) or "")
    if found is None:
        raise UserError(f"{nvcc} does not say its version; try '{nvcc} --version', and install the CUDA toolkit anew")
    return Toolkit(nvcc, (int(found[1]), int(found[2])))


def _nvcc() -> Path | None:
    named = [Path(os.environ[key], "bin") for key in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(key)]
    search = os.pathsep.join([*map(str, named), os.environ.get("PATH", ""), USUAL_PLACE])
    found = shutil.which("nvcc", path=search)
    return None if found is None else Path(found)


def _root(nvcc: Path) -> Path:
    """The toolkit's folder, which nvcc itself knows best: what is on the PATH may be a script that calls it."""
    said = _said([str(nvcc), "--dryrun", "-c", "-x", "cu", os.devnull]) or ""
    found = re.search(r"^#\$ TOP=(.+)$", said, re.MULTILINE)
    return Path(found[1]) if found is not None else nvcc.resolve().parent.parent


def find_curand(toolkit: Toolkit) -> Curand:
    """cuRAND from the toolkit, or from its Python package. UserError where there is none."""
    root, major = _root(toolkit.nvcc), toolkit.version[0]
    if any((root / folder / "curand.h").is_file() for folder in ("include", "targets/x86_64-linux/include")):
        return Curand()
    package = "nvidia-curand" if major >= 13 else f"nvidia-curand-cu{major}"
    module = f"nvidia.cu{major}" if major >= 13 else "nvidia.curand"
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        library = next(Path(place, "lib").glob("libcurand.so*"), None)
        if Path(place, "include", "curand.h").is_file() and library is not None:
            return Curand(Path(place, "include"), library)
    raise UserError(
        f"the CUDA toolkit has no cuRAND, which brian2cuda's code includes; pip install {package}, or install the "
        "whole toolkit"
    )


def find_gpu() -> Gpu:
    """The GPU that a CUDA program would take. UserError where there is none."""
    query = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    said = _said(query) if shutil.which("nvidia-smi") else None
    lines = [line.split(", ") for line in (said or "").splitlines() if line.count(", ") == len(_FIELDS) - 1]
    row = _visible([dict(zip(_FIELDS, line, strict=True)) for line in lines])
    if row is None:
        raise UserError(
            "no GPU was found: nvidia-smi lists none that $CUDA_VISIBLE_DEVICES lets through; install NVIDIA's driver "
            "(Debian: apt-get install nvidia-driver) on a machine that has one, or use --backend cpp"
        )
    version = re.search(r"CUDA[\w ]*Version\s*:\s*(\d+)\.(\d+)", _said(["nvidia-smi"]) or "")
    return Gpu(
        int(row["index"]), row["name"], "sm_" + row["compute_cap"].replace(".", ""), _mebibytes(row["memory.total"]),
        _mebibytes(row["memory.free"]), row["driver_version"],
        (int(version[1]), int(version[2])) if version is not None else (0, 0), row["compute_mode"] == "Prohibited",
    )  # fmt: skip


def _visible(rows: list[dict[str, str]]) -> dict[str, str] | None:
    """The first of the GPUs that $CUDA_VISIBLE_DEVICES names (numbers or beginnings of UUIDs), or of all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = None if named is None else named.split(",")[0].strip()
    if first is None:
        return rows[0] if rows else None
    fits = (row for row in rows if first and (row["index"] == first or row["uuid"].startswith(first)))
    return next(fits, None)


def check_gpu(gpu: Gpu, toolkit: Toolkit) -> None:
    """UserError where that GPU cannot run what that toolkit compiles."""
    if gpu.cuda[0] < toolkit.version[0]:
        raise UserError(
            f"the driver {gpu.driver} of the {gpu.name} runs CUDA {_dotted(gpu.cuda)}, too old for the toolkit's "
            f"{_dotted(toolkit.version)}; install a newer driver (Debian: apt-get install nvidia-driver), or an older "
            f"toolkit (apt-get install cuda-toolkit-{gpu.cuda[0]}-{gpu.cuda[1]}) and set CUDA_PATH to it"
        )
    if _number(gpu.architecture) < _number(OLDEST):
        raise UserError(
            f"the {gpu.name} has the architecture {gpu.architecture}, older than the {OLDEST} that brian2cuda needs; "
            "use --backend cpp"
        )
    known = re.findall(r"^sm_\d+", _said([str(toolkit.nvcc), "--list-gpu-code"]) or "", re.MULTILINE)
    if known and gpu.architecture not in known:
        newer = _number(gpu.architecture) > max(map(_number, known))
        raise UserError(
            f"{toolkit.nvcc} of CUDA {_dotted(toolkit.version)} does not compile for the {gpu.name} "
            f"({gpu.architecture}, too {'new' if newer else 'old'}); install {'a newer' if newer else 'an older'} "
            f"toolkit (Debian: apt-get install cuda-toolkit{'' if newer else '-12-9'}) and set CUDA_PATH to it"
        )
    if gpu.prohibited:
        raise UserError(
            f"the {gpu.name} takes no programs (compute mode 'Prohibited'); let it with 'nvidia-smi -i {gpu.number} -c "
            "DEFAULT', or use --backend cpp"
        )


def _number(architecture: str) -> int:
    return int(re.sub(r"\D", "", architecture))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _mebibytes(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _said(command: list[str]) -> str | None:
    """What a command prints; None where it cannot be run, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
