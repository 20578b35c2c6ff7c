"""Operators: how what one population sends becomes the input of another.

Shapes are channels-first, ``(features,)``, ``(channels, length)`` or ``(channels, height, width)``. An operator is one
class, derived from `Operator`.
"""

from alade_brian.spec.operators.channelwise import Identity, MaxPooling, Pooling
from alade_brian.spec.operators.convolution import Convolution, TransposedConvolution
from alade_brian.spec.operators.dense import Dense
from alade_brian.spec.operators.operator import Operator, Sparse, Synapses, same_operator
from alade_brian.spec.operators.windows import planar

__all__ = [
    "Convolution",
    "Dense",
    "Identity",
    "MaxPooling",
    "Operator",
    "Pooling",
    "Sparse",
    "Synapses",
    "TransposedConvolution",
    "planar",
    "same_operator",
]
