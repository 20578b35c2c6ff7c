"""What biology does to what was learnt: accuracy of a trained network, task by task, under growing perturbations.

Of a network that learnt values, R2 is measured in its place.

    alade-brian perturb runs/digits-alade-1993/checkpoints/task-05.safetensors --perturb delay membrane-noise
    alade-brian perturb CHECKPOINT --perturb lesion --strengths 0.2 0.4 --repeats 10 --out runs/lesions
    alade-brian perturb CHECKPOINT --perturb all

The unperturbed network is always measured too. The folder then holds results.json, table.md, table.csv and a
figure for each perturbation. The same command goes on where it was stopped. A perturbation that this network cannot
have is named and, with 'all', passed over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from alade_brian.commands.options import (
    DATA_ROOT,
    IMAGES,
    OUT,
    PERTURB,
    REPEATS,
    TASK,
    add_checkpoint,
    add_simulation,
    simulation_settings,
)
from alade_brian.errors import UserError
from alade_brian.files import write_text
from alade_brian.outputs import check_not_locked, writing_to
from alade_brian.perturbations import PERTURBATIONS, Perturbation, perturbation
from alade_brian.runs.subject import PARTS, read_trained_network
from alade_brian.studies.perturbation.curve_figures import write_figures
from alade_brian.studies.perturbation.curves import csv_text, markdown, rows
from alade_brian.studies.perturbation.study import Study, measure_missing, measurements


def parser(prog: str = "alade-brian perturb") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint(p)
    PERTURB.add(p, f"all, or: {PERTURBATIONS.choices}", required=True)
    p.add_argument(
        "--strengths", nargs="+", type=float, metavar="S",
        help="default: the perturbation's own; 0 is the unperturbed network",
    )  # fmt: skip
    TASK.add(p, "to whose extractor a lesion is restricted; default: all")
    REPEATS.add(p, default=5)
    IMAGES.add(p, "of those that the run was evaluated on, spread over the classes; default: all")
    DATA_ROOT.add(p, "default: as in training")
    OUT.add(p, "default: RUN/perturbed/task-NN")
    add_simulation(p)
    p.set_defaults(interrupted="the same command continues")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Measure what is missing, then write table and figures; the exit code."""
    if arguments.repeats < 1:
        raise UserError(f"--repeats {arguments.repeats}: use at least 1")
    if arguments.images is not None and arguments.images < 1:
        raise UserError(f"--images {arguments.images}: use at least 1")
    chosen = choose(arguments)
    settings = simulation_settings(arguments, **PARTS)
    out = arguments.out or default_folder(arguments.checkpoint)
    check_not_locked(out)
    wanted = measurements(chosen, arguments.repeats, arguments.strengths)
    subject = read_trained_network(arguments.checkpoint, arguments.images, arguments.data_root)
    with writing_to(out):
        study = Study(out, subject)
        bar = tqdm(study.missing(wanted), desc="perturb", disable=None, leave=False)
        measure_missing(study, bar, settings, bar.write, pass_over="all" in arguments.perturb)
        found, measure = rows(study.results), subject.problem.measure
        write_text(out / "table.md", markdown(found, measure))
        write_text(out / "table.csv", csv_text(found))
        write_figures(study.results, out / "figures")
    print(markdown([row for row in found if row["task"] == "all"], measure))
    print(f"tables and figures: {out}")
    return 0


def default_folder(checkpoint: Path) -> Path:
    """The folder of a checkpoint's results: in its run's, since the names of run folders may be equal."""
    folder = checkpoint.resolve().parent
    return (folder.parent if folder.name == "checkpoints" else folder) / "perturbed" / checkpoint.stem


def choose(arguments: argparse.Namespace) -> list[Perturbation]:
    """The perturbations asked for; UserError where one does not exist or an option is not for it."""
    everything = "all" in arguments.perturb
    if everything and (arguments.strengths or len(arguments.perturb) > 1):
        raise UserError("--perturb all stands alone and has no --strengths, whose units differ; name one perturbation")
    names = tuple(sorted(PERTURBATIONS)) if everything else tuple(dict.fromkeys(arguments.perturb))
    options = {} if arguments.task is None else {"task": arguments.task}
    return [perturbation(name, **options) for name in names]
