"""What a file says of a node, with what other versions and exporters of NIR leave out or write more briefly.

Early versions of NIR wrote no `input_shape` of a convolution, and that of a Flatten under that name; a layer without a
bias may have none in the file, and a constant that all neurons share may be one number: `nir` refuses each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alade_brian.conversion.nir_graphs.neurons import attributes, check_weight


def completed(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a node of that kind as `nir.dict2NIRNode` takes it.

    CannotLower where an attribute has no meaning in NIR.
    """
    found = dict(content)
    if kind in ("Conv1d", "Conv2d"):
        found.setdefault("input_shape", None)
    if kind == "Flatten" and "input_shape" in found:
        found["input_type"] = found.pop("input_shape")
    if kind in ("Affine", "Conv1d", "Conv2d") and "weight" in found:
        weight = np.asarray(found["weight"])
        outputs = weight.shape[:-1] if kind == "Affine" else weight.shape[:1]
        found["bias"] = _given(found.get("bias"), np.zeros(outputs))
    return _same_shapes(kind, found)


def _given(value: Any, otherwise: np.ndarray) -> Any:
    """A value; `otherwise` where a file has none, which HDF5 may write as an empty dataset."""
    empty = value is None or type(value).__name__ == "Empty"
    return otherwise if empty else value


def _same_shapes(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A neuron's constants, each of one shape: single numbers stand for all neurons."""
    held = {name: content[name] for name in attributes(kind) if name in content}
    arrays = {name: np.asarray(value) for name, value in held.items() if name != "w_in"}
    whole = max((array.shape for array in arrays.values()), key=np.prod, default=())
    if "w_in" in held:
        check_weight(np.asarray(held["w_in"]), whole)
    for name, array in arrays.items():
        if array.size == 1 and array.shape != whole:
            content[name] = np.full(whole, array.reshape(()), array.dtype)
    return content
