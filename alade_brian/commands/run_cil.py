"""Train class after class in PyTorch, convert after every task, simulate in Brian2, and compare every spike.

    alade-brian run
    alade-brian run --dataset fashion-mnist --config fashion-mnist
    torchrun --nproc-per-node 2 experiments/run_cil.py    # several processes train together

Exit code 0: done; 1: the simulated network does not agree with the trained one, or no neuron fired in either, which
proves nothing; 2: wrong use or input.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from alade_brian.analysis.metrics.verdict import agrees
from alade_brian.commands.options import add_run
from alade_brian.config.run import RunConfig, apply_overrides, config_from, read_mapping
from alade_brian.config.shipped import find_file, shipped_files
from alade_brian.data import require_classes
from alade_brian.learning import incremental_methods
from alade_brian.learning.parallel import is_main_process, join_processes, leave_processes
from alade_brian.outputs import check_not_locked, writing_to
from alade_brian.plugins import short_name
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.incremental_run import IncrementalJob
from alade_brian.runs.summary import summary


def parser(prog: str = "alade-brian run") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--config", metavar="FILE", help=f"YAML file, or one of {', '.join(shipped_files('configs'))} (default: digits)"
    )
    p.add_argument("--method", help=f"{', '.join(incremental_methods())} (default: alade)")
    add_run(p)
    return p


def configuration(arguments: argparse.Namespace) -> tuple[str, RunConfig]:
    """Name of the configuration, and the configuration with everything from the command line in it."""
    if arguments.resume and arguments.config is None and arguments.out is not None:
        # A run is resumed with its own configuration; what the command line adds must not change it.
        name, mapping = arguments.out.name, RunFolder(arguments.out).stored_config()
        origin = f"{arguments.out}/config.yaml"
    else:
        file = find_file(arguments.config, "configs") if arguments.config else shipped_files("configs")["digits"]
        name, mapping, origin = file.stem, read_mapping(file), str(file)
    direct = {
        "dataset": arguments.dataset,
        "data_root": arguments.data_root,
        "method": arguments.method,
        "seed": arguments.seed,
        "verify_images": arguments.verify_images,
    }
    mapping = apply_overrides(mapping, arguments.set)
    mapping |= {key: value for key, value in direct.items() if value is not None}
    simulation = {"backend": arguments.backend, "connectivity": arguments.connectivity}
    chosen: dict[str, Any] = {key: value for key, value in simulation.items() if value is not None}
    sections: dict[str, dict[str, Any]] = {"simulation": chosen}
    if arguments.backbone is not None:
        sections["network"] = {"backbone": arguments.backbone}
    if arguments.device is not None:
        sections["training"] = {"device": arguments.device}
    for section, keys in sections.items():
        # What is no section is refused with the rest of the configuration.
        if isinstance(mapping.get(section), Mapping | None):
            mapping[section] = {**(mapping.get(section) or {}), **keys}
    return name, config_from(mapping, origin)


def main(arguments: argparse.Namespace) -> int:
    """Run the job; the exit code."""
    return run_configured(arguments, *configuration(arguments), incremental=True)


def run_configured(arguments: argparse.Namespace, name: str, config: RunConfig, incremental: bool) -> int:
    """Run the job of a configuration of that name; the exit code. `incremental`: it needs classes."""
    out = arguments.out or Path("runs") / f"{name}-{short_name(config.method)}-{config.seed}"
    check_not_locked(out)
    folder = RunFolder(out)
    folder.check_same(config) if arguments.resume else folder.check_unused()
    join_processes(config.training.device)
    try:
        return run(arguments, config, out, incremental)
    finally:
        leave_processes()


def run(arguments: argparse.Namespace, config: RunConfig, out: Path, incremental: bool) -> int:
    """Run the job in this process, which may be one of several that train together."""
    job = IncrementalJob(
        config, out, download=arguments.download, workers=arguments.workers, cluster=arguments.cluster,
        python=arguments.cuda_python,
    )  # fmt: skip
    if incremental:
        require_classes(job.dataset, "a class-incremental run, in which they come one after another,")
    job.seconds_between_states = arguments.keep_every
    with writing_to(out) if is_main_process() else nullcontext():
        job.resume() if arguments.resume else job.start()
        metrics = job.run()
    if not is_main_process():
        return 0
    print(summary(metrics, out))
    return 0 if agrees(metrics) else 1
