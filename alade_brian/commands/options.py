"""Options that several commands share: each is declared once, with one help sentence, and added where it is needed.

This module imports next to nothing itself: a command that prepares a machine runs before numpy is installed there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from alade_brian.simulation import SimulationSettings


MOST_DIGITS = 9


def finite(text: str) -> float:
    """A finite number of 0 or more on the command line: lengths of time, strengths, rates."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 0 or more")
    return value


def positive(text: str) -> float:
    """A finite number above 0 on the command line."""
    value = finite(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is too small; use a number above 0")
    return value


def rate(text: str) -> float:
    """Spikes per neuron and step on the command line: above 0, at most 1."""
    value = positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is above 1: a neuron spikes at most once in a step")
    return value


def count(text: str) -> int:
    """A whole number of at least 1 on the command line."""
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 to {10**MOST_DIGITS - 1}")
    return int(text)


def seed(text: str) -> int:
    """A seed on the command line, see `class_order`."""
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 to 2**32 - 1")
    return int(text)


# What a command may say of a shared option in its own way.
_OWN = frozenset({"default", "required", "choices", "metavar"})


class SharedOption:
    """An option that means the same in every command that has it.

    flag       as it is typed
    sentence   its help, the same everywhere
    keywords   of `ArgumentParser.add_argument`
    """

    def __init__(self, flag: str, sentence: str, **keywords: Any) -> None:
        self.flag, self.sentence, self.keywords = flag, sentence, MappingProxyType(keywords)

    def add(self, parser: argparse._ActionsContainer, detail: str = "", **own: Any) -> None:
        """Add it to a parser.

        detail   what is special to this command; it follows the sentence in parentheses, with the default
        own      the command's `default`, `required`, `choices` or `metavar`; TypeError for anything else
        """
        if set(own) - _OWN:
            raise TypeError(f"{self.flag} is declared once: a command cannot change {', '.join(set(own) - _OWN)}")
        shown = own.get("default")
        known = [] if shown is None or shown is False else [f"default: {_text(shown)}"]
        remarks = "; ".join([*([detail] if detail else []), *known])
        # argparse formats help texts with %.
        text = f"{self.sentence} ({remarks})" if remarks else self.sentence
        parser.add_argument(self.flag, help=text.replace("%", "%%"), **{**self.keywords, **own})


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# Files and folders.
OUT = SharedOption("--out", "where the results are written", type=Path, metavar="DIR")
TO = SharedOption("--to", "file to write; its ending decides the format", type=Path, metavar="FILE")
DATA_ROOT = SharedOption("--data-root", "folder with the data set's files", metavar="DIR")
DOWNLOAD = SharedOption("--download", "fetch the data set's files where they are missing", action="store_true")
JSON = SharedOption("--json", "write everything that was measured", type=Path, metavar="FILE")
FIGURE = SharedOption("--figure", "draw what was measured", type=Path, metavar="FILE.png")

# What is shown, and to which network.
DATASET = SharedOption("--dataset", "data set", metavar="NAME")
SEED = SharedOption("--seed", "random seed", type=seed, metavar="N")
IMAGES = SharedOption("--images", "number of images", type=int, metavar="N")
IMAGE_NUMBERS = SharedOption("--images", "numbers of the images", type=int, nargs="+", metavar="N")
TASK = SharedOption("--task", "number of the task", type=int, metavar="N")
TASKS = SharedOption("--tasks", "number of tasks", type=int, metavar="K")
LAYER = SharedOption("--layer", "names of layers", action="extend", nargs="+", metavar="NAME")
NEURONS = SharedOption("--neurons", "number of neurons drawn per layer", type=int, metavar="N")
NEURON_NUMBERS = SharedOption("--neurons", "numbers of neurons, or: all", nargs="+", metavar="N")
STEPS = SharedOption("--steps", "time steps of one presentation", type=int, metavar="N")

# Grids, and the perturbations of their networks.
JOBS = SharedOption("--jobs", "networks computed at once", type=int, metavar="N")
ROWS = SharedOption("--rows", "restrict to these rows of the grid", nargs="+", metavar="ROW")
SEEDS = SharedOption("--seeds", "restrict to these seeds", type=int, nargs="+", metavar="N")
REPORT_ONLY = SharedOption(
    "--report-only", "compute nothing: tables and figures of what is complete", action="store_true"
)
SET = SharedOption("--set", "override one key of the configuration; repeatable", action="append", metavar="key=value")
PERTURB = SharedOption("--perturb", "names of perturbations", nargs="+", metavar="NAME")
REPEATS = SharedOption("--repeats", "repeats of each random perturbation", type=int, metavar="N")

# Measurements.
ROUNDS = SharedOption("--rounds", "turns of every competitor", type=count, metavar="N")
SECONDS = SharedOption("--seconds", "length of each measurement in seconds", type=positive, metavar="S")
RATES = SharedOption("--rates", "firing rates, spikes per neuron and step", type=rate, nargs="+", metavar="R")

# How Brian2 simulates.
BACKEND = SharedOption("--backend", "Brian2 backend")
CONNECTIVITY = SharedOption("--connectivity", "shared: one kernel for all positions; explicit: every synapse")
WORKERS = SharedOption("--workers", "processes that simulate", type=int, metavar="N")
CLUSTER = SharedOption(
    "--cluster", "simulate on a Dask (tcp://host:port) or Ray (ray://host:port) cluster", metavar="ADDRESS"
)
CUDA_PYTHON = SharedOption(
    "--cuda-python", "the Python with brian2cuda, for a GPU with explicit connectivity", type=Path, metavar="PATH"
)

# How a NIR graph is read.
DT = SharedOption("--dt", "time step of a NIR graph in ms", type=float, metavar="MS")
DISCRETISATION = SharedOption("--discretisation", "how a NIR graph's equations are stepped")
RESET = SharedOption("--reset", "how a NIR graph's neurons are reset")
RESET_TIMING = SharedOption("--reset-timing", "whether a reset acts in its spike's step or after the next leak")


def add_checkpoint(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The positional argument CHECKPOINT."""
    parser.add_argument(
        "checkpoint", type=Path, nargs=nargs, metavar="CHECKPOINT", help="a run's checkpoints/task-NN.safetensors"
    )


def add_grid(parser: argparse.ArgumentParser) -> None:
    """The positional argument GRID, and the options that choose some of its networks."""
    from alade_brian.config.shipped import shipped_files

    parser.add_argument(
        "grid", metavar="GRID",
        help=f"YAML file (see alade_brian/studies/comparison/grid.py), or one of {', '.join(shipped_files('grids'))}",
    )  # fmt: skip
    ROWS.add(parser)
    SEEDS.add(parser)
    JOBS.add(parser, default=1)
    REPORT_ONLY.add(parser)


def add_run(parser: argparse.ArgumentParser) -> None:
    """The options of all commands that train, simulate and verify; None where the configuration decides."""
    from alade_brian.data import DATASETS
    from alade_brian.models import BACKBONES
    from alade_brian.runs.incremental_run import SECONDS_BETWEEN_STATES

    configured = "default: from the configuration"
    SET.add(parser, default=[])
    DATASET.add(parser, f"{DATASETS.choices}; {configured}")
    DATA_ROOT.add(parser, configured)
    DOWNLOAD.add(parser)
    parser.add_argument("--backbone", help=f"{BACKBONES.choices} ({configured})")
    parser.add_argument("--device", help="where PyTorch trains: cpu or cuda (default: cpu)")
    SEED.add(parser, "class order, weights, batches; default: 1993")
    parser.add_argument("--verify-images", type=int, metavar="N", help="images simulated per task (default: all)")
    OUT.add(parser, "a run folder; default: runs/<config>-<method>-<seed>")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out")
    parser.set_defaults(interrupted="resume with --resume")
    parser.add_argument(
        "--keep-every", type=finite, default=SECONDS_BETWEEN_STATES, metavar="S",
        help="seconds between saved states of a task, written between epochs (default: %(default)g)",
    )  # fmt: skip
    add_simulation(parser, backend=None, connectivity=None)


def add_simulation(
    parser: argparse.ArgumentParser,
    workers: int | None = None,
    *,
    backend: str | None = "cpp",
    connectivity: str | None = "auto",
    cores: str = "one for each core",
) -> None:
    """How Brian2 simulates; `simulation_settings` reads it.

    workers, backend, connectivity   the defaults; None: as many as `cores` says, and what a configuration says
    """
    from alade_brian.simulation import BACKENDS, CONNECTIVITIES

    group = parser.add_argument_group("simulation")
    # What a configuration may name too is checked with it.
    _choice(BACKEND, group, BACKENDS, backend, "cpp")
    _choice(CONNECTIVITY, group, CONNECTIVITIES, connectivity, "auto: shared if the backend has it")
    WORKERS.add(group, "" if workers else f"default: {cores}", default=workers)
    CLUSTER.add(group)
    CUDA_PYTHON.add(group, "default: $ALADE_BRIAN_CUDA_PYTHON, this one, or one that is found")


def _choice(
    option: SharedOption, group: argparse._ActionsContainer, choices: Sequence[str], default: str | None, usual: str
) -> None:
    """One of several, or, without a default, what a configuration names; `usual` is what one that names none means."""
    if default is None:
        option.add(group, f"{', '.join(choices)}; default: from the configuration, else {usual}")
    else:
        option.add(group, choices=choices, default=default)


def simulation_settings(arguments: argparse.Namespace, **more: Any) -> SimulationSettings:
    """The settings that the options of `add_simulation` stand for; UserError where this machine cannot meet them.

    more   further settings, see `SimulationSettings`
    """
    from alade_brian.simulation import SimulationSettings, check_machine

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


def add_nir_reading(parser: argparse._ActionsContainer, reset: str | None = None) -> None:
    """How a NIR graph is read where it does not say it itself.

    reset   the default; None and "model" both mean each node's own
    """
    from alade_brian.conversion.nir_graphs.neurons import Method
    from alade_brian.conversion.nir_graphs.read import Reset, ResetTiming

    said = "default: what the file says, else {}".format
    DT.add(parser, said("what its constants show, else 1"))
    DISCRETISATION.add(parser, said("exact"), choices=get_args(Method))
    choices = get_args(Reset)
    own = "default: each node's own" if reset is None else "model: each node's own"
    RESET.add(parser, own, choices=choices, default=reset)
    RESET_TIMING.add(parser, f"the latter as snnTorch's; {said('same-step')}", choices=get_args(ResetTiming))
