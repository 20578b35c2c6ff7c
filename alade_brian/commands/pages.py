"""Pages of the documentation whose end a command generates: everything behind a mark."""

from __future__ import annotations

from pathlib import Path

from alade_brian.errors import UserError

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def head_of(page: Path, mark: str) -> str:
    """A page's text up to its mark, with it. UserError where there is no such page, or no mark in it: before a command
    computes what it would write there."""
    if not page.is_file():
        raise UserError(f"{page}: there is no such file; name a page of a checkout of the project")
    head, found, _ = page.read_text(encoding="utf-8").partition(mark)
    if not found:
        raise UserError(f"{page}: it has no line '{mark}'; add one where the tables are to stand")
    return head + mark
