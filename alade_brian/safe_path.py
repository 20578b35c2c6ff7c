"""Child Pythons that take no module from the working directory, where a stranger's `numpy.py` may lie.

`python -m` and `python -c` search that folder first, before this package or its workers have a say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

# The environment variable with which a Python leaves the working directory out.
SAFE_PATH: Mapping[str, str] = MappingProxyType({"PYTHONSAFEPATH": "1"})


@contextmanager
def safe_path() -> Iterator[None]:
    """Within it the Pythons that others start for us (joblib's worker processes) leave it out too.

    Workers still import what this process can import: joblib hands its search path on to them.
    """
    before = {name: os.environ.get(name) for name in SAFE_PATH}
    os.environ.update(SAFE_PATH)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
