"""Tensors of a trace that know their shapes: a forward may ask for `x.ndim`, walk over frames, or make states of sizes.

A shape is found on torch's meta device, which calculates shapes and no numbers, and only where a forward asks for one.
"""

from __future__ import annotations

import copy
import operator as python_operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.node import map_aggregate

from alade_brian.conversion.from_torch.frameworks.registry import container_kind
from alade_brian.conversion.from_torch.shapes import Batch
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.models import Neuron, Recurrent

# Methods that change where or how a tensor is kept, which the meta device does not do.
_KEEPS_SHAPE = frozenset(
    {"to", "cpu", "cuda", "type", "type_as", "float", "double", "half", "bool", "int", "long", "detach", "contiguous"}
)
_SHADOW = "shadow"
# What marks a node that changes its first argument.
IN_PLACE = "in place"


class UnknownShape(Exception):
    """The shape of a tensor depends on a layer of which nothing is known."""


class TracedTensor(fx.Proxy):
    """A tensor while tracing. What it says of its shape are numbers; that of the images in it is a `Batch`."""

    def _shadow(self) -> Any:
        return self.tracer.shadows.of(self.node)  # type: ignore[attr-defined]

    def _known(self) -> bool:
        try:
            return isinstance(self._shadow(), Tensor)
        except UnknownShape:
            return False

    @property
    def shape(self) -> Any:
        """As a tensor's; written into the trace where the shape is unknown."""
        if not self._known():
            return super().__getattr__("shape")
        return torch.Size(_marked(tuple(self._shadow().shape), self.tracer.shadows.images))  # type: ignore[attr-defined]

    def size(self, dim: int | None = None) -> Any:
        """As a tensor's."""
        if not self._known():
            return super().__getattr__("size")(*(() if dim is None else (dim,)))
        return self.shape if dim is None else self.shape[dim]

    @property
    def ndim(self) -> Any:
        """As a tensor's."""
        return self._shadow().ndim if self._known() else super().__getattr__("ndim")

    def dim(self) -> Any:
        """As a tensor's."""
        return self.ndim

    ndimension = dim

    def numel(self) -> Any:
        """As a tensor's."""
        if not self._known():
            return super().__getattr__("numel")()
        made: Any = 1
        for n in self.shape:
            made = made * n
        return made

    nelement = numel

    @property
    def device(self) -> torch.device:
        """Where the copy of the model that is traced lies."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """In which precision the copy of the model that is traced calculates."""
        return torch.float64

    @property
    def is_cuda(self) -> bool:
        """As a tensor's."""
        return False

    @property
    def requires_grad(self) -> bool:
        """As a tensor's."""
        return False

    def __len__(self) -> int:
        if self._known():
            return int(self.shape[0])
        try:
            return len(self._shadow())  # several tensors
        except UnknownShape:
            return super().__len__()

    def __setitem__(self, index: Any, value: Any) -> None:
        """As a tensor's: from here on this is the tensor that was written to."""
        if self.node.target is not python_operator.setitem and self.node.users:
            said = "is read before the first step is written into it; read it behind the loop"
            raise CannotLower("recording", "a tensor of zeros", said)
        self._changed("call_function", python_operator.setitem, (self, index, value))

    def __getattr__(self, name: str) -> Any:
        """A method, or an attribute; one that works in place, as `mul_`, changes this tensor."""
        if not name.endswith("_") or name.startswith("_"):
            return super().__getattr__(name)
        return lambda *args, **kwargs: self._changed("call_method", name, (self, *args), kwargs)

    def _changed(self, op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """This tensor behind a change in its place: every name that it has stands for what it is then."""
        self.node = self.tracer.create_proxy(op, target, args, kwargs or {}).node
        self.node.meta[IN_PLACE] = True
        return self

    def __iadd__(self, other: Any) -> Any:
        return self._changed("call_function", python_operator.add, (self, other))

    def __isub__(self, other: Any) -> Any:
        return self._changed("call_function", python_operator.sub, (self, other))

    def __imul__(self, other: Any) -> Any:
        return self._changed("call_function", python_operator.mul, (self, other))

    def __itruediv__(self, other: Any) -> Any:
        return self._changed("call_function", python_operator.truediv, (self, other))

    def parts(self) -> Iterator[Any]:
        """What a walk over the tensor, or over several tensors in a tuple, gives."""
        found = self._shadow()
        if isinstance(found, Tensor):
            if not found.ndim:
                raise TypeError("iteration over a 0-d tensor")
            first = self.shape[0]
            if isinstance(first, Batch):
                said = "is walked over image by image; walk over the steps, and let layers take all images at once"
                raise CannotLower("images", "of a tensor", said)
            return self._taken(first)
        return self._taken(len(found))

    def _taken(self, count: int) -> Iterator[Any]:
        whole: Any = self
        return iter([whole[k] for k in range(count)])


def _marked(shape: tuple[int, ...], images: int) -> tuple[int, ...]:
    """A shape in which the number of images, or steps times images, is marked: it is the first or the second axis."""
    if shape and shape[0] and shape[0] % images == 0:
        return (Batch(images, shape[0] // images), *shape[1:])
    where = next((axis for axis, n in enumerate(shape) if n == images), None)
    return shape if where is None else (*shape[:where], Batch(images), *shape[where + 1 :])


class Shadows:
    """The tensors of a trace on torch's meta device.

    images    the number of images in them
    neurons   other frameworks' neurons by their modules: while fx traces, they cannot be asked for their constants
    stateless whether a layer's output has a shape that does not depend on what it was given before
    running   whether a shadow is being made, so that a call of a module is no part of the trace
    """

    def __init__(
        self,
        root: nn.Module,
        images: int,
        neurons: Mapping[nn.Module, ForeignNeuron],
        stateless: Callable[[nn.Module], bool],
    ) -> None:
        self.root, self.images, self.neurons, self.stateless, self.running = root, images, neurons, stateless, False

    def begin(self, node: fx.Node, shape: tuple[int, ...]) -> None:
        """Say the shape of a trace's input."""
        node.meta[_SHADOW] = _bare(shape)

    def of(self, node: fx.Node) -> Any:
        """The tensor, or tuple of tensors, that a node makes. UnknownShape if it cannot be told."""
        waiting = [node]
        while waiting:
            last = waiting[-1]
            missing = [n for n in last.all_input_nodes if _SHADOW not in n.meta]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if _SHADOW not in last.meta:
                last.meta[_SHADOW] = self._made(last)
        return _known(node.meta[_SHADOW])

    def _made(self, node: fx.Node) -> Any:
        def of(argument: Any) -> Any:
            return _known(argument.meta[_SHADOW]) if isinstance(argument, fx.Node) else argument

        self.running = True
        try:
            kwargs = {k: v for k, v in map_aggregate(node.kwargs, of).items() if k != "device"}
            return self._calculated(node, map_aggregate(node.args, of), kwargs)
        except UnknownShape as unknown:
            return unknown
        except Exception as error:  # whatever torch, or a layer, raises at shapes that do not fit
            return UnknownShape(str(error))
        finally:
            self.running = False

    def _calculated(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "get_attr":
            return _bare(_tensor(self.root, str(node.target)).shape)
        if node.op == "call_module":
            return self._called(self.root.get_submodule(str(node.target)), *args, **kwargs)
        if node.op == "call_method":
            own, *rest = args
            return own if node.target in _KEEPS_SHAPE else getattr(own, str(node.target))(*rest, **kwargs)
        if node.target is python_operator.setitem:
            return args[0]  # in which it writes
        if node.op == "call_function":
            return node.target(*args, **kwargs)  # type: ignore[operator]
        raise UnknownShape(node.op)

    def _called(self, module: nn.Module, value: Any, *rest: Any, **named: Any) -> Any:
        """What a layer makes. Neurons keep the shape of their input; what has states of its own is not called."""
        if module in self.neurons:
            neuron = self.neurons[module]
            made = value if neuron.enters is None else self._called(neuron.enters, value)
            return tuple(made for _ in neuron.returns) if len(neuron.returns) > 1 else made
        kind = container_kind(module)
        if kind is not None:
            return self._through(module, kind, value)
        if isinstance(module, Neuron | Recurrent):
            return value
        if not self.stateless(module):
            raise UnknownShape(type(module).__name__)
        tensors = dict((*module.named_parameters(), *module.named_buffers()))
        # A layer may keep what it was given: a copy is called.
        own = copy.deepcopy(module, {id(t): t for t in tensors.values()})
        return functional_call(own, {name: _bare(t.shape) for name, t in tensors.items()}, (value, *rest), named)

    def _through(self, module: nn.Module, kind: str, value: Any) -> Any:
        """What a container makes: its layers one after the other."""
        steps, stateful = value.shape[:2], False
        value = value.flatten(0, 1) if kind == "folded" else value[0] if kind == "driven" else value
        for layer in module.children():
            made = self._called(layer, value)
            stateful |= isinstance(made, tuple)
            value = made[0] if isinstance(made, tuple) else made
        if kind == "folded":
            return value.unflatten(0, steps)
        if kind == "driven":
            return value.expand(steps[0], *value.shape)
        return (value, value) if stateful else value


def _tensor(root: nn.Module, path: str) -> Tensor:
    """A parameter, buffer or constant of a model; asked for by its attribute it would become part of the trace."""
    owner, _, name = path.rpartition(".")
    module = root.get_submodule(owner)
    tables: tuple[Mapping[str, Any], ...] = vars(module), module._parameters, module._buffers
    return next(table[name] for table in tables if name in table)


def _known(found: Any) -> Any:
    if isinstance(found, UnknownShape):
        raise found
    return found


def _bare(shape: tuple[int, ...]) -> Tensor:
    """A tensor that has a shape and no numbers."""
    return torch.empty(shape, dtype=torch.float64, device="meta")
