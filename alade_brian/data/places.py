"""Default folders of data sets."""

from __future__ import annotations

from pathlib import Path

from alade_brian.files import user_cache


def cache_folder(name: str) -> Path:
    """This package's folder for a data set in the user's cache."""
    return user_cache() / name
