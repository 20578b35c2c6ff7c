"""Units of a convolutional network that grows into a fixed frame and is pruned there (for `dsd`).

A unit is an output channel with all that is its own: its kernels, and its numbers in batch norm and bias. It is

free    silent: all its numbers are as in a new, empty network, and nobody reads it
fixed   of an earlier task: nothing of it ever changes, and it reads no unit that came after its task
own     of the task being learnt: it reads all units of the layer below that are not free
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(eq=False)
class UnitLayer:
    """The units of one convolution.

    fixed, own   bool ``(units,)``
    credit       float64 ``(units,)``: what is left of a unit's right to live, see `prune`
    """

    name: str
    conv: nn.Conv2d
    norm: _BatchNorm | None
    fixed: Tensor
    own: Tensor = field(init=False)
    credit: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.own = torch.zeros_like(self.fixed)
        self.credit = torch.zeros(len(self.fixed), dtype=torch.float64)

    @property
    def used(self) -> Tensor:
        """bool ``(units,)``: fixed or own."""
        return self.fixed | self.own

    def per_unit(self) -> list[tuple[Tensor, float]]:
        """What has one number per unit, and that number in a free unit: its current is zero."""
        found: list[tuple[Tensor | None, float]] = [(self.conv.bias, 0.0)]
        if self.norm is not None:
            found += [(self.norm.weight, 1.0), (self.norm.bias, 0.0)]
            found += [(self.norm.running_mean, 0.0), (self.norm.running_var, 1.0)]
        return [(tensor, fresh) for tensor, fresh in found if tensor is not None]

    def grow(self, count: int, read: Tensor, credit: float) -> int:
        """Take the first `count` free units, or as many as there are, as own ones that read the inputs `read`, bool
        ``(inputs,)``; the number taken.

        Kernels are uniform within ``1 / sqrt(numbers read)``, which is the Kaiming bound with a slope of sqrt(5).
        """
        new = torch.nonzero(~self.used)[:count, 0]
        weight, inputs = self.conv.weight, torch.nonzero(read)[:, 0]
        bound = 1 / math.sqrt(len(inputs) * weight[0, 0].numel())
        drawn = torch.empty(len(new), len(inputs), *weight.shape[2:]).uniform_(-bound, bound)
        with torch.no_grad():
            weight[new[:, None], inputs] = drawn
        self.own = self.own.index_fill(0, new, True)
        self.credit = self.credit.index_fill(0, new, credit)
        return len(new)

    def prune(self, epoch: int, rho: float) -> None:
        """Set the own units free that are out of credit after an epoch (from 0; the first one prunes nothing).

        A unit's score is the sum of its weights' sizes, between 0 for the weakest own unit of the layer and 1 for the
        strongest unit of all; twice the score less `rho` is added to its credit, and 3 more where that is positive.
        What is added fades by e every 13 epochs.
        """
        if epoch < 1 or not self.own.any():
            return
        size = self.conv.weight.detach().cpu().double().abs().flatten(1).sum(1)
        low, high = size[self.own].min(), size[self.used].max()
        score = (size - low) / (high - low) if high > low else torch.full_like(size, 0.5)
        gain = 2 * score - rho
        gain[gain > 0] += 3
        self.credit = torch.where(self.own, 0.999 * self.credit + gain * math.exp(-((epoch - 1) // 13)), self.credit)
        self.own = self.own & (self.credit >= 0)


class Units:
    """The units of all convolutions of a plain network, one behind the other, and of the readout behind them.

    What is used is read off the weights: a free unit is one that reads nothing. All of them are fixed to begin with.

    extractor    has `stages`, each with a `conv` and perhaps a `norm`, and `width` features
    empty        set all units free first
    """

    def __init__(self, extractor: nn.Module, empty: bool = False) -> None:
        self.width = int(extractor.width)  # type: ignore[arg-type]
        self.layers: list[UnitLayer] = []
        for number, stage in enumerate(extractor.stages):  # type: ignore[arg-type]
            norm = next((m for m in stage.children() if isinstance(m, _BatchNorm)), None)
            used = stage.conv.weight.detach().flatten(1).any(1).cpu()
            layer = UnitLayer(f"stages.{number}", stage.conv, norm, torch.zeros_like(used) if empty else used)
            if empty:
                _clear(layer)
            self.layers.append(layer)

    def read(self, number: int) -> Tensor:
        """What the own units of a layer may read, bool ``(inputs,)``."""
        first = self.layers[number].conv
        return self.layers[number - 1].used if number else torch.ones(first.in_channels, dtype=torch.bool)

    def features(self) -> Tensor:
        """Features of used units, bool ``(width,)``: what a new row of the classifier may read."""
        used = self.layers[-1].used
        return used.repeat_interleave(self.width // len(used))

    def counts(self) -> dict[str, Any]:
        """For a table: units used and units of this task layer by layer, and the weights of the convolutions that are
        not zero (a synapse at every position of the image)."""
        return {
            "units": [int(layer.used.sum()) for layer in self.layers],
            "own_units": [int(layer.own.sum()) for layer in self.layers],
            "weights": sum(int(layer.conv.weight.count_nonzero()) for layer in self.layers),
        }

    def state(self) -> list[dict[str, Tensor]]:
        """The bookkeeping, layer by layer; none of these tensors is ever changed in place."""
        return [{key: getattr(layer, key) for key in ("fixed", "own", "credit")} for layer in self.layers]

    def restore(self, state: list[dict[str, Tensor]]) -> None:
        """Go on from a `state`."""
        for layer, kept in zip(self.layers, state, strict=True):
            for key, tensor in kept.items():
                setattr(layer, key, tensor)


class Guard:
    """Holds all numbers still but those of the own units, which `restore` does after every step.

    Made while the numbers of fixed units are right. What is neither fixed nor own is held as in a free unit, so that
    pruning is a matter of making another guard.

    classifier    its rows from `first_row` on are the task's
    moving_norm   leave batch norm of the fixed units alone: it goes on moving
    """

    def __init__(self, units: Units, classifier: nn.Linear, first_row: int, moving_norm: bool = False) -> None:
        self.units = units
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []
        self._norms: list[tuple[nn.Module, nn.Module, Tensor]] = []
        for number, layer in enumerate(units.layers):
            self._hold(layer.conv.weight, layer.fixed, layer.own[:, None] & units.read(number), 0.0)
            moving = layer.used if moving_norm else layer.own
            for tensor, fresh in layer.per_unit():
                self._hold(tensor, layer.fixed, moving if tensor is not layer.conv.bias else layer.own, fresh)
            if layer.norm is not None and not moving_norm and layer.fixed.any():
                fixed = layer.fixed[:, None, None].to(layer.conv.weight.device)
                self._norms.append((layer.norm, copy.deepcopy(layer.norm).eval(), fixed))
        rows = torch.arange(classifier.out_features) >= first_row
        self._hold(classifier.weight, ~rows, rows[:, None] & units.features(), 0.0)

    def _hold(self, tensor: Tensor, kept_rows: Tensor, moves: Tensor, otherwise: float) -> None:
        """Of a tensor, keep some rows; let the entries move where `moves`, bool of its first axes, is true; everything
        else has one value."""
        kept, at = tensor.detach().clone(), tensor.device
        kept[~kept_rows.to(at)] = otherwise
        moves = moves.reshape(*moves.shape, *[1] * (tensor.ndim - moves.ndim))
        self._held.append((tensor.detach(), moves.to(at), kept))

    def restore(self) -> None:
        """Put back what must not have moved, bit by bit."""
        for tensor, moves, kept in self._held:
            tensor.copy_(torch.where(moves, tensor, kept))

    @contextmanager
    def training(self) -> Iterator[None]:
        """Meanwhile batch norm normalises fixed units by what it learnt in their own task, as it will in evaluation.

        Otherwise a new unit would learn from other spikes than it is to read afterwards. Fixed units need no gradient.
        """
        with ExitStack() as stack:
            for norm, learnt, fixed in self._norms:
                stack.callback(norm.register_forward_hook(_as_learnt(learnt, fixed)).remove)
            yield


def _as_learnt(learnt: nn.Module, fixed: Tensor) -> Any:
    def hook(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        with torch.no_grad():
            held = learnt(inputs[0])
        return torch.where(fixed, held, output)

    return hook


def _clear(layer: UnitLayer) -> None:
    """Make all units of a layer free ones."""
    with torch.no_grad():
        layer.conv.weight.zero_()
        for tensor, fresh in layer.per_unit():
            tensor.fill_(fresh)
