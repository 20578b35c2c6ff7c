"""Check the simulation on a machine with a GPU: build, correctness, determinism, speed, memory.

    alade-brian gpu-check
    alade-brian gpu-check --fill-wheels wheels      # on a machine with a network; then, on the other:
    python3.12 experiments/gpu_check.py --wheels wheels

Exit code 0: every spike is the processor's; 1: some are not, or a comparison that was asked for is missing or shows
nothing; 2: this machine cannot run it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from alade_brian.commands.options import FIGURE, IMAGES, JSON, RATES, SECONDS, SEED, count, finite, positive
from alade_brian.gpu_checking import wheels


def parser(prog: str = "alade-brian gpu-check") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    JSON.add(p)
    FIGURE.add(p, "images per second over the batch")
    SECONDS.add(p, default=2.0)
    p.add_argument("--minutes", type=finite, default=8.0, help="after which no measurement is begun (default: 8)")
    IMAGES.add(p, "compared for each network", default=200)
    p.add_argument("--networks", nargs="+", default=["digits", "fashion-mnist"], help="by the size of whose images")
    RATES.add(p, default=[0.02, 0.05, 0.18])
    p.add_argument("--batches", type=count, nargs="+", default=[16, 64, 256, 1024], help="images side by side")
    p.add_argument(
        "--bandwidth", type=positive, metavar="GB/S", help="of the GPU's memory (default: PyTorch measures it)"
    )
    SEED.add(p, default=1993)
    p.add_argument("--wheels", type=Path, metavar="FOLDER", help="install what is needed from these wheels first")
    p.add_argument("--fill-wheels", type=Path, metavar="FOLDER", help="download such wheels, and do nothing else")
    p.add_argument("--with-curand", action="store_true", help="cuRAND too, for a CUDA toolkit without it")
    p.add_argument("--stand-in", metavar="BACKEND", help="try this program itself: another backend in the GPU's place")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Run all checks; the exit code."""
    from alade_brian.errors import UserError

    if arguments.fill_wheels is not None:
        size = wheels.fill(arguments.fill_wheels, arguments.with_curand)
        print(f"{size / 2**20:.0f} MiB of wheels for Python {wheels.PYTHON} lie in {arguments.fill_wheels}")
        return 0
    if arguments.wheels is not None:
        wheels.go_on_with(arguments.wheels)
    from alade_brian.gpu_checking import report
    from alade_brian.gpu_checking.plan import GpuCheckPlan
    from alade_brian.outputs import check_new_file

    if arguments.images < 1:
        raise UserError(f"--images {arguments.images}: use at least 1")
    check_new_file(arguments.json, "--json")
    check_new_file(arguments.figure, "--figure")
    plan = GpuCheckPlan(arguments, began=time.monotonic())
    result = plan.run()
    report.write(result, arguments.json, arguments.figure)
    print(report.table(result))
    return 1 if report.shortcomings(result) else 0
