"""Run configurations: frozen dataclasses, read from YAML."""
