"""Building blocks of the report: the page, its style sheet, tables and tiles. All text given to them is escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { --ink: #1c2127; --soft: #5a6470; --paper: #ffffff; --tile: #f4f6f8; --line: #d8dee4;
        --good: #00684d; --good-back: #e5f4ef; --bad: #9c3f00; --bad-back: #fdeee3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #a3adb8; --paper: #14181c; --tile: #1f252b; --line: #39424b;
          --good: #5fd1ad; --good-back: #12312a; --bad: #ffae76; --bad-back: #3a2214; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); }
.verdict { border-left: 6px solid; border-radius: 6px; padding: .9rem 1.1rem; margin: 1.4rem 0; font-size: 1.08rem; }
.verdict p { margin: .2rem 0; }
.agree { color: var(--good); background: var(--good-back); }
.disagree { color: var(--bad); background: var(--bad-back); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--tile); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.tile .name { color: var(--soft); font-size: .88rem; }
.tile .value { font-size: 1.45rem; font-weight: 600; line-height: 1.35; font-variant-numeric: tabular-nums; }
.tile .more { color: var(--soft); font-size: .88rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .35rem .55rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: bottom; }
th { font-weight: 600; }
td { white-space: nowrap; }
td.text, th.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: break-word; }
td.alarm { color: var(--bad); font-weight: 600; }
figure { margin: 1.4rem 0 2rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
             border-radius: 8px; padding: .5rem; }
figcaption { font-size: .92rem; margin-top: .5rem; max-width: 46rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 0 1.4rem;
        align-items: start; }
@media (max-width: 30rem) { .pair { grid-template-columns: 1fr; } }
.raster .controls { display: flex; flex-wrap: wrap; gap: .5rem .9rem; align-items: center; margin-bottom: .6rem; }
.raster select, .raster button { font: inherit; font-size: .9rem; padding: .15rem .4rem; max-width: 16rem; }
.raster canvas { display: block; width: 100%; height: 36rem; background: #fff; border: 1px solid var(--line);
                 border-radius: 8px; touch-action: none; cursor: crosshair; }
.raster canvas:focus-visible { outline: 3px solid #0072B2; }
.raster output { display: block; margin-top: .4rem; font-variant-numeric: tabular-nums; }
.raster .pointed { color: var(--soft); font-size: .88rem; }
pre { background: var(--tile); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem;
      overflow-x: auto; font: .87rem/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; }
""".strip()


def page(title: str, body: Sequence[str]) -> str:
    """A whole HTML document; `body` holds finished HTML, `title` plain text. It refers to nothing outside itself."""
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, soft: bool = False) -> str:
    """A paragraph of plain text, in the quieter colour when `soft`."""
    kind = ' class="soft"' if soft else ""
    return f"<p{kind}>{escape(text)}</p>"


def verdict_box(good: bool, word: str, sentence: str, details: Sequence[str] = ()) -> str:
    """The verdict with a sign and a word, so that it does not hang on colour."""
    sign, kind = ("&#10003;", "agree") if good else ("&#10007;", "disagree")
    more = "".join(f"<p>{escape(line)}</p>" for line in details)
    return (
        f'<div class="verdict {kind}"><p><strong><span aria-hidden="true">{sign}</span> {escape(word)}.</strong> '
        f"{escape(sentence)}</p>{more}</div>"
    )


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Headline numbers: (name, value, a further line) each."""
    cells = "\n".join(
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div>'
        f'<div class="more">{escape(more)}</div></div>'
        for name, value, more in entries
    )
    return f'<div class="tiles">\n{cells}\n</div>'


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, text: int = 1, alarm: str | None = None
) -> str:
    """A table of finished strings; the first `text` columns stand left, the others right.

    A cell of column `alarm` that is not "0" is set off.
    """

    def css(place: int, value: str | None = None) -> str:
        if place < text:
            return ' class="text"'
        return ' class="alarm"' if value not in (None, "0", "–") and columns[place] == alarm else ""

    head = "".join(f'<th scope="col"{css(place)}>{escape(name)}</th>' for place, name in enumerate(columns))
    body = "\n".join(
        "<tr>" + "".join(f"<td{css(place, value)}>{escape(value)}</td>" for place, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def figure(svg: bytes, alt: str, caption: str) -> str:
    """A picture held by the page itself; as an image of its own, so that ids of several SVGs cannot collide."""
    data = base64.b64encode(svg).decode("ascii")
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pair(figures: Sequence[str]) -> str:
    """Figures side by side where the window is wide enough."""
    return '<div class="pair">\n' + "\n".join(figures) + "\n</div>"


def preformatted(text: str) -> str:
    """Text as it stands in its file."""
    return f"<pre>{escape(text)}</pre>"


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
