"""What is written down of a layer beside its rate: how regularly and sparsely it fires, what it tells of the class."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from alade_brian.analysis.statistics.information import mutual_information
from alade_brian.analysis.statistics.input import Spikes
from alade_brian.analysis.statistics.rates import defined_mean
from alade_brian.analysis.statistics.timing import interval_variations
from alade_brian.analysis.statistics.tuning import class_selectivity, lifetime_sparseness, population_sparseness


def response_statistics(spikes: Spikes, labels: NDArray[Any], dt: float) -> dict[str, float | None]:
    """One number each for a layer, as written to metrics.json; what is undefined is None, never NaN.

    `cv2`, `lv`, `lvr`: pooled over images and neurons. `lifetime_sparseness`, `class_selectivity`: mean over the
    neurons that fired. `population_sparseness`: mean over the images with spikes. `mutual_information_bits`: between
    class and spike count of one neuron, bias corrected, mean over all neurons. Each as the function of that name
    defines it.

    `spikes`: bool (images, steps, neurons); `labels`: integers (images,); `dt`: seconds per step. Raises UserError when
    they are not, or are empty.
    """
    return {
        **interval_variations(spikes, dt),
        "lifetime_sparseness": defined_mean(lifetime_sparseness(spikes)),
        "population_sparseness": defined_mean(population_sparseness(spikes)),
        "class_selectivity": defined_mean(class_selectivity(spikes, labels)),
        "mutual_information_bits": float(mutual_information(spikes, labels).mean()),
    }
