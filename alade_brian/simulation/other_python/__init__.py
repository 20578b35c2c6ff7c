"""Simulation in another Python, through pipes."""
