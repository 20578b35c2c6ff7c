"""The waist between PyTorch and Brian2: a spiking network as dataclasses and arrays. It needs numpy only."""
