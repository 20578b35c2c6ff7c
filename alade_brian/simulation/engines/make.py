"""The engine of a plan, in this Python or another."""

from __future__ import annotations

from collections.abc import Sequence

from alade_brian.simulation.engine import Engine
from alade_brian.simulation.engines import backend_named
from alade_brian.simulation.other_python.engine import OtherPythonEngine
from alade_brian.simulation.plan import SimulationPlan


def make_engine(plan: SimulationPlan, traces: Sequence[str]) -> tuple[Engine, int]:
    """What simulates in this process or the other Python's, and how many images it is given at a time."""
    if plan.python is not None:
        there = OtherPythonEngine(plan, traces, plan.python)
        return there, there.images
    return backend_named(plan.backend).build(plan, traces)
