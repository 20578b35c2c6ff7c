"""What experiments/benchmark.py measures: one file per subject."""
