"""Class-incremental spiking networks: trained in PyTorch, simulated in Brian2, compared spike by spike."""

from alade_brian.brian2_preferences import ignore_working_directory

__version__ = "0.1.0"

ignore_working_directory()
