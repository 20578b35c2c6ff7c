"""Losses on time-averaged logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``KL(softmax(teacher / T) || softmax(student / T))``, mean over images; both ``(n, classes)``. No factor T².

    Source: ALADE-SNN, stage 1.
    """
    log_student = F.log_softmax(student / temperature, 1)
    return F.kl_div(log_student, F.log_softmax(teacher / temperature, 1), reduction="batchmean", log_target=True)


def auxiliary_targets(labels: Tensor, old_classes: int) -> Tensor:
    """Targets of the auxiliary head: every old class 0, new class j (from 0) 1 + j."""
    return (labels - old_classes + 1).clamp(min=0)
