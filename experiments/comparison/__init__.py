"""What `compare.py` is made of: the grid, its cells, what they found, and the table."""
