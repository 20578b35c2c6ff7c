"""Options that several commands have, each declared once, and the simulation settings they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from alade_brian.simulation import BACKENDS, CONNECTIVITIES, SimulationSettings, check_machine


def add_simulation(parser: argparse.ArgumentParser, workers: int | None = None) -> None:
    """How Brian2 simulates; `simulation_settings` reads it.

    workers   the default; None: one process for each core
    """
    default = "one for each core" if workers is None else str(workers)
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default=SimulationSettings().backend,
        help="Brian2 backend (default: %(default)s)",
    )
    group.add_argument(
        "--connectivity", choices=CONNECTIVITIES, default="auto",
        help="one kernel for all positions, or explicit synapses (default: auto, shared where the backend has it)",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, default=workers, metavar="N", help=f"processes that simulate (default: {default})"
    )
    add_places(group)


def add_places(parser: argparse._ActionsContainer) -> None:
    """Where the simulation runs: a cluster, another Python."""
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="simulate on a Dask (tcp://host:port) or Ray (ray://host:port) cluster"
    )
    parser.add_argument(
        "--cuda-python", type=Path, metavar="PATH",
        help="the Python with brian2cuda, for a GPU with explicit connectivity (default: $ALADE_BRIAN_CUDA_PYTHON, "
        "this one, or one that is found)",
    )  # fmt: skip


def simulation_settings(arguments: argparse.Namespace, **more: Any) -> SimulationSettings:
    """The settings that the options of `add_simulation` stand for; UserError where this machine cannot meet them.

    more   further settings, see `SimulationSettings`
    """
    settings = SimulationSettings(
        backend=arguments.backend,
        connectivity=arguments.connectivity,
        workers=arguments.workers,
        cluster=arguments.cluster,
        python=arguments.cuda_python,
        **more,
    )
    check_machine(settings)
    return settings
