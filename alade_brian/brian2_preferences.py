"""Keep Brian2 from running the folder it is started in.

When it is imported, Brian2 evaluates the values of a file `brian_preferences` in the working directory as Python
code, so a command that is run inside a folder of unknown origin would run that folder's code. The package arranges as
its first import (`alade_brian/__init__.py`) that Brian2, whoever imports it later, leaves that file out; the user's own
``~/.brian/user_preferences`` is read as always. Brian2 is not imported here, and is unchanged once it is imported.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

FILE = "brian_preferences"
_MODULE = "brian2.core.preferences"


class _Finder(MetaPathFinder):
    """Finds the module of Brian2's preferences as the other finders do, and changes it right after it was made."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((s for s in (finder.find_spec(fullname, path, target) for finder in others) if s is not None), None)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _leave_out(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class _UserFiles:
    """What Brian2 reads its files into: those of the user, whose paths are absolute."""

    def __init__(self, preferences: Any) -> None:
        self._preferences = preferences

    def read_preference_file(self, file: str) -> None:
        if os.path.isabs(file):
            self._preferences.read_preference_file(file)
        elif os.path.exists(file):
            log.warning(
                "the file %s is not read, because Brian2 would run its values as code; move it to "
                "~/.brian/user_preferences if it is yours",
                os.path.abspath(file),
            )


def _leave_out(module: ModuleType) -> None:
    """Change the first reading of preferences, which is the one at import."""
    preferences = module.BrianGlobalPreferences
    load = preferences.load_preferences

    def load_preferences(self: Any) -> None:
        preferences.load_preferences = load
        load(_UserFiles(self))

    preferences.load_preferences = load_preferences


def ignore_working_directory() -> None:
    """From now on an import of Brian2 reads no preferences from the working directory."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
