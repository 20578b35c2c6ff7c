"""All figures by one import: each `plot_*` draws into the Axes it is given, returns it, and never shows or saves."""

from alade_brian.analysis.figures.conversion import plot_conversion, plot_weight_bits, with_bits
from alade_brian.analysis.figures.cost import plot_energy, plot_energy_tasks, plot_time
from alade_brian.analysis.figures.learning import plot_accuracy_matrix, plot_confusion, plot_incremental_accuracy
from alade_brian.analysis.figures.membrane import plot_inner_state, plot_membrane
from alade_brian.analysis.figures.raster import plot_spikes, plot_spikes_pair
from alade_brian.analysis.figures.representation import plot_representation
from alade_brian.analysis.figures.spikes import plot_isi, plot_raster, plot_rates
from alade_brian.analysis.figures.training import (
    has_epochs,
    has_gap,
    plot_alignment,
    plot_logits,
    plot_training,
    training_panels,
)
from alade_brian.analysis.figures.tuning import plot_drift, plot_selectivity, plot_tuning
from alade_brian.analysis.figures.values import plot_fields, plot_predicted

__all__ = [
    "has_epochs",
    "has_gap",
    "plot_accuracy_matrix",
    "plot_alignment",
    "plot_confusion",
    "plot_conversion",
    "plot_drift",
    "plot_energy",
    "plot_energy_tasks",
    "plot_fields",
    "plot_incremental_accuracy",
    "plot_inner_state",
    "plot_isi",
    "plot_logits",
    "plot_membrane",
    "plot_predicted",
    "plot_raster",
    "plot_rates",
    "plot_representation",
    "plot_selectivity",
    "plot_spikes",
    "plot_spikes_pair",
    "plot_time",
    "plot_training",
    "plot_tuning",
    "plot_weight_bits",
    "training_panels",
    "with_bits",
]
