"""The interface between PyTorch and Brian2: a spiking network as dataclasses and arrays. It requires only numpy."""
