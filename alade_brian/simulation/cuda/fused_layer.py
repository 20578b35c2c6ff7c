"""The fused layers and their currents on a GPU: the same Brian2 objects, with templates that make kernels of the code.

Brian2's groups are those of one image here: constants are the same for all images, and of what changes the GPU has one
copy for each. So a program is built once for any number of images side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np
from brian2.codegen.generators.cpp_generator import c_data_type
from brian2.core.variables import ArrayVariable, Variable
from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject

from alade_brian.simulation.fused.layer import Current, FusedLayer, Rows
from alade_brian.simulation.fused.network import Builder
from alade_brian.simulation.gather import degrees
from alade_brian.spec import Projection

LANES = 32
# Numbers of the target that a lane keeps in registers.
BLOCKS = 4


def device_arrays(variables: Mapping[str, Variable]) -> list[dict[str, Any]]:
    """The arrays among variables that kernels read or write, each once: its name and that of the pointer that Brian2's
    code uses, its type and size for one image, and whether each image has its own."""
    found = {}
    for variable in variables.values():
        if isinstance(variable, ArrayVariable) and not variable.scalar:
            name = b2.device.get_array_name(variable, access_data=False)
            found[name] = {
                "name": name, "pointer": f"_ptr{name}", "type": c_data_type(variable.dtype), "size": variable.size,
                "each": not variable.constant,
            }  # fmt: skip
    return [found[name] for name in sorted(found)]


class CudaCode(CPPStandaloneCodeObject):
    """Brian2's C++ in functions that start kernels."""

    templater = CPPStandaloneCodeObject.templater.derive(
        "alade_brian.simulation", extension=".cu", env_globals={"device_arrays": device_arrays}
    )


@dataclass(frozen=True)
class CudaGivenSpikes:
    """The spikes of a stimulus: they are read where they lie among the images, from `start` on."""

    images: b2.Group
    rows: Rows
    start: int
    amplitude: None = None

    @property
    def bits(self) -> tuple[b2.Group, str]:
        """The object and its variable that hold them."""
        return self.images, "values"


class CudaLayer(FusedLayer):
    """A layer whose pass is one kernel in each step."""

    template = "fused_cuda_layer"
    language = CudaCode
    start = 0

    def __init__(self, group: b2.NeuronGroup, rows: Rows, *arguments: Any) -> None:
        super().__init__(group, rows, *arguments)
        self.template_kwds |= _tiles(rows.channels)

    @property
    def bits(self) -> tuple[b2.Group, str]:
        """See `CudaGivenSpikes`."""
        return self, "_bits"

    def add_lists(self) -> None:
        """None: spikes are read from the recording."""

    def refer_spikes(self, name: str, source: CudaLayer | CudaGivenSpikes) -> dict[str, Any]:
        """See `FusedLayer`."""
        self.refer(f"{name}_bits", *source.bits)
        return {"start": source.start, "row_bytes": source.rows.row_bytes}


class CudaCurrent(Current):
    """A current that one kernel sums."""

    template = "fused_cuda_current"
    language = CudaCode

    def __init__(self, group: b2.NeuronGroup, rows: Rows, *arguments: Any) -> None:
        super().__init__(group, rows, *arguments)
        self.template_kwds |= _tiles(rows.channels)


class CudaBuilder(Builder):
    """Makes the objects of a network on a GPU."""

    layer = CudaLayer
    current = CudaCurrent

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # How many images are side by side, set when the program starts.
        self.images.variables.add_array("batch", size=1, dtype=np.int32)

    def make_given(self, rows: Rows, bytes_per_image: int, start: int, name: str) -> CudaGivenSpikes:
        """See `Builder`."""
        return CudaGivenSpikes(self.images, rows, start)

    def degrees(self, projection: Projection) -> np.ndarray:
        """See `Builder`; events are counted from the recording, for which no pass tells."""
        return degrees(self.spec, projection)


def _tiles(channels: int) -> dict[str, int]:
    """How many channels a lane has, and how many warps a row."""
    blocks = min(BLOCKS, -(-channels // LANES))
    return {"blocks": blocks, "tiles": -(-channels // (blocks * LANES))}
