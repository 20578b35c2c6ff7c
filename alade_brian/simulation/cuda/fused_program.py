"""The compiled network with shared kernels on a GPU: a process like that of the processor's, with the same two pipes.

Brian2 writes a C++ project as for the processor, in which our templates start kernels instead of loops; nvcc compiles
it. How many images are side by side is said when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from alade_brian.errors import UserError
from alade_brian.simulation.cache.builds import compile_by, find_or_build, one_file, toolchain
from alade_brian.simulation.cache.structure import structure_key
from alade_brian.simulation.cuda.compiler import SOURCE
from alade_brian.simulation.cuda.explicit_network import gpu_failure
from alade_brian.simulation.cuda.fused_layer import CudaBuilder
from alade_brian.simulation.fused.layer import FusedLayer
from alade_brian.simulation.fused.network import FusedNetwork, fused_values
from alade_brian.simulation.fused.process import Process, ProgramEnded
from alade_brian.simulation.fused.program import (
    ENDED,
    StreamedProgram,
    answered,
    eventful,
    pointer,
    size_of,
    traced,
    write_project,
)
from alade_brian.simulation.preferences import float_type
from alade_brian.spec import NetworkSpec

HEADERS = "fused_cuda.cuh", "streams.h"
# The part of Brian2's own library that its code for neurons calls.
BRIANS_HELPERS = "brianlib/stdint_compat.h"
# Kernels are lambdas.
LAMBDAS = "--extended-lambda"


class Compiler(Protocol):
    """What makes a program of a project's `SOURCE`; `name` says it and all that decides its machine code.

    nvcc for a GPU is `cuda_compiler.Target`.
    """

    @property
    def name(self) -> str: ...

    def command(self, *flags: str) -> list[str]:
        """The command with more flags, to be run in the project's folder."""
        ...


class GpuProcess(Process):
    """A program that runs on a GPU."""

    # The same numbers for GPUs as in nvidia-smi.
    variables = MappingProxyType({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

    def ended(self, code: int, said: str) -> ProgramEnded:
        """See `Child`."""
        return ProgramEnded(str(gpu_failure(self.folder, code, said)))


class FusedCudaProgram(StreamedProgram):
    """The program of a network for a GPU."""

    kind = "gpu"
    process = GpuProcess

    def __init__(
        self,
        spec: NetworkSpec,
        batch: int,
        dtype: str,
        cache: Path,
        compiler: Compiler,
        traces: Sequence[str] = (),
    ) -> None:
        plain, own, names = traced(spec, traces)
        # The batch is no part of it.
        key = structure_key(
            plain, "any", dtype=dtype, traces=list(names), kind="fused cuda", cuda=compiler.name, **toolchain()
        )

        def generate(folder: Path) -> dict[str, Any]:
            return write_project(
                plain, float_type(dtype), folder, HEADERS, lambda: CudaBuilder(plain, 1, names).build(), _loop
            )

        def make(folder: Path) -> None:
            _compile(folder, compiler)

        build = find_or_build(cache, key, generate, make)
        numbers = fused_values(spec, 1, float_type(dtype))
        super().__init__(spec, batch, dtype, own, build, numbers, {"images.batch": batch})


def _loop(spec: NetworkSpec, built: FusedNetwork) -> tuple[str, str]:
    """Present until there are no more images: they go to the GPU, all kernels of all steps are started there, and what
    they leave is fetched. Nothing waits for anything but the answers."""
    images, parts = built.images, answered(spec, built)
    sizes = " + ".join(size_of(owner, name) for owner, name, _ in parts)
    start = [
        f"shared::batch() = *{pointer(images, 'batch')};",
        f"shared::presentations().begin({size_of(images, 'values')}, {sizes});",
        f"while (shared::presentations().next({_on_device(images, 'values')})) {{",
        f"{built.network.name}.t = 0;",
    ]
    end = [_count(spec, layer, number) for layer in eventful(built) for number in range(len(layer.inputs))]
    end += [
        f"{condition}shared::presentations().answer({_on_device(owner, name)}, {size_of(owner, name)});"
        for owner, name, condition in parts
    ]
    return "\n".join(start), "\n".join([*end, "shared::presentations().end();", *ENDED])


def _count(spec: NetworkSpec, layer: FusedLayer, number: int) -> str:
    """C++ that counts the events of one of a layer's inputs. What a delay carries beyond the last step is none."""
    source, delay = layer.inputs[number].source, layer.inputs[number].delay
    owner, bits = source.bits
    return (
        f"shared::count_events<{source.rows.channels}, {source.rows.pixels}>({_on_device(owner, bits)}, "
        f"{owner.variables[bits].size}, {source.start}, {max(0, spec.steps - delay)}, "
        f"{_on_device(layer, f'in{number}_degrees', each=False)}, "
        f"{_on_device(layer, '_events')} + {number}, {len(layer.inputs)});"
    )


def _on_device(owner: Any, variable: str, each: bool = True) -> str:
    name = pointer(owner, variable)
    return f"shared::on_device({name}, {owner.variables[variable].size}, {str(each).lower()})"


def _compile(folder: Path, compiler: Compiler) -> None:
    """Compile the project as one translation unit. Needs no GPU."""
    (folder / SOURCE).write_text(f"#include <cuda_runtime.h>\n{_for_both(one_file(folder))}")
    shared = folder / BRIANS_HELPERS
    shared.write_text(_marked(shared.read_text()))
    command = compiler.command(LAMBDAS)
    failed = compile_by([command], folder)
    if failed is not None:
        raise UserError(
            f"{command[0]} failed on the generated code ({failed}); check it with a small program, or use --backend cpp"
        )


def _for_both(text: str) -> str:
    """The project with Brian2's helpers (all of them in namespaces of ours by then) as functions of host and GPU."""
    helpers = re.compile(r"^namespace helpers_\d+ \{.*?^\}", re.DOTALL | re.MULTILINE)
    return helpers.sub(lambda found: _marked(found[0]), text)


def _marked(helpers: str) -> str:
    return re.sub(r"\binline\b", "__host__ __device__ inline", helpers)
