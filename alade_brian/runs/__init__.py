"""Runs: their folder, setup, metrics and summary."""
