"""Layers and readouts."""
