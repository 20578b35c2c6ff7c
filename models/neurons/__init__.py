"""Neurons with two faces: a torch step and Brian2 equations."""
