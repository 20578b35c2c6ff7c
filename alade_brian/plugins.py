"""Parts from outside the package, named ``path/to/file.py:Name`` wherever a registered name may stand.

A file is run once per process, by its absolute path and content. Its digest belongs to whatever is stored of what it
computed: a run is not resumed, and no measurement taken for a repeat, with another content.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from alade_brian.errors import UserError
from alade_brian.registry import Registry

# How a registry lists what may be named beside its own entries.
FORM = "path/to/file.py:Name"
_FORM = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")

Entry = TypeVar("Entry")


def is_plugin(text: str) -> bool:
    """Whether a name is that of a file and something in it."""
    return _FORM.fullmatch(text) is not None


def absolute(text: str) -> str:
    """The same name with the file's absolute path, so that it can be found from any folder; other names unchanged."""
    if not is_plugin(text):
        return text
    file, name = _parts(text)
    return f"{file.absolute()}:{name}"


def short_name(text: str) -> str:
    """A plug-in's name without its file, fit for a folder's name; other names unchanged."""
    return _parts(text)[1] if is_plugin(text) else text


def digest(text: str) -> str:
    """Digest of the content of a plug-in's file. UserError if it cannot be read."""
    return hashlib.sha256(_content(_parts(text)[0])).hexdigest()


def digests(names: Iterable[str]) -> dict[str, str]:
    """The digest of each plug-in among these names."""
    return {name: digest(name) for name in names if is_plugin(name)}


def find(registry: Registry[str, Entry], name: str, base: type | None = None) -> Entry:
    """The entry of a registry, or what a plug-in's file holds under that name.

    base   the class that it must derive from; None: it need only be callable
    UserError if there is no such entry, file or name, or if it is something else.
    """
    return load(name, registry.kind, base) if is_plugin(name) else registry.find(name)


def load(text: str, kind: str, base: type | None = None) -> Any:
    """What a plug-in's file holds under its name, see `find`; `kind` is what an error message calls it."""
    file, name = _parts(text)
    module = _module(file)
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise UserError(f"{file} has no '{name}' for a {kind}; it holds {', '.join(public) or 'nothing of its own'}")
    found = getattr(module, name)
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"'{name}' in {file} is no {kind}; derive a class from {base.__module__}.{base.__name__}")
    if not callable(found):
        raise UserError(f"'{name}' in {file} is no {kind}; give the name of a class or function")
    return found


def _parts(text: str) -> tuple[Path, str]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not of the form {FORM}")
    return Path(found["file"]), found["name"]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"the plug-in {file} cannot be read ({error.strerror}); check its path") from None


def _module(file: Path) -> ModuleType:
    """The file as a module; listed among all modules, so that the source of its classes can be found."""
    path, content = file.absolute(), _content(file)
    name = f"plugin_{hashlib.sha256(str(path).encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a name that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        raise UserError(f"the plug-in {file} cannot be run ({type(error).__name__}: {error}); correct it") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module
