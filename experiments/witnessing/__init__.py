"""What `witness.py` is made of."""
