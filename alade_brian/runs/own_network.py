"""A network of the user's own, in a Python file, and the images to show it."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from alade_brian.errors import UserError
from alade_brian.numpy_files import open_numpy

# The array of a file with several that is taken.
NAME = "images"


def read_network(text: str) -> nn.Module:
    """The network that ``path/to/file.py:NAME`` stands for: a torch module, or a function or class that makes one
    without arguments. The file is run as a module of its own name. UserError where anything of this does not hold."""
    path, _, name = text.rpartition(":")
    if not path or not name.isidentifier():
        raise UserError(f"'{text}' names no network; write it as FILE.py:NAME")
    module = _module(Path(path))
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, [n for n in vars(module) if not n.startswith("_")], 1)
        raise UserError(f"{path} defines no '{name}'{f'; did you mean {close[0]!r}?' if close else ''}")
    found = getattr(module, name)
    if callable(found) and not isinstance(found, nn.Module):
        found = _made(found, Path(path), name)
    if not isinstance(found, nn.Module):
        raise UserError(f"{path}: '{name}' is {type(found).__name__}; it needs a torch.nn.Module or a function for one")
    return found


def read_images(path: Path) -> np.ndarray:
    """Images as float64 from an .npy, or an .npz with one array or one called `images`. UserError where there are
    none."""
    images = _array(path)
    if images.dtype.kind not in "biuf" or images.ndim < 2 or not len(images):
        raise UserError(f"{path} holds {images.dtype} of shape {images.shape}; it needs numbers of shape (images, ...)")
    return images.astype(np.float64)


def read_labels(path: Path) -> np.ndarray:
    """Classes as int64 ``(n,)`` from an .npy. UserError where there are none."""
    labels = _array(path)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UserError(f"{path} holds {labels.dtype} of shape {labels.shape}; it needs whole numbers, one per image")
    return labels.astype(np.int64)


def _array(path: Path) -> np.ndarray:
    """The array of an .npy, or of an .npz with one, or one called as images are."""
    try:
        with open_numpy(path) as found:
            if isinstance(found, np.ndarray):
                return found
            names = found.files
            if len(names) != 1 and NAME not in names:
                raise UserError(f"{path} holds {', '.join(names) or 'no array'}; name one of its arrays '{NAME}'")
            return found[NAME if NAME in names else names[0]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as .npy or .npz ({error}); write it with numpy.save") from None


def _module(path: Path) -> ModuleType:
    # A name of its own: a user's `torch.py` must not take the place of a package.
    name = f"own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"there is no Python file {path}; check the path in FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and torch.fx look up the module of a class.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{path} cannot be imported ({type(error).__name__}: {error}); correct it") from error
    return module


def _made(factory: Any, path: Path, name: str) -> Any:
    """The result of calling a function or class without arguments."""
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: '{name}' cannot be called without arguments ({error}); give it defaults") from None
    return factory()
