"""All figures by one import: each `plot_*` draws into the Axes it is given, returns it, and never shows or saves."""

from alade_brian.analysis.figures_learning import (
    has_alignment,
    plot_accuracy_matrix,
    plot_alignment,
    plot_confusion,
    plot_incremental_accuracy,
    plot_logits,
    plot_time,
)
from alade_brian.analysis.figures_spikes import plot_isi, plot_raster, plot_rates

__all__ = [
    "has_alignment",
    "plot_accuracy_matrix",
    "plot_alignment",
    "plot_confusion",
    "plot_incremental_accuracy",
    "plot_isi",
    "plot_logits",
    "plot_raster",
    "plot_rates",
    "plot_time",
]
