"""The grid file: which rows (methods, variants, configurations) are compared, over which seeds.

    base: ../configs/digits.yaml      # the configuration that all begin with, relative to this file; may be left out
    seeds: [1993, 1994, 1995]
    threads: 1                        # PyTorch's, of every cell: they decide the last digits of what is learnt
    reference: alade                  # the row that the others are held against; may be left out
    set: {verify_images: 500}         # changes to the base, for all rows
    rows:                             # name -> changes for this row, among them perhaps another `base`
      alade: {method: alade}
      alade without release: {method: alade, alade.release: false}

Keys of `set` and `rows` are those of a configuration, dotted or nested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alade_brian.config.run import RunConfig, apply_overrides, config_from, read_mapping
from alade_brian.config.yaml_text import check_text
from alade_brian.errors import UserError
from alade_brian.files import is_utf8

KEYS = ("base", "reference", "rows", "seeds", "set", "threads")
FIGURES = "figures"
# No file system takes a longer name than 255 bytes; no machine has more processors for one process to share.
LONGEST_NAME, MOST_THREADS = 200, 1024


@dataclass(frozen=True)
class GridCell:
    """One run: a row with a seed."""

    row: str
    seed: int
    config: RunConfig
    folder: Path

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """Content of a grid file.

    rows     name -> configuration without the seed
    changes  name -> what the file changes for this row
    """

    name: str
    origin: str
    seeds: tuple[int, ...]
    rows: Mapping[str, Mapping[str, Any]]
    changes: Mapping[str, Mapping[str, Any]]
    reference: str | None
    threads: int

    def cells(self, out: Path) -> list[GridCell]:
        """All cells, seed after seed, so that a stopped comparison has complete first seeds."""
        return [
            GridCell(
                row, seed, config_from({**keys, "seed": seed}, _place(self.origin, row)), out / slug(row) / str(seed)
            )
            for seed in self.seeds
            for row, keys in self.rows.items()
        ]

    def choose(
        self, cells: Sequence[GridCell], rows: Sequence[str] | None, seeds: Sequence[int] | None
    ) -> list[GridCell]:
        """Select the cells of some rows and seeds (None: all); UserError if the grid lacks one of them."""
        for what, asked, known in (("row", rows, self.rows), ("seed", seeds, self.seeds)):
            for name in asked or ():
                if name not in known:
                    raise UserError(f"{self.origin} has no {what} '{name}'; it has {', '.join(map(str, known))}")
        return [c for c in cells if (rows is None or c.row in rows) and (seeds is None or c.seed in seeds)]


def read_grid(file: Path, overrides: Sequence[str] = ()) -> Grid:
    """Read a grid from its file; `overrides` (``key=value``) come after the file's `set` and before its rows.

    UserError where anything is wrong, in every row.
    """
    if not file.is_file():
        raise UserError(f"there is no grid file {file}; check the path")
    content, origin = read_mapping(file), str(file)
    unknown = sorted(str(key) for key in set(content) - set(KEYS))
    if unknown:
        raise UserError(f"{origin}: unknown key '{unknown[0]}'; valid keys are {', '.join(KEYS)}")
    changes = _rows(content.get("rows"), origin)
    for_all = {f"{origin}: set": content.get("set"), "--set": apply_overrides({}, overrides)}
    rows = {}
    for name, own in changes.items():
        keys = _base(file, own.get("base", content.get("base")), origin)
        for place, section in for_all.items():
            keys = merged(keys, _section(section, place), place)
        rows[name] = merged(keys, {key: value for key, value in own.items() if key != "base"}, _place(origin, name))
    grid = Grid(
        file.stem, origin, _seeds(content.get("seeds"), origin), rows, changes,
        _reference(content.get("reference"), changes, origin), _threads(content.get("threads", 1), origin),
    )  # fmt: skip
    grid.cells(Path())  # refuses a wrong configuration now
    return grid


def merged(mapping: Mapping[str, Any], changes: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return a changed copy: dotted keys address sections, and sections are merged key by key."""
    result = dict(mapping)
    for key, value in changes.items():
        head, _, rest = str(key).partition(".")
        below = {rest: value} if rest else value
        if not isinstance(below, Mapping):
            result[head] = below
            continue
        section = result.get(head)
        if not isinstance(section, Mapping | None):
            raise UserError(f"{origin}: {key} is set, but {head} is a value, not a section")
        result[head] = merged(section or {}, below, origin)
    return result


def slug(name: str) -> str:
    """Convert a row's name to a folder name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _place(origin: str, row: str) -> str:
    return f"{origin}, row '{row}'"


def _rows(content: Any, origin: str) -> dict[str, dict[str, Any]]:
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{origin}: 'rows' needs at least one row, for example 'alade: {{method: alade}}'")
    folders: dict[str, str] = {}
    for name in content:
        if not isinstance(name, str):
            raise UserError(f"{origin}: the row name {name!r} is not text; write it in quotes")
        if not is_utf8(name):
            raise UserError(f"{origin}: the row name {name!a} is not UTF-8; use other letters in it")
        check_text(name, f"{origin}: a row name")
        folder = slug(name)
        if len(folder) > LONGEST_NAME:
            raise UserError(f"{origin}: the row name '{name[:40]}...' is too long; use at most {LONGEST_NAME} letters")
        if not folder or folder == FIGURES:
            raise UserError(f"{origin}: the row name '{name}' cannot be a folder name; use other letters or digits")
        if folder in folders:
            raise UserError(f"{origin}: the rows '{folders[folder]}' and '{name}' share a folder; rename one")
        folders[folder] = name
    return {name: _section(keys, _place(origin, name)) for name, keys in content.items()}


def _section(content: Any, place: str) -> dict[str, Any]:
    """Read and check the changes to a configuration, which may not set the seed."""
    if not isinstance(content, Mapping | None):
        raise UserError(f"{place} is {content!r}; it needs keys of a configuration, for example {{method: alade}}")
    section = {str(key): value for key, value in (content or {}).items()}
    if "seed" in section:
        raise UserError(f"{place}: seed is set; list seeds under 'seeds'")
    return section


def _base(file: Path, name: Any, origin: str) -> dict[str, Any]:
    if name is None:
        return {}
    base = file.parent / check_text(str(name), f"{origin}: base")
    if not base.is_file():
        raise UserError(f"{origin}: there is no base {base}; give a configuration, relative to the grid file")
    return read_mapping(base)


def _seeds(content: Any, origin: str) -> tuple[int, ...]:
    whole = isinstance(content, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in content)
    if not whole or not content or len(set(content)) < len(content):
        raise UserError(f"{origin}: 'seeds' is {content!r}; it needs a list of distinct integers")
    return tuple(content)


def _reference(content: Any, rows: Mapping[str, Any], origin: str) -> str | None:
    if content is not None and not (isinstance(content, str) and content in rows):
        raise UserError(f"{origin}: the reference '{content}' is not a row; the rows are {', '.join(rows)}")
    return content


def _threads(content: Any, origin: str) -> int:
    if not isinstance(content, int) or isinstance(content, bool) or not 1 <= content <= MOST_THREADS:
        raise UserError(f"{origin}: 'threads' is {content!r}; it needs a whole number from 1 to {MOST_THREADS}")
    return content
