"""The statistics of a layer that a run keeps and its report shows: one object each, in the order of metrics.json.

How often, how regularly and how sparsely a layer fires, and what it tells of the class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.information import mutual_information
from alade_brian.analysis.statistics.input import Spikes
from alade_brian.analysis.statistics.rates import defined_mean, layer_statistics
from alade_brian.analysis.statistics.timing import interval_variations
from alade_brian.analysis.statistics.tuning import class_selectivity, lifetime_sparseness, population_sparseness
from alade_brian.registry import Registry


@dataclass(frozen=True, eq=False)
class LayerSpikes:
    """What a statistic is computed from.

    spikes   bool ``(images, steps, neurons)``
    labels   integers ``(images,)``; without meaning to a statistic that needs no classes
    dt       seconds per step
    """

    spikes: Spikes
    labels: NDArray[Any]
    dt: float

    # Several statistics come from one pass over the spikes.
    @cached_property
    def rates(self) -> dict[str, float | None]:
        """See `layer_statistics`."""
        return layer_statistics(self.spikes, self.dt)

    @cached_property
    def intervals(self) -> dict[str, float | None]:
        """See `interval_variations`."""
        return interval_variations(self.spikes, self.dt)


@dataclass(frozen=True)
class Statistic:
    """One number for a layer.

    key        in metrics.json
    title      of its column in the report
    caption    a sentence below the table that says what it is; empty if another statistic's says it too
    function   of a layer; None or NaN if it is undefined there. UserError if the spikes are not as they must be
    table      which of the report's two tables of layers it stands in
    percent    whether the report shows it in percent
    of_classes whether it needs the class of every image: a layer whose images have none lacks it
    """

    key: str
    title: str
    caption: str
    function: Callable[[LayerSpikes], float | None]
    table: Literal["layers", "responses"] = "responses"
    percent: bool = False
    of_classes: bool = False


_ALL = (
    Statistic(
        "mean_rate_hz", "Rate (Hz)", "Rate: over images, steps and all neurons.",
        lambda layer: layer.rates["mean_rate_hz"], "layers",
    ),
    Statistic(
        "cv_isi", "CV of ISI",
        "CV: of the interspike intervals pooled over neurons and images, within one presentation.",
        lambda layer: layer.rates["cv_isi"], "layers",
    ),
    Statistic(
        "fano_factor", "Fano",
        "Fano: variance over mean of a presentation's spike count, over images, averaged over the neurons that fired.",
        lambda layer: layer.rates["fano_factor"], "layers",
    ),
    Statistic(
        "silent_fraction", "Silent", "Silent: neurons without a spike in any image.",
        lambda layer: layer.rates["silent_fraction"], "layers", percent=True,
    ),
    Statistic(
        "cv2", "CV2",
        "CV2, LV, LvR: local variation of successive intervals, pooled over neurons and images (a few steps leave room"
        " for little).",
        lambda layer: layer.intervals["cv2"],
    ),
    Statistic("lv", "LV", "", lambda layer: layer.intervals["lv"]),
    Statistic("lvr", "LvR", "", lambda layer: layer.intervals["lvr"]),
    Statistic(
        "lifetime_sparseness", "Lifetime sparseness",
        "Sparseness: 0 when all responses are alike, 1 when one image (lifetime; mean over the neurons that fired) or"
        " one neuron (population; mean over images) has all spikes.",
        lambda layer: defined_mean(lifetime_sparseness(layer.spikes)),
    ),
    Statistic(
        "population_sparseness", "Population sparseness", "",
        lambda layer: defined_mean(population_sparseness(layer.spikes)),
    ),
    Statistic(
        "class_selectivity", "Selectivity", "Selectivity: see below, mean over the neurons that fired.",
        lambda layer: defined_mean(class_selectivity(layer.spikes, layer.labels)), of_classes=True,
    ),
    Statistic(
        "mutual_information_bits", "Information (bits)",
        "Information: between class and spike count of one neuron, bias corrected, mean over neurons.",
        lambda layer: float(mutual_information(layer.spikes, layer.labels).mean()), of_classes=True,
    ),
)  # fmt: skip

# What is registered is in metrics.json, and in the report's table and its caption.
STATISTICS: Registry[str, Statistic] = Registry("statistic", {statistic.key: statistic for statistic in _ALL})


def layer_summary(spikes: Spikes, labels: NDArray[Any] | None, dt: float) -> dict[str, float | None]:
    """Every registered statistic of a layer, as written to metrics.json; what is undefined is None, never NaN.

    `spikes`: bool (images, steps, neurons); `labels`: integers (images,), or None if the images have no classes: the
    statistics that need them are absent then; `dt`: seconds per step. Raises UserError when they are not, or are empty.
    """
    layer = LayerSpikes(spikes, np.empty(0, np.int64) if labels is None else labels, dt)
    wanted = {key: each for key, each in STATISTICS.items() if labels is not None or not each.of_classes}
    values = {key: statistic.function(layer) for key, statistic in wanted.items()}
    return {key: None if value is None or math.isnan(value) else value for key, value in values.items()}
