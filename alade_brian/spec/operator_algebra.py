"""Algebra of linear operators: what two operators, one behind the other, are as one operator.

The sum that reaches a neuron is the same but for the order in which it is added up. What can stay an operator with a
geometry says so itself (`Operator.behind`); behind a full weight everything is one, and all else a list of connections.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from alade_brian.spec.errors import Shape
from alade_brian.spec.operators import Dense, Operator, Sparse
from alade_brian.spec.synapses import matrix


def compose(inner: Operator, source: Shape, outer: Operator) -> Operator:
    """`outer` behind `inner` as one operator on the source."""
    found = in_closed_form(inner, source, outer)
    if found is not None:
        return found
    middle = inner.output_shape(source)
    return _listed(matrix(outer, middle) @ matrix(inner, source), outer.output_shape(middle))


def in_closed_form(inner: Operator, source: Shape, outer: Operator) -> Operator | None:
    """`outer` behind `inner` as one operator where that need not be a list of connections; otherwise None."""
    if outer.changes_nothing:
        return inner
    if inner.changes_nothing:
        return outer
    if outer.full_weight is not None:
        return _full_behind(inner, source, outer.full_weight)
    return outer.behind(inner, source)


def _listed(whole: sparse.sparray, shape: Shape) -> Sparse:
    entries = sparse.coo_array(whole)
    return Sparse(entries.coords[0], entries.coords[1], entries.data, shape)


def _full_behind(inner: Operator, source: Shape, weight: np.ndarray) -> Dense:
    gain = inner.one_to_one_gain
    if gain is not None and gain.ndim == 0:
        return Dense(weight * gain)
    return Dense(np.asarray((matrix(inner, source).T @ sparse.csr_array(weight.T)).toarray()).T)
