"""All figures by one import: each `plot_*` draws into the Axes it is given, returns it, and never shows or saves."""

from alade_brian.analysis.figures_cost import plot_energy, plot_energy_tasks, plot_time
from alade_brian.analysis.figures_learning import plot_accuracy_matrix, plot_confusion, plot_incremental_accuracy
from alade_brian.analysis.figures_spikes import plot_isi, plot_raster, plot_rates
from alade_brian.analysis.figures_training import (
    has_epochs,
    has_gap,
    plot_alignment,
    plot_logits,
    plot_training,
    training_panels,
)

__all__ = [
    "has_epochs",
    "has_gap",
    "plot_accuracy_matrix",
    "plot_alignment",
    "plot_confusion",
    "plot_energy",
    "plot_energy_tasks",
    "plot_incremental_accuracy",
    "plot_isi",
    "plot_logits",
    "plot_raster",
    "plot_rates",
    "plot_time",
    "plot_training",
    "training_panels",
]
