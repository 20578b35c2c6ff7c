"""Operators of a specification as NIR's linear nodes.

NIR has no node for lists of connections, transposed convolutions, or parts of a target, and none that gives a flat
signal its axes back. What has no node is written as a matrix (`Linear`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import nir
import numpy as np

from alade_brian.conversion.nir_graphs.neurons import NotInNIR
from alade_brian.spec import Convolution, Dense, Identity, NetworkSpec, Operator, Pooling, Projection, Shape

# A matrix of more numbers than this (1 GiB) is refused instead of written.
LARGEST_MATRIX = 2**27


@dataclass
class Chain:
    """Linear nodes one behind the other, and the shape that they make.

    carrier   the number and the attribute of the node that holds the operator's numbers as they are (None: a number
              may stand there multiplied or not at all)
    """

    nodes: list[nir.NIRNode]
    shape: Shape
    carrier: tuple[int, str] | None = None

    def append(self, node: nir.NIRNode, shape: Shape) -> None:
        self.nodes.append(node)
        self.shape = shape

    @property
    def takes_bias(self) -> bool:
        """Whether the last node can hold one bias per channel of its output."""
        return bool(self.nodes) and isinstance(self.nodes[-1], nir.Linear | nir.Conv1d | nir.Conv2d)

    def add_bias(self, bias: np.ndarray) -> str:
        """Give the last node a bias, one per channel; the name of the attribute."""
        last = self.nodes[-1]
        if isinstance(last, nir.Linear):
            self.nodes[-1] = nir.Affine(last.weight, bias)
        else:
            last.bias = bias
        return "bias"


def keeps_axes(spec: NetworkSpec, projection: Projection, flat: bool) -> bool:
    """Whether nodes can give the target its axes; `flat` says that the source has lost its own."""
    operator, source = projection.operator, spec.shape(projection.source)
    target = spec.shape(projection.target)
    if len(target) == 1:
        return True
    made = operator.output_shape(source)
    whole_channels = made[1:] == target[1:] and projection.target_offset % prod(made[1:]) == 0
    return not flat and _has_nodes(operator, source) and whole_channels


def _has_nodes(operator: Operator, source: Shape) -> bool:
    """Whether an operator has nodes other than a matrix."""
    if isinstance(operator, Convolution):
        row = operator.weight.shape[2] == 1 and operator.padding[0] == 0
        return row if len(source) == 2 else _squared(operator, source) is not None
    if isinstance(operator, Pooling):
        return len(source) == 3 or (operator.kernel[0] == 1 and operator.padding[0] == 0)
    return isinstance(operator, Identity)


def is_matrix(spec: NetworkSpec, projection: Projection, flat: bool) -> bool:
    """Whether an operator that is no matrix is written as one."""
    source = spec.shape(projection.source)
    return not isinstance(projection.operator, Dense) and (flat or not _has_nodes(projection.operator, source))


def chain(spec: NetworkSpec, projection: Projection, flat_source: bool, flat_target: bool) -> Chain:
    """The nodes of a projection, from its source's node to its target's. NotInNIR where a matrix would be too large."""
    operator, source = projection.operator, spec.shape(projection.source)
    target = spec.shape(projection.target)
    node_source = (prod(source),) if flat_source else source
    node_target = (prod(target),) if flat_target else target
    if flat_source or not _has_nodes(operator, source):
        return _matrix_chain(projection, source, node_source, prod(target))
    found = Chain([], source)
    if isinstance(operator, Convolution):
        _convolve(found, operator, source)
    else:
        assert isinstance(operator, Identity | Pooling)
        gain = operator.per_neuron(source) if isinstance(operator, Identity) else _per_channel(operator.gain, source)
        if np.any(gain != 1):
            found.append(nir.Scale(gain.copy()), source)
            found.carrier = (0, "scale")
        if isinstance(operator, Pooling):
            _pool(found, operator, source)
    return _placed(found, projection.target_offset, node_target)


def _per_channel(gain: np.ndarray, shape: Shape) -> np.ndarray:
    """One number, or one per channel, for every neuron."""
    return np.broadcast_to(gain.reshape(-1, *[1] * (len(shape) - 1)) if gain.ndim else gain, shape)


def _matrix_chain(projection: Projection, source: Shape, node_source: Shape, outputs: int) -> Chain:
    operator, inputs = projection.operator, prod(source)
    if inputs * outputs > LARGEST_MATRIX:
        raise NotInNIR(
            f"the projection {projection.name}: NIR has no node for it but a matrix of {inputs * outputs:,} numbers, "
            f"more than the {LARGEST_MATRIX:,} that are written; write an .npz specification instead"
        )
    found = Chain([], node_source)
    if len(node_source) > 1:
        found.append(nir.Flatten({"input": np.array(node_source)}, 0, -1), (inputs,))
    weight = np.zeros((outputs, inputs))
    if isinstance(operator, Dense):
        weight[projection.target_offset : projection.target_offset + len(operator.weight)] = operator.weight
    else:
        listed = operator.synapses(source)
        places = (listed.post + projection.target_offset, listed.pre)
        np.add.at(weight, places, listed.weights(operator))
        # What is added to zero loses the sign of its own zero; a single connection keeps it.
        if len(np.unique(places[0] * inputs + places[1])) == len(listed):
            weight[places] = listed.weights(operator)
    found.append(nir.Linear(weight), (outputs,))
    found.carrier = (len(found.nodes) - 1, "weight")
    return found


def _placed(found: Chain, first: int, target: Shape) -> Chain:
    """The chain with what it makes put into its place in the target, and flattened where the target is flat."""
    made = found.shape
    if made == target and not first:
        return found
    if len(target) > 1:
        channels = (np.arange(made[0]) + first // prod(made[1:]), np.arange(made[0]))
        weight = np.zeros((target[0], made[0], *[1] * (len(target) - 1)))
        weight[channels] = 1.0
        _append_convolution(found, weight, target)
        return found
    if len(made) > 1:
        found.append(nir.Flatten({"input": np.array(made)}, 0, -1), (prod(made),))
    if prod(made) != target[0] or first:
        weight = np.zeros((target[0], prod(made)))
        weight[np.arange(prod(made)) + first, np.arange(prod(made))] = 1.0
        found.append(nir.Linear(weight), target)
    return found


def _append_convolution(found: Chain, weight: np.ndarray, made: Shape) -> None:
    """A convolution without padding and with stride 1, ``(out, in, ...)``."""
    bias = np.zeros(weight.shape[0])
    if weight.ndim == 3:
        found.append(nir.Conv1d(found.shape[1], weight, 1, 0, 1, 1, bias), made)
    else:
        found.append(nir.Conv2d(found.shape[1:], weight, (1, 1), (0, 0), (1, 1), 1, bias), made)


def _convolve(found: Chain, operator: Convolution, source: Shape) -> None:
    made = operator.output_shape(source)
    if len(source) == 3:
        squared = _squared(operator, source)
        assert squared is not None
        _mask(found, operator, source)
        weight, bias = _ungrouped(squared), np.zeros(made[0])
        found.append(nir.Conv2d(source[1:], weight, operator.stride, squared.padding, squared.dilation, 1, bias), made)
    else:
        cut = _without_extent(operator, source)
        _mask(found, operator, source)
        weight = _ungrouped(cut)[:, :, 0]
        step, pad, gap = operator.stride[1], operator.padding[1], cut.dilation[1]
        found.append(nir.Conv1d(source[1], weight, step, pad, gap, 1, np.zeros(made[0])), made)
    found.carrier = (len(found.nodes) - 1, "weight")


def _mask(found: Chain, operator: Convolution, source: Shape) -> None:
    """Zeros for the pixels beyond the convolution's extent, which its padding must not read."""
    if operator.extent is None:
        return
    rows, columns = operator.extent
    mask = np.zeros((source[0], *(source[1:] if len(source) == 3 else (1, source[1]))))
    mask[:, :rows, :columns] = 1.0
    found.append(nir.Scale(mask.reshape(source)), source)


def _without_extent(operator: Convolution, source: Shape) -> Convolution:
    """The convolution with zeros at the end of its kernel for the pixels that it leaves out: equally many outputs."""
    if operator.extent is None:
        return operator
    image = source[1:] if len(source) == 3 else (1, source[1])
    operator = operator.undilated()
    more = [(0, n - e) for n, e in zip(image, operator.extent or image, strict=True)]
    weight = np.pad(operator.weight, ((0, 0), (0, 0), *more))
    return Convolution(weight, operator.stride, operator.padding, operator.groups)


def _squared(operator: Convolution, source: Shape) -> Convolution | None:
    """The convolution with a square kernel, or None where zeros around the kernel cannot do it.

    The package nir (1.0.8) takes a kernel's height for its width too when it computes shapes, and would refuse it.
    """
    operator = _without_extent(operator, source)
    if operator.weight.shape[2] == operator.weight.shape[3]:
        return operator
    operator = operator.undilated()
    for size in range(max(operator.weight.shape[2:]), max(operator.weight.shape[2:]) + 2):
        around = [_around(operator, source, axis, size) for axis in (0, 1)]
        if around[0] is not None and around[1] is not None:
            weight = np.pad(operator.weight, ((0, 0), (0, 0), around[0], around[1]))
            padding = (operator.padding[0] + around[0][0], operator.padding[1] + around[1][0])
            return Convolution(weight, operator.stride, padding, operator.groups)
    return None


def _around(operator: Convolution, source: Shape, axis: int, size: int) -> tuple[int, int] | None:
    """Zeros before and behind the kernel's axis that make it `size` long and leave the number of outputs as it is."""
    kernel, stride, padding = operator.weight.shape[2 + axis], operator.stride[axis], operator.padding[axis]
    room = source[1 + axis] + 2 * padding - kernel
    for before in ((size - kernel) // 2, (size - kernel + 1) // 2):
        behind = size - kernel - before
        if (room + before - behind) // stride == room // stride and room + before - behind >= 0:
            return before, behind
    return None


def _ungrouped(operator: Convolution) -> np.ndarray:
    """The kernel with zeros where channels are of different groups: nir's shape check knows no groups."""
    if operator.groups == 1:
        return operator.weight.copy()
    outputs, inputs = operator.weight.shape[:2]
    weight = np.zeros((outputs, inputs * operator.groups, *operator.weight.shape[2:]))
    for output in range(outputs):
        start = output // (outputs // operator.groups) * inputs
        weight[output, start : start + inputs] = operator.weight[output]
    return weight


def _pool(found: Chain, operator: Pooling, source: Shape) -> None:
    made = operator.output_shape(source)
    kernel, stride, padding = (np.array(pair) for pair in (operator.kernel, operator.stride, operator.padding))
    if len(source) == 3:
        kind = nir.AvgPool2d if operator.average else nir.SumPool2d
        found.append(kind(kernel, stride, padding), made)
        return
    weight = np.zeros((source[0], source[0], operator.kernel[1]))
    weight[np.arange(source[0]), np.arange(source[0])] = operator.scale
    found.append(
        nir.Conv1d(source[1], weight, operator.stride[1], operator.padding[1], 1, 1, np.zeros(source[0])), made
    )
