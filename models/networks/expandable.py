"""The dynamically expandable network: one extractor per task, features side by side, one classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from alade_brian.models.layers.first_to_fire import FirstToFire
from alade_brian.models.layers.readouts import MeanOverSteps, OverSteps


class ExpandableNetwork(nn.Module):
    """``F(x)[t] = [phi_1(x)[t], ..., phi_K(x)[t]]`` and a bias-free linear readout of it (ALADE-SNN, section 1 of the
    spec).

    All extractors but the newest are frozen: no gradient, batch norm in eval mode, whatever `train()` says.
    `make_extractor` builds one extractor; it must have an attribute `width`, its number of features. `decision` is a
    linear mean over the steps; by default, one in which all count the same. Or it is `FirstToFire`; what trains such a
    network (`Method.learns_times`) does not call it.

    `auxiliary` is the head of the newest extractor during training (old classes together, each new class apart). It
    takes no part in `forward`.
    """

    def __init__(
        self, make_extractor: Callable[[], nn.Module], steps: int, decision: OverSteps | FirstToFire | None = None
    ) -> None:
        super().__init__()
        self._make_extractor = make_extractor
        self.steps = steps
        self.extractors = nn.ModuleList()
        self.classifier: nn.Linear | None = None
        self.decision: OverSteps | FirstToFire = MeanOverSteps(steps) if decision is None else decision
        self.auxiliary: nn.Linear | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of each extractor."""
        return tuple(int(extractor.width) for extractor in self.extractors)  # type: ignore[arg-type]

    @property
    def step_seconds(self) -> float | None:
        """What a step lasts, where the network says it."""
        return self.decision.step_seconds if isinstance(self.decision, FirstToFire) else None

    @property
    def classes(self) -> int:
        return self.classifier.out_features if self.classifier is not None else 0

    def add_extractor(self, inherit: bool = True) -> None:
        """Append a trainable extractor, by default with the weights of the newest one, and freeze the others."""
        fresh = self._make_extractor()
        if inherit and len(self.extractors):
            fresh.load_state_dict(copy.deepcopy(self.extractors[-1].state_dict()))
        for extractor in self.extractors:
            extractor.requires_grad_(False)
        self.extractors.append(fresh)
        self.train(self.training)

    def set_classifier(self, classes: int, keep: bool = False) -> None:
        """A new Kaiming-normal classifier over all features; with `keep` the old rows and columns stay."""
        old = self.classifier
        self.classifier = _head(sum(self.widths), classes)
        if keep and old is not None:
            with torch.no_grad():
                self.classifier.weight[: old.out_features, : old.in_features] = old.weight

    def set_auxiliary(self, outputs: int | None) -> None:
        """A new auxiliary head on the newest extractor with so many outputs, or none."""
        self.auxiliary = _head(self.widths[-1], outputs) if outputs else None

    def train(self, mode: bool = True) -> ExpandableNetwork:
        super().train(mode)
        for extractor in list(self.extractors)[:-1]:
            extractor.eval()
        return self

    def mean_features(self, images: Tensor, extractors: slice = slice(None)) -> Tensor:
        """Features averaged over the steps, ``(n, width)``, of all or some extractors; the readout is linear, so
        logits of the mean features are the mean logits."""
        return torch.cat([self.decision(extractor(images)) for extractor in list(self.extractors)[extractors]], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` -> mean logits ``(n, classes)``."""
        assert self.classifier is not None, "set_classifier comes before the first image"
        if self.training:
            # The mean of the steps may come first, since the readout is linear: fewer numbers to multiply and keep.
            return self.classifier(self.mean_features(images))
        features = torch.cat([extractor(images) for extractor in self.extractors], 1)
        return self.decision(self.classifier(features))


def _head(inputs: int, outputs: int) -> nn.Linear:
    head = nn.Linear(inputs, outputs, bias=False)
    nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
    return head
