"""Brian2's preferences for the time of a block, and its number types by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import brian2 as b2
import numpy as np


@contextmanager
def preferences(**values: object) -> Iterator[None]:
    """Brian2 preferences (dots written as double underscores) for the time of a block, then as before."""
    names = {key.replace("__", "."): value for key, value in values.items()}
    before = {name: b2.prefs[name] for name in names}
    try:
        for name, value in names.items():
            b2.prefs[name] = value
        yield
    finally:
        for name, value in before.items():
            b2.prefs[name] = value


def float_type(dtype: str) -> type:
    return np.float32 if dtype == "float32" else np.float64
