"""DER: a new extractor per task with an auxiliary head, then a fresh classifier on balanced data; without pruning.

Yan, Xie, He, CVPR 2021 (arXiv 2103.16788).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from alade_brian.config.run import AladeConfig
from alade_brian.learning.incremental.methods.alade import Alade


class Der(Alade):
    """The stages are ALADE-SNN's without what it adds: no suppression, no distillation, no alignment; the classifier is
    trained at a higher softmax temperature."""

    name = "der"
    finetuning_temperature: ClassVar[float] = 5.0

    @property
    def switches(self) -> AladeConfig:
        return dataclasses.replace(
            self.config.alade, suppression=False, release=True, distillation=False, align_learning=False,
            align_finetuning=False,
        )  # fmt: skip
