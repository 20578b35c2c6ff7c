"""The waist between PyTorch and Brian2: a spiking network as dataclasses and arrays. It needs numpy only.

Lists of synapses as matrices (`spec.synapses`) and the composition of operators (`spec.operator_algebra`) need scipy
and are imported by their own names.
"""

from alade_brian.spec.errors import Shape, SpecError
from alade_brian.spec.network import Coding, NetworkSpec, Population, Projection, Readout, Stimulus
from alade_brian.spec.neuron import NeuronEquations, Parameter, constant, memoryless
from alade_brian.spec.operators import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    Operator,
    Pooling,
    Sparse,
    Synapses,
    TransposedConvolution,
    same_operator,
)
from alade_brian.spec.readouts import DECODINGS, Decoding
from alade_brian.spec.release import Release

__all__ = [
    "DECODINGS",
    "Coding",
    "Convolution",
    "Decoding",
    "Dense",
    "Identity",
    "MaxPooling",
    "NetworkSpec",
    "NeuronEquations",
    "Operator",
    "Parameter",
    "Pooling",
    "Population",
    "Projection",
    "Readout",
    "Release",
    "Shape",
    "Sparse",
    "SpecError",
    "Stimulus",
    "Synapses",
    "TransposedConvolution",
    "constant",
    "memoryless",
    "same_operator",
]
