"""A section of the documentation on one framework: how many rows of its table are exact, and the table."""

from __future__ import annotations

from collections.abc import Sequence

from alade_brian.conversion.from_torch.frameworks.registry import Framework


def framework_section(
    level: int, framework: Framework, exact: int, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> str:
    """Markdown, headed at that level; `exact` of the rows are."""
    lines = [f"{'#' * level} {framework.title} {framework.version}: {exact} of {len(rows)} exact", ""]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
