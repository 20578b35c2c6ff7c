"""Where data sets lie when no folder is named."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """This package's folder for a data set in the user's cache (`$XDG_CACHE_HOME`, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alade_brian" / name
