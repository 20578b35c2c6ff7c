"""A specification as one file: a JSON description and its arrays, in an `.npz` without pickled objects."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.files import parse_json, write_bytes
from alade_brian.numpy_files import open_npz
from alade_brian.spec.errors import SpecError
from alade_brian.spec.file_keys import file_keys, from_file
from alade_brian.spec.network import NetworkSpec

FORMAT = 3


def save_spec(spec: NetworkSpec, path: Path) -> None:
    """Write a specification, whole or not at all. Equal specifications give equal files."""
    write_bytes(path, spec_bytes(spec))


def spec_bytes(spec: NetworkSpec) -> bytes:
    """A specification as the content of its file."""
    arrays: dict[str, np.ndarray] = {}
    description = json.dumps({"format": FORMAT, "network": _encode(spec, arrays)})
    buffer = io.BytesIO()
    np.savez(buffer, description=np.array(description), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def load_spec(path: Path) -> NetworkSpec:
    """The specification in a file. SpecError where the file is missing, damaged, contradictory or of another format."""
    try:
        with open_npz(path) as file:
            arrays = {name: file[name] for name in file.files}
        content = parse_json(str(arrays["description"][()]))
        written = content["format"]
        spec = _decode(content["network"], arrays) if written == FORMAT else None
        if written == FORMAT and not isinstance(spec, NetworkSpec):
            raise SpecError("it describes no network")
    except FileNotFoundError:
        raise SpecError(f"there is no file {path}: check the path") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError(f"{path} is damaged or no network specification ({error}): write it again") from None
    if not isinstance(spec, NetworkSpec):
        raise SpecError(f"{path} has format {written}, this version reads {FORMAT}: use the version that wrote it")
    return spec


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if dataclasses.is_dataclass(value):
        keys = file_keys(type(value))
        fields = {key: _encode(getattr(value, name), arrays) for name, key in keys.items()}
        return {"class": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        return {"mapping": {key: _encode(item, arrays) for key, item in value.items()}}
    return value


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    match value:
        case {"array": name}:
            return arrays[name]
        case {"class": name, "fields": fields}:
            return from_file(name, {key: _decode(item, arrays) for key, item in fields.items()})
        case {"tuple": items}:
            return tuple(_decode(item, arrays) for item in items)
        case {"mapping": items}:
            return {key: _decode(item, arrays) for key, item in items.items()}
        case _:
            return value
