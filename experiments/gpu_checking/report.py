"""What was found, as a table, as JSON and as a figure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from alade_brian.files import write_bytes, write_json
from alade_brian.spec import NetworkSpec

log = logging.getLogger("alade_brian.gpu_check")
Found = Mapping[str, Any]


def least_bytes(spec: NetworkSpec, itemsize: int) -> int:
    """What an image must move through a GPU's memory, if every step of every layer is a pass of its own: each membrane
    read and written, each spike written and read as a bit, the image read once."""
    membranes = sum(p.size for p in spec.populations) * spec.steps * 2 * itemsize
    spikes = sum(p.size for p in spec.spiking) * spec.steps * 2 / 8
    return int(membranes + spikes + sum(prod(s.shape) for s in spec.stimuli) * itemsize)


def best(speeds: Mapping[str, float] | None) -> float | None:
    """The best over all batches."""
    return max(speeds.values()) if speeds else None


def ratios(row: Found, bandwidth: float | None) -> dict[str, float | None]:
    """Shared connectivity against everything else, each at its best; `bandwidth` in bytes per second."""
    speeds = {name: best(found) for name, found in row["images_per_second"].items()}
    shared = speeds.get("shared")

    def to(name: str) -> float | None:
        other = speeds.get(name)
        return shared / other if shared and other else None

    limit = bandwidth / row["least_bytes_per_image"] if bandwidth else None
    return {
        "to_explicit": to("explicit"), "to_torch": to("torch"), "to_cpp": to("cpp"),
        "to_bandwidth_limit": shared / limit if shared and limit else None,
    }  # fmt: skip


def table(result: Found) -> str:
    """Everything that matters, for a terminal."""
    lines = [
        f"{result['device']}",
        "",
        "way       network        images      entries  mismatched  twice the same  build s",
    ]
    lines += [
        f"{c['way']:<9} {c['network']:<13} {c['images']:>7,} {c['entries']:>12,} {c['mismatched']:>11,} "
        f"{_same(c):>15} "
        f"{c['seconds_build']:>8.1f}"
        for c in result["checks"]
    ]
    lines += [
        "",
        "images per second (best of all batches)",
        "rate   dtype      shared  explicit   PyTorch       cpp  of limit",
    ]
    for row in result["throughput"]:
        speeds = [best(row["images_per_second"].get(name)) for name in ("shared", "explicit", "torch", "cpp")]
        shown = " ".join(f"{speed:>9,.0f}" if speed else f"{'-':>9}" for speed in speeds)
        limit = row["ratios"]["to_bandwidth_limit"]
        lines.append(f"{row['rate']:<6g} {row['dtype']:<8} {shown} {f'{limit:.2f}' if limit else '-':>9}")
    lines += ["", *(f"left out: {what}" for what in result["left_out"])]
    lines += ["", *(shortcomings(result) or ["every spike that was compared is the processor's"])]
    return "\n".join(lines).rstrip()


def shortcomings(result: Found) -> list[str]:
    """A sentence for everything that keeps the checks from showing that every spike is the processor's."""
    found = [f"NOT SHOWN: {what} was not compared" for what in result["uncompared"]]
    for check in result["checks"]:
        which = f"{check['way']} on {check['network']}"
        wrong = max(check["mismatched"], check["mismatched_between_two_runs"])
        if wrong:
            found.append(f"WRONG: {which}: {wrong:,} entries differ")
        elif not check["entries"] or not check["rate"] > 0:
            found.append(f"NOT SHOWN: {which}: no neuron fired, which proves nothing about spikes")
    return found if found or result["checks"] else ["NOT SHOWN: nothing was compared"]


def _same(check: Found) -> str:
    """In what two runs were the same."""
    if check["same_bits_in_two_runs"]:
        return "to the last bit"
    return "not in spikes" if check["mismatched_between_two_runs"] else "in spikes"


def write(result: Found, json: Path | None, figure: Path | None) -> None:
    """The files that were asked for."""
    if json is not None:
        write_json(json, result)
    if figure is None:
        return
    try:
        write_bytes(figure, picture(result))
    except ImportError as error:
        log.warning("there is no figure: %s", error)


def picture(result: Found) -> bytes:
    """Images per second over the batch, a panel for each type and rate, as PNG."""
    from alade_brian.analysis.figures import style

    rows = result["throughput"]
    drawn, panels = style.new_stack(6.5, 2.8, len(rows))
    looks = {"shared": style.BLACK, "explicit": style.ORANGE, "torch": style.BLUE, "cpp": style.GREY}
    for ax, row in zip(panels, rows, strict=True):
        for name, colour in looks.items():
            speeds = row["images_per_second"].get(name) or {}
            if speeds:
                ax.plot([int(batch) for batch in speeds], list(speeds.values()), "o-", color=colour, label=name)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_ylabel(f"images/s\nrate {row['rate']:g}, {row['dtype']}")
        style.tidy(ax, grid="both")
    panels[0].legend(frameon=False, ncols=len(looks), loc="lower left", bbox_to_anchor=(0.0, 1.0))
    panels[-1].set_xlabel("images side by side")
    return style.png_bytes(drawn)
