"""Refuse an HDF5 file that takes data from elsewhere: by a link, as raw storage, or as parts of a virtual dataset; and
one that announces more than it holds.

A NIR file holds everything itself; from any other, whatever its reader may read would enter the result.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from alade_brian.errors import UserError
from alade_brian.machine import available_bytes

DEEPEST = 100
# No more bytes come of one that HDF5's filters have packed.
BEST_PACKING = 1100
_REMEDY = "write the graph again with nir.write, which keeps everything in the file"


def check_tree(file: h5py.File, path: Path) -> None:
    """UserError unless the open file consists of groups and of datasets of numbers or text that it stores itself, and
    that fit into this machine's memory.

    Follows no link but those to objects of this file, each group once, and reads no dataset.
    """
    groups: list[h5py.Group] = [file["/"]]
    seen, needed = {groups[0]}, 0
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            _check_link(group, name, place, path)
            found = group[name]
            if isinstance(found, h5py.Dataset):
                _check_dataset(found, place, path)
                needed += found.nbytes
            elif not isinstance(found, h5py.Group):
                raise UserError(f"{path}: {place!r} is neither a group nor a dataset; {_REMEDY}")
            elif found in seen:
                raise UserError(f"{path}: {place!r} is a group that also has another name; {_REMEDY}")
            else:
                seen.add(found)
                groups.append(found)
            if place.count("/") > DEEPEST:
                raise UserError(f"{path}: {place[:60]!r}... is nested more than {DEEPEST} deep; {_REMEDY}")
    available = available_bytes()
    if available is not None and needed > available:
        raise UserError(f"{path} holds {needed:,} bytes of numbers, and this machine has {available:,} free")


def _check_link(group: h5py.Group, name: str, place: str, path: Path) -> None:
    try:
        link = group.get(name, getlink=True)
    except TypeError:
        link = None  # a kind of link that some program defined
    if isinstance(link, h5py.ExternalLink):
        raise UserError(f"{path}: {place!r} is a link to the file {link.filename!r}, which is not read; {_REMEDY}")
    if not isinstance(link, h5py.HardLink):
        raise UserError(f"{path}: {place!r} is a link by name, which is not followed; {_REMEDY}")


def _check_dataset(dataset: h5py.Dataset, place: str, path: Path) -> None:
    if dataset.is_virtual:
        raise UserError(f"{path}: {place!r} is put together from other files, which are not read; {_REMEDY}")
    if dataset.external:
        raise UserError(
            f"{path}: the numbers of {place!r} lie in the file {dataset.external[0][0]!r}, which is not read; {_REMEDY}"
        )
    try:
        dtype = dataset.dtype
    except TypeError:
        dtype = None  # a type that numpy has not
    text = dtype is not None and h5py.check_string_dtype(dtype) is not None
    # First, because a type that numpy has not has no size either.
    if not text and (dtype is None or dtype.kind not in "biufc"):
        raise UserError(f"{path}: {place!r} holds neither numbers nor text; {_REMEDY}")
    if dataset.nbytes > BEST_PACKING * max(dataset.id.get_storage_size(), 1):
        raise UserError(f"{path}: {place!r} announces {dataset.nbytes:,} bytes that are not in the file; {_REMEDY}")
