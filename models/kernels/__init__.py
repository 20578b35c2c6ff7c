"""Compiled kernels for training, and the operations that use them."""
