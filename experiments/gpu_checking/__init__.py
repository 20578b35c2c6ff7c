"""What `gpu_check.py` is made of. Nothing here needs PyTorch."""
