"""Building blocks of the report: the page, its style sheet, tables and tiles. All text given to them is escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(name: str, **values: Any) -> Markup:
    """A template of the folder `templates`, filled with values: text is escaped, what was rendered already is not."""
    return Markup(_templates().get_template(name).render(values).rstrip("\n"))


def page(title: str, body: Sequence[str]) -> str:
    """A whole HTML document; `body` holds what was rendered. It refers to nothing outside itself."""
    return render("page.html", title=title, body=body) + "\n"


def title(text: str) -> Markup:
    """The heading of the page."""
    return render("text.html", kind="title", text=text)


def heading(text: str) -> Markup:
    """A section's heading."""
    return render("text.html", kind="heading", text=text)


def paragraph(text: str, soft: bool = False) -> Markup:
    """A paragraph of plain text, in the quieter colour when `soft`."""
    return render("text.html", kind="soft" if soft else "paragraph", text=text)


def verdict_box(good: bool, word: str, sentence: str, details: Sequence[str] = ()) -> Markup:
    """The verdict with a sign and a word, so that it does not hang on colour."""
    return render("verdict.html", good=good, word=word, sentence=sentence, details=details)


def tiles(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """Headline numbers: (name, value, a further line) each."""
    return render("tiles.html", entries=entries)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, text: int = 1, alarm: str | None = None
) -> Markup:
    """A table of finished strings; the first `text` columns stand left, the others right.

    A cell of column `alarm` that is not "0" is set off.
    """
    return render("table.html", columns=columns, rows=rows, caption=caption, text=text, alarm=alarm)


def figure(svg: bytes, alt: str, caption: str) -> Markup:
    """A picture held by the page itself; as an image of its own, so that ids of several SVGs cannot collide."""
    return render("figure.html", data=base64.b64encode(svg).decode("ascii"), alt=alt, caption=caption)


def pair(figures: Sequence[str]) -> Markup:
    """Figures side by side where the window is wide enough."""
    return render("pair.html", figures=figures)


def preformatted(text: str) -> Markup:
    """Text as it stands in its file."""
    return render("text.html", kind="preformatted", text=text)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("alade_brian.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def percent(fraction: float | None) -> str:
    """A fraction as per cent with two decimals; a dash for what is not known."""
    return "–" if _unknown(fraction) else f"{100 * float(fraction or 0.0):.2f} %"


def number(value: float | None, digits: int = 3) -> str:
    """An integer with thousands separators, another number with `digits` significant ones; a dash for unknown."""
    if value is None or _unknown(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Seconds as "12.3 s", "4 min 05 s" or "2 h 07 min"."""
    if seconds is None or _unknown(seconds):
        return "–"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _unknown(value: float | None) -> bool:
    return value is None or not math.isfinite(value)
