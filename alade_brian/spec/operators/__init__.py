"""Linear operators: how the spikes of one population become the input of another.

Shapes are channels-first, ``(features,)``, ``(channels, length)`` or ``(channels, height, width)``. An operator is one
class, derived from `Operator`.
"""

from alade_brian.spec.operators.channelwise import Identity, Pooling
from alade_brian.spec.operators.convolution import Convolution, TransposedConvolution
from alade_brian.spec.operators.dense import Dense
from alade_brian.spec.operators.operator import Operator, Sparse, Synapses, same_operator
from alade_brian.spec.operators.windows import planar

__all__ = [
    "Convolution",
    "Dense",
    "Identity",
    "Operator",
    "Pooling",
    "Sparse",
    "Synapses",
    "TransposedConvolution",
    "planar",
    "same_operator",
]
