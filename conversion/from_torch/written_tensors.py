"""Tensors that a forward makes before its loop and writes into: while it is traced, what is written becomes part of the
trace, and whoever reads the tensor afterwards reads that."""

from __future__ import annotations

import operator as python_operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property

from alade_brian.conversion.from_torch.traced_tensors import IN_PLACE
from alade_brian.conversion.lowering import CannotLower

# Attributes that are other names of what a tensor holds; all others say something about it.
_VIEWS = frozenset({"T", "mT", "H", "mH", "data", "real"})
# What gives another name for the same numbers.
_OTHER_NAMES = _VIEWS | {
    "getitem", "view", "reshape", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "narrow", "select", "unbind",
    "chunk", "split", "tensor_split", "t", "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis",
    "expand", "detach", "contiguous", "to", "float", "double", "cpu", "view_as", "reshape_as",
}  # fmt: skip


class WrittenTensors(TorchFunctionMode):
    """While active, knows the tensors that were written to, and gives the trace of them wherever they are read."""

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self._tracer = tracer
        self._traces: dict[int, tuple[Tensor, fx.Proxy]] = {}
        self._storages: set[int] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._tracer.shadows.running:
            return function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name == "__setitem__" and isinstance(args[0], Tensor) and self._is_written(*args):
            return self._write(*args)
        if not self._traces:
            return function(*args, **(kwargs or {}))
        if name == "__get__" and function.__self__.__name__ not in _VIEWS:
            return function(*args, **(kwargs or {}))
        given, named = map_aggregate((tuple(args), dict(kwargs or {})), self.current)
        if given and given[0] is not args[0] and is_tensor_method_or_property(function):
            if name == "__get__":
                return getattr(given[0], function.__self__.__name__)
            return getattr(given[0], name)(*given[1:], **named)
        return function(*given, **named)

    def current(self, value: Any) -> Any:
        """A tensor that was written to as what is traced of it; anything else as it is.

        CannotLower for another view of such a tensor: what it holds is not known.
        """
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._traces:
            return self._traces[id(value)][1]
        if self._storages and _storage(value) in self._storages:
            said = "is read beside the tensor itself; index the recording anew behind the loop"
            raise CannotLower("recording", "another view of it", said)
        return value

    def _is_written(self, tensor: Tensor, index: Any, value: Any) -> bool:
        found: list[Any] = []
        map_aggregate((index, value), lambda leaf: found.append(leaf) if isinstance(leaf, fx.Proxy) else None)
        return bool(found) or id(tensor) in self._traces

    def _write(self, tensor: Tensor, index: Any, value: Any) -> None:
        if id(tensor) in self._traces:
            self._traces[id(tensor)][1][index] = value
            return
        self.current(tensor)
        made = self._tracer.create_proxy("call_function", python_operator.setitem, (tensor, index, value), {})
        # The tensor is kept, so that no other one is given its identity.
        self._traces[id(tensor)] = (tensor, made)
        self._storages.add(_storage(tensor))


def _storage(tensor: Tensor) -> int:
    """Where a tensor's numbers lie; -1 where it has none."""
    with torch._C.DisableTorchFunction():
        if tensor.device.type == "meta" or not tensor.numel():
            return -1
        return int(tensor.untyped_storage().data_ptr())


def stale_read(graph: fx.Graph) -> fx.Node | None:
    """The first node that reads a tensor under a name which it had before it was changed in its place.

    A name of its own, as `y = x.view(...)`, shows the change in torch; in the trace it stands for what was before.
    """
    order = {node: k for k, node in enumerate(graph.nodes)}
    roots: dict[fx.Node, fx.Node] = {}
    names: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        origin = _origin(node)
        roots[node] = node if origin is None else roots[origin]
        names.setdefault(roots[node], []).append(node)
    for node in graph.nodes:
        if node.meta.get(IN_PLACE) and node.target is not python_operator.setitem:
            earlier = [name for name in names[roots[node]] if order[name] < order[node]]
            later = [user for name in earlier for user in name.users if order[user] > order[node]]
            if later:
                return min(later, key=lambda user: order[user])
    return None


def _origin(node: fx.Node) -> fx.Node | None:
    """The node whose numbers a node shares."""
    first = node.args[0] if node.args else None
    name = node.args[1] if node.target is getattr else getattr(node.target, "__name__", node.target)
    if not isinstance(first, fx.Node) or not (node.meta.get(IN_PLACE) or name in _OTHER_NAMES):
        return None
    # A number takes one of several tensors that a layer gives.
    return None if name == "getitem" and first.op == "call_module" and type(node.args[1]) is int else first
