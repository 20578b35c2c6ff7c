"""Backbones, and the networks made of them."""
