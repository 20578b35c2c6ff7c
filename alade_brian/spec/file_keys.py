"""What a file of a specification holds: the classes by name, and the fields of each by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from alade_brian.spec.network import NetworkSpec, Population, Projection, Readout, Stimulus
from alade_brian.spec.neuron import NeuronEquations, Parameter
from alade_brian.spec.operators import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    Pooling,
    Sparse,
    TransposedConvolution,
)
from alade_brian.spec.release import Release

# All that a specification is made of, by name: what a file of it may hold.
SPEC_CLASSES: Mapping[str, type] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            Parameter,
            NeuronEquations,
            Stimulus,
            Population,
            Dense,
            Sparse,
            Convolution,
            TransposedConvolution,
            Pooling,
            MaxPooling,
            Identity,
            Release,
            Projection,
            Readout,
            NetworkSpec,
        )
    }
)

# Keys of files that differ from the fields' names: files that were written before stay readable.
_FILE_KEYS: Mapping[tuple[type, str], str] = MappingProxyType(
    {
        (Projection, "target_offset"): "first",
        (Projection, "target_variable"): "into",
        (Readout, "neurons_per_output"): "group",
        (Readout, "sampled"): "when",
    }
)


def file_keys(cls: type) -> dict[str, str]:
    """The fields of one of `SPEC_CLASSES`, each with its key in files."""
    return {f.name: _FILE_KEYS.get((cls, f.name), f.name) for f in dataclasses.fields(cls)}


def from_file(name: str, values: Mapping[str, object]) -> object:
    """The object of `SPEC_CLASSES` with that name from values by their keys in files (KeyError for an unknown name or
    key, TypeError for a missing one)."""
    cls = SPEC_CLASSES[name]
    fields = {key: field for field, key in file_keys(cls).items()}
    return cls(**{fields[key]: value for key, value in values.items()})
