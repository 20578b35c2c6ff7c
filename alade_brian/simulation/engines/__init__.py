"""Engines: what simulates a specification, by backend and settings."""
