"""Progress bars of a run."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(total: int, label: str, shown: bool) -> Any:
    """A bar that disappears when it is full; none if it is not to be shown or there is no terminal."""
    # tqdm's None switches the bar off if there is no terminal.
    return tqdm(total=total, desc=label, disable=None if shown else True, leave=False)
