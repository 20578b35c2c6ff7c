"""What NIR cannot say, as JSON in a graph's metadata: the structure of the specification, without the numbers that the
graph's own nodes hold.

A specification is walked field by field. An array is either *carried*, that is to be taken from a node of the graph, or
written down to the last bit.
"""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alade_brian.spec import NetworkSpec
from alade_brian.spec.file_keys import file_keys, from_file

FORMAT = 2
# What waits one step where a cycle closes: the spikes, never a bias on their way. NIR leaves this open, so the file
# states it for other readers. In files without the key no bias depends on it.
CYCLE_DELAY = "spikes"

# Where in a specification something stands: keys of fields, numbers of items.
Place = tuple[str | int, ...]
# Gives the array for a place, a shape, and whether all neurons of a channel share a number.
Carried = Callable[[Place, tuple[int, ...], bool], np.ndarray]


def describe(spec: NetworkSpec, carried: Mapping[Place, bool]) -> Any:
    """The specification as JSON values; of the arrays at the places `carried` only the shape, and whether a channel's
    neurons share a number."""
    return _describe(spec, (), carried)


def _describe(value: Any, place: Place, carried: Mapping[Place, bool]) -> Any:
    if isinstance(value, np.ndarray):
        if place not in carried:
            return _array_to_json(value)
        return {"carried": list(value.shape), "per_channel": carried[place]}
    if dataclasses.is_dataclass(value):
        keys = file_keys(type(value))
        fields = {key: _describe(getattr(value, name), (*place, key), carried) for name, key in keys.items()}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [_describe(item, (*place, number), carried) for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {"mapping": {key: _describe(item, (*place, key), carried) for key, item in value.items()}}
    return value


def rebuild(described: Any, carried: Carried) -> NetworkSpec:
    """The specification again.

    Raises KeyError, TypeError or ValueError (SpecError among them) where the description is not one.
    """
    spec = _rebuild(described, (), carried)
    if not isinstance(spec, NetworkSpec):
        raise TypeError("the metadata describe no network")
    return spec


def _rebuild(value: Any, place: Place, carried: Carried) -> Any:
    if isinstance(value, list):
        return tuple(_rebuild(item, (*place, number), carried) for number, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if "carried" in value:
        return carried(place, tuple(value["carried"]), bool(value["per_channel"]))
    if "dtype" in value:
        return _array_from_json(value)
    if "mapping" in value:
        return {key: _rebuild(item, (*place, key), carried) for key, item in value["mapping"].items()}
    fields = {key: _rebuild(item, (*place, key), carried) for key, item in value.items() if key != "class"}
    return from_file(value["class"], fields)


def _array_to_json(array: np.ndarray) -> dict[str, Any]:
    """Every bit of an array; small ones readable (Python writes a float so that it comes back the same)."""
    head = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= 16:
        return {**head, "values": array.ravel().tolist()}
    content = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    return {**head, "zlib": base64.b64encode(zlib.compress(content)).decode("ascii")}


def _array_from_json(value: Mapping[str, Any]) -> np.ndarray:
    dtype = np.dtype(value["dtype"])
    if "values" in value:
        return np.array(value["values"], dtype=dtype).reshape(value["shape"])
    content = zlib.decompress(base64.b64decode(value["zlib"]))
    return np.frombuffer(content, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(value["shape"])


def bits(array: np.ndarray) -> np.ndarray:
    """A float64 array's bits, so that comparing them tells -0.0 from 0.0."""
    return np.ascontiguousarray(array, dtype=np.float64).view(np.int64)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays are the same to the last bit."""
    return left.shape == right.shape and np.array_equal(bits(left), bits(right))


def taken(marked: np.ndarray, markers: np.ndarray, numbers: np.ndarray) -> np.ndarray | None:
    """The array whose element k stands in `numbers` where `markers` holds ``marked[k]``; None where one is missing.

    `markers` is what a node's attribute becomes when the specification holds the array `marked` of `marks`.
    """
    if markers.shape != numbers.shape:
        return None
    order = np.argsort(markers, axis=None, kind="stable")
    ranked = markers.ravel()[order]
    found = np.searchsorted(ranked, marked.ravel())
    if np.any(found >= ranked.size) or not np.array_equal(ranked[np.minimum(found, ranked.size - 1)], marked.ravel()):
        return None
    return np.asarray(numbers, dtype=np.float64).ravel()[order][found].reshape(marked.shape)


def marks(shape: tuple[int, ...], one_per_channel: bool = False) -> np.ndarray:
    """Numbers in the place of an array's values: all different (or one per channel), none of them 0 or 1."""
    if one_per_channel:
        return np.broadcast_to(marks(shape[:1]).reshape(-1, *[1] * (len(shape) - 1)), shape).copy()
    count = int(np.prod(shape, dtype=np.int64))
    return np.arange(2.0, count + 2.0).reshape(shape)
