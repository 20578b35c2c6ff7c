"""Losses on time-averaged logits, or on outputs that are values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``KL(softmax(teacher / T) || softmax(student / T))``, mean over images; both ``(n, classes)``. No factor T².

    Source: ALADE-SNN, stage 1. LwF's cross-entropy of softened answers differs by the teacher's entropy
    alone, so that its gradient is the same.
    """
    log_student = F.log_softmax(student / temperature, 1)
    return F.kl_div(log_student, F.log_softmax(teacher / temperature, 1), reduction="batchmean", log_target=True)


def weighted_distillation(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """``T² mean_i(w_i H(softmax(teacher_i / T), softmax(student_i / T)))``, H the cross-entropy of the second
    relative to the first; logits ``(n, classes)``, labels ``(n,)``.

    w_i is ``1 - exp(-CE(student_i, y_i) / CE(teacher_i, y_i))``, without a gradient: little where the student already
    does better than the teacher.

    Source: weighted soft labels, Zhou et al., "Rethinking soft labels for knowledge distillation", ICLR 2021 (arXiv
    2102.00650), as the code of Xu et al. (arXiv 2407.09083) has it.
    """
    with torch.no_grad():
        of_student, of_teacher = (F.cross_entropy(logits, labels, reduction="none") for logits in (student, teacher))
        weights = 1 - torch.exp(-of_student / (of_teacher + 1e-7))
    soft = -(F.softmax(teacher / temperature, 1) * F.log_softmax(student / temperature, 1)).sum(1)
    return temperature**2 * (weights * soft).mean()


def value_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs ``(n, k)`` over images and numbers; targets ``(n, k)``, or fields ``(n, channels,
    height, width)`` of k numbers, which are flattened."""
    return F.mse_loss(outputs, targets.flatten(1))


def auxiliary_targets(labels: Tensor, old_classes: int) -> Tensor:
    """Targets of the auxiliary head: every old class 0, new class j (from 0) 1 + j."""
    return (labels - old_classes + 1).clamp(min=0)


def per_step(logits: Tensor, labels: Tensor, weight: float) -> Tensor:
    """``(1 - weight) mean_t CE(o[t], y) + weight MSE(o, 1)``; logits ``(steps, n, classes)``, labels ``(n,)``.

    Source: Deng et al., Temporal Efficient Training (ICLR 2022), as ALADE-SNN uses it for event data.
    """
    steps = logits.shape[0]
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.repeat(steps))
    return (1 - weight) * entropy + weight * (logits - 1).square().mean()
