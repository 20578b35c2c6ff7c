"""Class-incremental spiking networks: trained in PyTorch, simulated in Brian2, compared spike by spike."""

__version__ = "0.1.0"
