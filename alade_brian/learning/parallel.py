"""Data-parallel training: several processes, started by `torchrun`, each with its share of every batch.

Gradients are added up over the processes, so that a step is that of the whole batch. Batch norm sees a process's own
share, as everywhere in data-parallel training; its running statistics are averaged after every epoch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from alade_brian.errors import UserError

# The first process verifies a task while the others wait for it.
PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of a batch.

    number, of   this process, and how many there are
    images       of the whole batch
    """

    number: int
    of: int
    images: int

    @property
    def rows(self) -> Tensor:
        """Positions in the batch, int64."""
        return torch.arange(self.number, self.images, self.of)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make the gradients of the share's mean loss those of the whole batch's."""
        if self.of == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad *= len(self.rows) / self.images
            torch.distributed.all_reduce(parameter.grad)

    def add(self, value: Tensor) -> Tensor:
        """The sum over all that have a share."""
        return total(value) if self.of > 1 else value


def share(images: int) -> Share:
    """This process's share of a batch of so many images."""
    number, of = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if parallel() else (0, 1)
    # Batch norm needs two images: of a batch that is too small for all, each process takes the whole.
    return Share(number, of, images) if images >= 2 * of else Share(0, 1, images)


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    if parallel():
        torch.distributed.all_reduce(value)
    return value


def average_statistics(module: nn.Module) -> None:
    """Give all processes the mean of the running statistics of those batch norms that are in training."""
    if not parallel():
        return
    for norm in module.modules():
        if norm.training and isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic /= torch.distributed.get_world_size()
                    torch.distributed.all_reduce(statistic)


def parallel() -> bool:
    """Whether this is one of several training processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_main_process() -> bool:
    """Whether this process writes the run's files."""
    return not parallel() or torch.distributed.get_rank() == 0


def join_processes(device: str) -> None:
    """Join the processes that `torchrun` started; nothing happens without it."""
    if _variable("WORLD_SIZE", 1) > 1 and not parallel():
        for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise UserError(f"WORLD_SIZE is set, but {name} is not; start with torchrun, or unset WORLD_SIZE")
        _variable("RANK", 0)
        _variable("MASTER_PORT", 1)
        # Its functions have the group as a default value: a group that is there when it is first imported, as an
        # optimizer does, outlives `leave_processes`, and its threads may abort the process when Python ends.
        importlib.import_module("torch.distributed.nn")
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
        if device == "cuda":
            torch.cuda.set_device(_variable("LOCAL_RANK", 0))


def _variable(name: str, least: int) -> int:
    """A whole number from the environment, `least` where it is not set; UserError if it is none."""
    text = os.environ.get(name, str(least))
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name} is '{text}'; torchrun sets it to a whole number of at least {least}, else unset it")
    return int(text)


def leave_processes() -> None:
    """Leave them again."""
    if parallel():
        torch.distributed.destroy_process_group()
