"""What `perturb.py` is made of."""
