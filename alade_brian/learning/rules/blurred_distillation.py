"""Blurred distillation: a spiking student learns what a teacher without spikes answers, and how it sees an image.

To the cross-entropy come two terms. One draws the student's logits to the teacher's. The other blurs the student's last
feature map (its mean over the steps, some channels masked at random), lets a small generator restore it, and draws what
the generator makes of it to the teacher's map. The generator is trained with the student and then thrown away: it is
part of the stage of training, never of the network.

Source: Xu, You, Guo, Wang, He, "BKDSNN: Enhancing the performance of learning-based spiking neural networks training
with blurred knowledge distillation", ECCV 2024 (arXiv 2407.09083), and its authors' code for ImageNet, in which the
student's features are those that are blurred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.config.run import RunConfig
from alade_brian.data import named_class_order
from alade_brian.errors import UserError
from alade_brian.learning.architectures import rectified
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.learning.incremental.methods.base import Companion, evaluating
from alade_brian.learning.incremental.methods.plain import ClassStage, Plain
from alade_brian.learning.incremental.task_data import TaskData, time_first
from alade_brian.learning.losses import weighted_distillation
from alade_brian.learning.parallel import average_statistics, total
from alade_brian.learning.stage import Stage, TrainingSet, seeded
from alade_brian.models import BackboneDescription, ExpandableNetwork, build_backbone
from alade_brian.models.networks.rectified import rectified_network

# What is drawn from a run's seed beside the student.
OF_TEACHER, OF_GENERATOR, OF_MASKS = 1, 2, 3


class BlurredDistillation(Plain):
    """Plain training with a teacher, which is trained first where none is given.

    teacher   the network without spikes; None before the task, and where both terms are left out
    """

    name = "blurred-distillation"
    takes_values = False

    teacher: ExpandableNetwork | None = None

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        super().__init__(config, network)
        self.settings = config.blurred_distillation
        self.taught = self.settings.logits > 0 or self.settings.features > 0

    @property
    def trains_teacher(self) -> bool:
        """Whether there is a teacher, and it is trained here."""
        return self.taught and self.settings.teacher.checkpoint is None

    def check(self, sizes: Sequence[int]) -> None:
        if not self.taught:
            return
        teacher = self._make_teacher(sum(sizes))
        if self.settings.features == 0:
            return
        student = ExpandableNetwork(lambda: build_backbone(self.description), self.description.steps)
        student.add_extractor()
        mine, its = (map_shape(network, self.description) for network in (student, teacher))
        if mine[1:] != its[1:]:
            raise UserError(
                f"the teacher's last feature map has {its[1]}x{its[2]} places, the student's {mine[1]}x{mine[2]}; use "
                "a teacher with the strides of section 'network', or blurred_distillation.features=0"
            )

    def begin_task(self, data: TaskData) -> None:
        super().begin_task(data)
        if self.taught:
            with seeded(self.config.seed, data.number, OF_TEACHER):
                self.teacher = self._make_teacher(data.classes).to(self.config.training.device)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        start = generator.bit_generator.state
        if self.trains_teacher:
            yield TeacherStage(self, data)
            # The student sees the same batches whoever taught it.
            generator.bit_generator.state = start
        yield DistilledStage(self, data) if self.taught else ClassStage(self, data)

    def epochs(self, first: bool) -> int:
        return super().epochs(first) + (self.settings.teacher.learning.epochs if self.trains_teacher else 0)

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        if self.teacher is not None:
            self.teacher.to("cpu").eval()

    def companions(self) -> dict[str, Companion]:
        """The teacher that was trained here."""
        if self.teacher is None or not self.trains_teacher:
            return {}
        architecture = rectified(self._description_of_teacher(), self.teacher.classes)
        return {"teacher": Companion(self.teacher, architecture)}

    def state(self) -> dict[str, Any]:
        if self.teacher is None or not self.trains_teacher:
            return {}
        return {f"teacher.{name}": t.cpu().clone() for name, t in self.teacher.state_dict().items()}

    def restore(self, state: dict[str, Any]) -> None:
        # After its task nothing is left to teach.
        if self.teacher is not None and state:
            self.teacher.load_state_dict({name.removeprefix("teacher."): t for name, t in state.items()})

    def _description_of_teacher(self) -> BackboneDescription:
        """The student's, with what section `teacher` changes; a still image needs no steps."""
        teacher, own = self.settings.teacher, self.description
        changed: dict[str, Any] = {"backbone": teacher.backbone, "width": teacher.width, "channels": teacher.channels}
        given = {key: value for key, value in changed.items() if value is not None}
        return replace(own, steps=own.steps if own.sequence else 1, **given)

    def _make_teacher(self, classes: int) -> ExpandableNetwork:
        if self.settings.teacher.checkpoint is not None:
            return self._given_teacher(classes)
        try:
            return rectified_network(self._description_of_teacher(), classes)
        except ValueError as error:
            raise UserError(f"section 'blurred_distillation.teacher' does not fit the images: {error}") from None

    def _given_teacher(self, classes: int) -> ExpandableNetwork:
        """The teacher of the checkpoint, frozen; UserError where it knows other classes or images."""
        path = Path(str(self.settings.teacher.checkpoint))
        teacher, header = load_checkpoint(path)
        remedy = "give a teacher of the run's classes, or leave out blurred_distillation.teacher.checkpoint"
        if not isinstance(teacher, ExpandableNetwork) or len(teacher.extractors) != 1:
            raise UserError(f"the teacher {path} is no network with one extractor; {remedy}")
        if teacher.classes != classes or "classes" not in header:
            raise UserError(
                f"the teacher {path} has {teacher.classes} outputs, but the run has {classes} classes; {remedy}"
            )
        if header.get("dataset") != self.config.dataset or header["classes"] != self._class_order(classes):
            raise UserError(
                f"the teacher {path} knows the classes {header['classes']} of '{header.get('dataset')}', not those of "
                f"'{self.config.dataset}' in the run's order; {remedy}"
            )
        if tuple(header["image_shape"]) != self.description.image_shape:
            raise UserError(
                f"the teacher {path} takes images of {tuple(header['image_shape'])}, not "
                f"{self.description.image_shape}; {remedy}"
            )
        return teacher.requires_grad_(False).eval()

    def _class_order(self, classes: int) -> list[int]:
        order = self.config.class_order
        if isinstance(order, str):
            return [int(c) for c in named_class_order(order, classes, self.config.seed)]
        return list(range(classes)) if order is None else list(order)


class TeacherStage(ClassStage):
    """The teacher, with cross-entropy."""

    def __init__(self, method: BlurredDistillation, data: TaskData) -> None:
        super().__init__(method, data, method.settings.teacher.learning)
        assert method.teacher is not None
        self.teacher = method.teacher.train()
        self.parameters = list(self.teacher.parameters())
        self.respond = self.teacher

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        average_statistics(self.teacher)
        return super().after_epoch(epoch)


class DistilledStage(ClassStage):
    """The student, with cross-entropy and the terms of the teacher; records the mean of every term."""

    def __init__(self, method: BlurredDistillation, data: TaskData) -> None:
        super().__init__(method, data, number=2)
        assert method.teacher is not None
        self.settings, self.student = method.settings, method.network
        self.teacher = method.teacher.requires_grad_(False).eval()
        self._sums: dict[str, Tensor] = {}
        self.blurred: BlurredFeatures | None = None
        if self.settings.features > 0:
            seed = method.config.seed, data.number
            channels = [map_shape(network, method.description)[0] for network in (self.student, self.teacher)]
            with seeded(*seed, OF_GENERATOR):
                blurred = BlurredFeatures(channels[0], channels[1], self.settings.masked)
            blurred.masks.manual_seed(int(np.random.SeedSequence((*seed, OF_MASKS)).generate_state(1)[0]))
            self.blurred = blurred.to(method.config.training.device)
            self.parameters = [*self.parameters, *blurred.parameters()]

    def loss(self, batch: TrainingSet) -> Tensor:
        with self._maps(self.student) as mine:
            logits = self.respond(batch.inputs)
        with torch.no_grad(), self._maps(self.teacher) as its:
            taught = self.teacher(batch.inputs)
        terms = {"cross_entropy": self.entropy(logits, batch.labels)}
        if self.settings.logits > 0:
            distance = weighted_distillation(logits, taught, batch.labels, self.settings.temperature)
            terms["logits"] = self.settings.logits * distance
        if self.blurred is not None:
            seen = self.student.decision(mine[0]), self.teacher.decision(its[0])
            terms["features"] = self.settings.features * self.blurred(*seen)
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, 0) + term.detach().double() * len(batch)
        return torch.stack(list(terms.values())).sum()

    def _maps(self, network: ExpandableNetwork) -> AbstractContextManager[list[Tensor]]:
        """The last feature maps, where they are compared: a network for the logits alone need not have any."""
        return last_maps(network) if self.blurred is not None else nullcontext([])

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        found = {f"loss_{name}": total(value).item() / len(self.data) for name, value in self._sums.items()}
        self._sums.clear()
        return {**super().after_epoch(epoch), **found}

    def state(self) -> dict[str, Any]:
        if self.blurred is None:
            return {}
        tensors = {name: t.detach().cpu().clone() for name, t in self.blurred.state_dict().items()}
        return {"blurred": tensors, "masks": self.blurred.masks.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        if self.blurred is not None:
            self.blurred.load_state_dict(state["blurred"])
            self.blurred.masks.set_state(state["masks"])


class BlurredFeatures(nn.Module):
    """How far a teacher's feature map is from what a generator makes of a student's blurred one.

    masked   the share of channels that each image's mask sets to zero, drawn anew in every call from `masks`

    Where the channels differ, a 1x1 convolution brings the student's to the number of the teacher's. The generator is
    that of Yang et al., "Masked generative distillation", ECCV 2022 (arXiv 2205.01529).
    """

    def __init__(self, student: int, teacher: int, masked: float) -> None:
        super().__init__()
        self.masked, self.masks = masked, torch.Generator()
        self.align = nn.Conv2d(student, teacher, 1) if student != teacher else nn.Identity()
        self.generator = nn.Sequential(
            nn.Conv2d(teacher, teacher, 3, padding=1), nn.ReLU(), nn.Conv2d(teacher, teacher, 3, padding=1)
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The squared distance, summed over features and averaged over images: maps ``(n, channels, height, width)``.

        The teacher's map is brought to the scale of the student's, the largest value of the batch to the largest. That
        scale is taken in front of the alignment and has no gradient: in the source it has one, and behind an alignment
        the distance falls to 0 as the alignment shrinks.
        """
        target = teacher / teacher.max().clamp(min=torch.finfo(teacher.dtype).tiny) * student.max().detach()
        student = self.align(student)
        drawn = torch.rand(len(student), student.shape[1], 1, 1, generator=self.masks)
        restored = self.generator(student * (drawn >= self.masked).to(student))
        return (restored - target).square().sum() / len(student)


@contextmanager
def last_maps(network: ExpandableNetwork) -> Iterator[list[Tensor]]:
    """Takes up the feature map ``(steps * n, channels, height, width)`` in front of the pooling, for every call."""
    found: list[Tensor] = []
    hook = _pooling(network).register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        hook.remove()


def map_shape(network: ExpandableNetwork, description: BackboneDescription) -> tuple[int, ...]:
    """Channels, height and width of the feature map in front of the pooling."""
    shape = description.image_shape
    image = torch.zeros(1, description.steps, *shape) if description.sequence else torch.zeros(1, *shape)
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), last_maps(network) as found:
        network.extractors[-1](time_first(image).to(device))
    return tuple(found[0].shape[1:])


def _pooling(network: ExpandableNetwork) -> nn.Module:
    pooling = getattr(network.extractors[-1], "pool", None)
    if not isinstance(pooling, nn.Module):
        raise UserError(
            f"{type(network.extractors[-1]).__name__} has no module `pool`, in front of which the last feature map is; "
            "name the backbone's last pooling so"
        )
    return pooling
