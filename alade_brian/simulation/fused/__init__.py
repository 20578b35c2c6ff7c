"""Shared kernels in fused passes: one generated pass per layer."""
