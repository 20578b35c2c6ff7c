"""Compile a network with explicit synapses for a GPU, in a Python with brian2cuda: run by tests/test_cuda_build.py.

python tests/cuda_project.py NETWORK.npz CACHE ARCHITECTURE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.errors import UserError
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.cuda.explicit_network import Brian2CudaDevice
from alade_brian.simulation.cuda.toolkit import find_toolkit
from alade_brian.simulation.separate.standalone import StandaloneNetwork
from alade_brian.spec.file import load_spec

if __name__ == "__main__":
    spec, cache, architecture = load_spec(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
    # What is compiled quickly is as good for a program that only has to be whole.
    device = Brian2CudaDevice(Target(find_toolkit(), architecture, optimise="-O0"))
    network = StandaloneNetwork(spec, BatchLayout(2, 3), "explicit", "float64", cache, (), device)
    answer: dict[str, object] = {"compiled": network.compiled, "folder": str(network.folder)}
    try:
        pixels = np.load(sys.argv[4])
        found = network.run(pixels)
        answer["spikes"] = {name: raster.sum(axis=(1, 2)).tolist() for name, raster in found.spikes.items()}
    except UserError as error:
        answer["error"] = str(error)
    print(json.dumps(answer))
