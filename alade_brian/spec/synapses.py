"""Which neuron reaches which, and through which number: the projections of a specification as lists of synapses."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.spec.errors import Shape, require
from alade_brian.spec.network import NetworkSpec, Projection
from alade_brian.spec.operators import Operator, Synapses


def projection_synapses(spec: NetworkSpec, projection: Projection) -> Synapses:
    """The synapses of a projection, its place in the target taken into account."""
    return placed_synapses(projection, spec.shape(projection.source))


def placed_synapses(projection: Projection, source: Shape) -> Synapses:
    """The synapses of a projection whose source has that shape, its place in the target taken into account."""
    found = projection.operator.synapses(source)
    return replace(found, post=found.post + projection.target_offset) if projection.target_offset else found


def matrix(operator: Operator, source: Shape) -> sparse.csr_array:
    """A linear operator as a sparse matrix ``(outputs, inputs)`` over flattened shapes; SpecError for any other."""
    require(operator.linear, f"a {type(operator).__name__} is no matrix: it is not linear")
    found = operator.synapses(source)
    shape = (prod(operator.output_shape(source)), prod(source))
    return sparse.csr_array((found.weights(operator), (found.post, found.pre)), shape=shape)


def out_degrees(spec: NetworkSpec, projection: Projection) -> np.ndarray:
    """Number of synapses of every source neuron, int64 ``(source size,)``."""
    return np.bincount(projection_synapses(spec, projection).pre, minlength=prod(spec.shape(projection.source)))


def live_projections(spec: NetworkSpec) -> list[tuple[int, Projection]]:
    """Projections with their numbers, those without a single connection left out: Brian2 takes no empty lists."""
    return [(index, p) for index, p in enumerate(spec.projections) if spec.synapse_count(p)]


def weighted_projections(spec: NetworkSpec) -> list[tuple[int, Projection]]:
    """Those of `live_projections` that are linear: Brian2 makes `Synapses` with weights of them."""
    return [(index, p) for index, p in live_projections(spec) if p.operator.linear]
