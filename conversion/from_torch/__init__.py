"""PyTorch modules to `NetworkSpec`."""
