"""iCaRL: rehearsal and distillation for the features, the nearest mean of exemplars for the decision.

Rebuffi, Kolesnikov, Sperl, Lampert, CVPR 2017 (arXiv 1611.07725).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from alade_brian.learning.incremental.methods.base import mean_features
from alade_brian.learning.incremental.methods.distilling import Distilling
from alade_brian.learning.incremental.task_data import TaskData


class Icarl(Distilling):
    """``L = CE(all columns) + weight KD(old columns)``, weight 1 and temperature 2, as PyCIL trains it; the source
    uses a sigmoid and binary cross-entropy per column instead.

    The decision is the class whose mean is nearest, where features and means have length one. With ``|mu| = 1``,

        |phi / |phi| - mu|^2 = 2 - 2 phi . mu / |phi|,

    and ``|phi|`` is the same for all classes of an image: the nearest mean is the largest ``phi . mu``, which is a
    linear readout. So the finished network holds the means as the rows of its classifier, and its conversion decides
    by the nearest mean with nothing but spikes and synapses. (An image without any spike is equally far from all.)

    Means are those of the exemplars as they are; the source adds their mirror images.
    """

    name = "icarl"
    rehearses = True

    # The classifier that was trained, while the network holds the means: it goes on learning, and teaches.
    trained: Tensor | None = None

    def begin_task(self, data: TaskData) -> None:
        if self.trained is not None:
            self._read_out(self.trained)
            self.trained = None
        super().begin_task(data)

    def remember(self, exemplars: Tensor, labels: Tensor) -> None:
        assert self.network.classifier is not None
        if self.trained is None:
            self.trained = self.network.classifier.weight.detach().clone()
        self._read_out(exemplar_means(mean_features(self.network, exemplars), labels, self.network.classes))

    def _read_out(self, rows: Tensor) -> None:
        assert self.network.classifier is not None
        with torch.no_grad():
            self.network.classifier.weight.copy_(rows)

    def state(self) -> dict[str, Any]:
        return {"trained": self.trained}

    def restore(self, state: dict[str, Any]) -> None:
        self.trained = state["trained"]


def exemplar_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of each class's features, both of length one: ``(classes, width)``, float64.

    features   ``(n, width)``; a row of zeros stays zero
    labels     int64 ``(n,)``
    ValueError where a class has no exemplar.
    """
    present = torch.bincount(labels, minlength=classes)
    if not present.all() or len(present) > classes:
        raise ValueError(f"{classes} classes, but so many exemplars of each: {present.tolist()}")
    unit = _unit(features.double())
    return _unit(torch.stack([unit[labels == c].mean(0) for c in range(classes)]))


def _unit(rows: Tensor) -> Tensor:
    norms = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norms > 0, norms, 1.0)
