"""The only place that knows brian2cuda: it is imported here, patched here, and its projects are compiled here.

brian2cuda is mended by its templates as they are read; its installation is never touched. Where the text to be
mended is not found, it is another brian2cuda than this was written for: an error.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import brian2 as b2
from brian2.codegen.templates import Templater
from brian2.devices.device import reset_device, set_device
from jinja2 import BaseLoader, Environment

from alade_brian.errors import UserError
from alade_brian.machine import compiler
from alade_brian.simulation.cache.builds import compile_by
from alade_brian.simulation.cuda.compiler import NVCC_FLAGS, SOURCE, Target
from alade_brian.simulation.cuda.toolkit import Curand, Toolkit, find_curand
from alade_brian.simulation.preferences import preferences

log = logging.getLogger(__name__)

BRIAN2CUDA = "1.0b1"
LIBRARIES = "libraries"


@dataclass(frozen=True)
class Mend:
    """A change to one of brian2cuda's templates, for toolkits from a version on."""

    template: str
    old: str
    new: str
    cuda: tuple[int, int] = (0, 0)


MENDS = (
    # Thrust of CUDA 13 asks for C++17.
    Mend("makefile", "-std=c++11", "-std=c++17", cuda=(13, 0)),
    # A delay is over when the clock of the synapses says so; the default clock stands still where nobody uses it.
    Mend("synapses.cu", "if (defaultclock.timestep[0] >=", "if ({{owner.clock.name}}.timestep[0] >="),
    # Values given on the command line may be names of files, in which capitals matter.
    Mend("objects.cu", "c = std::tolower(static_cast<unsigned char>(c));", ""),
)


def check_packages() -> None:
    """UserError where brian2cuda is missing, or another version than this module knows, or beside a wrong Brian2."""
    try:
        found = importlib.metadata.version("brian2cuda")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the backend 'cuda' needs brian2cuda; pip install brian2cuda=={BRIAN2CUDA} (Python 3.12 or later), or use "
            "--backend cpp"
        ) from None
    if found != BRIAN2CUDA:
        raise UserError(
            f"brian2cuda {found} is installed, this version works with {BRIAN2CUDA}; pip install "
            f"brian2cuda=={BRIAN2CUDA}"
        )
    asked = [r for r in importlib.metadata.requires("brian2cuda") or [] if re.match(r"brian2\s*==", r)]
    wanted = asked[0].split("==")[1].strip(" ;") if asked else b2.__version__
    if b2.__version__ != wanted:
        raise UserError(
            f"brian2cuda {found} needs Brian2 {wanted}, and {b2.__version__} is installed; pip install "
            f"brian2=={wanted} brian2cuda=={BRIAN2CUDA}"
        )


@contextmanager
def cuda_project(folder: Path, dtype: type, target: Target) -> Iterator[None]:
    """Let Brian2 write what is made in the block as a CUDA project into a folder, and be as before afterwards."""
    check_packages()
    with _quiet(), _mended(target.toolkit), _asked_anew():
        set_device("cuda_standalone", build_on_run=False, directory=str(folder))
        try:
            b2.device.reinit()
            b2.device.activate(build_on_run=False, directory=str(folder))
            with preferences(**_preferences(folder, dtype, target)):
                yield
        finally:
            b2.device.reinit()
            reset_device()


def _preferences(folder: Path, dtype: type, target: Target) -> dict[str, object]:
    toolkit, number = target.toolkit, re.sub(r"\D", "", target.architecture)
    curand = find_curand(toolkit)
    backend = "devices__cuda_standalone__cuda_backend__"
    return {
        "core__default_float_dtype": dtype,
        # See `standalone_project`.
        "core__stop_on_keyboard_interrupt": False,
        "codegen__cpp__extra_compile_args_gcc": target.host_flags,
        "codegen__cpp__extra_link_args": _link_flags(folder, curand),
        f"{backend}extra_compile_args_nvcc": [*NVCC_FLAGS, *_include_flags(curand)],
        # Found by ourselves: brian2cuda would need NVIDIA's sample programs for it.
        f"{backend}detect_gpus": False,
        f"{backend}detect_cuda": False,
        f"{backend}gpu_id": 0,
        f"{backend}compute_capability": float(f"{number[:-1]}.{number[-1]}"),
        f"{backend}cuda_runtime_version": float("{}.{}".format(*toolkit.version)),
        f"{backend}cuda_path": str(toolkit.nvcc.parent.parent),
    }


def _include_flags(curand: Curand) -> list[str]:
    return [] if curand.headers is None else [f"-I{curand.headers}"]


def _link_flags(folder: Path, curand: Curand) -> list[str]:
    """Where cuRAND comes from its Python package, which has it under the name with a version only."""
    if curand.library is None:
        return []
    (folder / LIBRARIES).mkdir(parents=True, exist_ok=True)
    link = folder / LIBRARIES / "libcurand.so"
    link.unlink(missing_ok=True)
    link.symlink_to(curand.library)
    return [f"-L{LIBRARIES}", "-Xlinker", f"-rpath={curand.library.parent}"]


@contextmanager
def _asked_anew() -> Iterator[None]:
    """brian2cuda remembers what it once found; here it looks at its preferences again for every project."""
    from brian2cuda.utils.gputools import reset_cuda_installation, reset_gpu_selection

    reset_gpu_selection()
    reset_cuda_installation()
    try:
        yield
    finally:
        reset_gpu_selection()
        reset_cuda_installation()


@contextmanager
def _quiet() -> Iterator[None]:
    """brian2cuda says what it found and all of its preferences, which are ours."""
    logger = logging.getLogger("brian2.brian2cuda")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class MendedLoader(BaseLoader):
    """Templates of another loader with `mends` done."""

    def __init__(self, loader: BaseLoader, mends: tuple[Mend, ...]) -> None:
        self.loader, self.mends = loader, mends

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """See jinja2. RuntimeError where the text that is to be mended is not there."""
        source, name, current = self.loader.get_source(environment, template)
        for mend in self.mends:
            if mend.template == template:
                if mend.old not in source:
                    raise RuntimeError(f"brian2cuda's template {template} lacks '{mend.old}': is it another version?")
                source = source.replace(mend.old, mend.new)
        return source, name, current

    def list_templates(self) -> list[str]:
        """See jinja2."""
        return self.loader.list_templates()


def templater(base: Templater, toolkit: Toolkit) -> Templater:
    """brian2cuda's templates, mended for a toolkit."""
    own = Templater(base.package_names, base.extension, base.env_globals, base.templates_dir)
    assert own.env.loader is not None
    own.env.loader = MendedLoader(own.env.loader, tuple(m for m in MENDS if toolkit.version >= m.cuda))
    return own


@contextmanager
def _mended(toolkit: Toolkit) -> Iterator[None]:
    from brian2cuda import CUDAStandaloneCodeObject

    before = CUDAStandaloneCodeObject.templater
    CUDAStandaloneCodeObject.templater = templater(before, toolkit)
    try:
        yield
    finally:
        CUDAStandaloneCodeObject.templater = before


def compile_cuda(folder: Path, target: Target) -> None:
    """Compile and link the project of `cuda_project` as one translation unit, or, where that fails, as brian2cuda meant
    it: each of its some thirty files reads all of Thrust, which makes them fifteen times slower to compile.

    Needs no GPU.
    """
    curand = find_curand(target.toolkit)
    (folder / SOURCE).write_text(_one_file(folder))
    whole = target.command("-rdc=true", *_include_flags(curand), "-lcurand", *_link_flags(folder, curand))
    ways = [whole, *([["make", "-j2", f"CXX={compiler()}"]] if shutil.which("make") else [])]
    failed = compile_by(ways, folder)
    if failed is not None:
        raise UserError(
            f"{target.toolkit.nvcc} failed on brian2cuda's generated code ({failed}); check nvcc and {compiler()} with "
            "a small program, or use --backend cpp"
        )


def _one_file(folder: Path) -> str:
    """All files that the project's makefile names, as one. Helpers that several files have, in unnamed namespaces or
    (in code that prepares a run) in none, get one with a name."""
    line = next(line for line in (folder / "makefile").read_text().splitlines() if line.startswith("SRCS ="))
    parts = []
    for number, name in enumerate(line.removeprefix("SRCS =").split()):
        own, text = f"helpers_{number}", (folder / name).read_text()
        if name.startswith("code_objects"):
            text = _BARE_HELPERS.sub(r"\1namespace {\n\2\n}\3", text)
            text, found = re.subn(r"^namespace\s*{", f"namespace {own} {{", text, flags=re.MULTILINE)
            if found:
                text = text.replace("using namespace brian;", f"using namespace brian; using namespace {own};")
        parts.append(text)
    return "\n".join(parts)


_BARE_HELPERS = re.compile(r"(///// Support code /////\n)(.*?)(\nvoid _before_run_)", re.DOTALL)
