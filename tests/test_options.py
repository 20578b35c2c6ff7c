"""Options that several commands have mean the same simulation in each."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from alade_brian.commands.options import add_simulation, simulation_settings
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings

GIVEN = [
    "--backend",
    "numpy",
    "--connectivity",
    "explicit",
    "--workers",
    "2",
    "--cluster",
    "tcp://host:1",
    "--cuda-python",
    "python",
]
COMMANDS: dict[str, list[str]] = {
    "conformance": [],
    "perturb": ["x.safetensors", "--perturb", "delay"],
    "run_nir": ["x.nir", "--input", "a", "--out", "b"],
    "witness": ["x.safetensors"],
    "verify": ["x.py:y", "z.npy"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_simulates_takes_them_all(command: str) -> None:
    parser = importlib.import_module(f"alade_brian.commands.{command}").parser()
    found = vars(parser.parse_args([*COMMANDS[command], *GIVEN]))
    wanted = {
        "backend": "numpy",
        "connectivity": "explicit",
        "workers": 2,
        "cluster": "tcp://host:1",
        "cuda_python": Path("python"),
    }
    assert {key: found[key] for key in wanted} == wanted


def test_they_become_settings() -> None:
    parser = argparse.ArgumentParser()
    add_simulation(parser, workers=1)
    assert simulation_settings(parser.parse_args(["--backend", "numpy"])) == SimulationSettings(backend="numpy")
    chosen = simulation_settings(parser.parse_args(["--backend", "numpy", "--workers", "3"]), reuse=True)
    assert chosen == SimulationSettings(backend="numpy", workers=3, reuse=True)
    with pytest.raises(UserError, match="workers is 0; use at least 1"):
        simulation_settings(parser.parse_args(["--backend", "numpy", "--workers", "0"]))
