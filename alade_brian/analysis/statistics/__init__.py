"""Spike statistics of layers and neurons."""
