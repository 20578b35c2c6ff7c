"""PyTorch modules to `NetworkSpec`."""

# Importing these fills the registry of lowerings, `LOWERINGS`.
from alade_brian.conversion.from_torch import layers, pooling, readouts

__all__ = ["layers", "pooling", "readouts"]
