"""Optimisers and schedules of the learning rate, chosen by name in a stage's configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from alade_brian.config.run import StageConfig

# One cycle: the share of the epochs in which the rate rises, the factor it begins with, and the one it ends with.
RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 25e4


def make_optimiser(config: StageConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a stage's configuration names."""
    return OPTIMISERS[config.optimiser](config, parameters)


def learning_rate(config: StageConfig, epoch: int) -> float:
    """The factor of the learning rate in an epoch, from 0: a linear rise during the warm-up times the schedule."""
    rise = min(1.0, (epoch + 1) / (config.warmup + 1))
    return rise * SCHEDULES[config.schedule](config, epoch)


def make_schedule(config: StageConfig, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule that a stage's configuration names; it is stepped after every epoch."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: learning_rate(config, epoch))


def _sgd(config: StageConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum; the weight decay is part of the gradient."""
    return torch.optim.SGD(parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)


def _adam(config: StageConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba, ICLR 2015), beta 2 0.999; the weight decay is part of the gradient."""
    betas = config.momentum, 0.999
    return torch.optim.Adam(parameters, config.learning_rate, betas, weight_decay=config.weight_decay)


def _adamw(config: StageConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019), beta 2 0.999; the weights decay beside the gradient's step."""
    betas = config.momentum, 0.999
    return torch.optim.AdamW(parameters, config.learning_rate, betas, weight_decay=config.weight_decay)


def _milestones(config: StageConfig, epoch: int) -> float:
    """A fall by `factor` at each milestone."""
    return config.factor ** sum(epoch >= milestone for milestone in config.milestones)


def _cosine(config: StageConfig, epoch: int) -> float:
    """Half a cosine from 1 after the warm-up to 0 after the last epoch (Loshchilov and Hutter, ICLR 2017, one
    period)."""
    after = max(0, epoch - config.warmup)
    return _fall(after / max(1, config.epochs - config.warmup), 1.0, 0.0)


def _one_cycle(config: StageConfig, epoch: int) -> float:
    """From `FIRST` to 1 within `RISE` of the epochs, then to `LAST`, both along half a cosine (Smith and Topin 2019,
    arXiv 1708.07120, with PyTorch's numbers); `learning_rate` is the peak. The momentum stays as it is."""
    last = max(1, config.epochs - 1)
    peak = RISE * last
    return _fall(epoch / peak, FIRST, 1.0) if epoch < peak else _fall((epoch - peak) / (last - peak), 1.0, LAST)


def _constant(config: StageConfig, epoch: int) -> float:
    """The learning rate as it is."""
    return 1.0


def _fall(progress: float, begin: float, end: float) -> float:
    """Half a cosine from `begin` (progress 0) to `end` (1)."""
    return end + (begin - end) * (1 + math.cos(math.pi * progress)) / 2


OPTIMISERS: Mapping[str, Callable[[StageConfig, list[nn.Parameter]], torch.optim.Optimizer]] = MappingProxyType(
    {"sgd": _sgd, "adam": _adam, "adamw": _adamw}
)
SCHEDULES: Mapping[str, Callable[[StageConfig, int], float]] = MappingProxyType(
    {"milestones": _milestones, "cosine": _cosine, "one-cycle": _one_cycle, "constant": _constant}
)
