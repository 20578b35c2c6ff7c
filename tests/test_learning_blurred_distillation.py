"""Blurred distillation: its losses by hand and by autograd, who teaches, resuming, and what is never exported."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import assert_same, convert
from test_learning_dsr import IMAGE_SHAPE, two_classes
from test_learning_resume import stored
from test_learning_synthetic import one_thread, same, weights
from torch import Tensor, nn

from alade_brian.config.run import BlurredDistillationConfig, RunConfig, TeacherConfig, config_from, to_mapping
from alade_brian.config.sections import NetworkConfig, StageConfig
from alade_brian.conversion.nir_graphs.write import to_nir
from alade_brian.errors import UserError
from alade_brian.learning import Learner
from alade_brian.learning.architectures import backbone_description, rectified
from alade_brian.learning.checkpoint import load_checkpoint, save_checkpoint, save_network
from alade_brian.learning.losses import weighted_distillation
from alade_brian.learning.rules.blurred_distillation import BlurredFeatures, last_maps, map_shape
from alade_brian.models import SpikingNeuron
from alade_brian.models.networks.rectified import Rectifier, rectified_network

NETWORK = NetworkConfig(
    backbone="sew", channels=(4, 6), strides=(1, 2), pool=2, steps=4, neuron="IF", neuron_options={"comparison": ">="}
)
STAGE = StageConfig(epochs=3, batch_size=16, learning_rate=0.05, schedule="cosine")
TEACHER = TeacherConfig(channels=(5, 8), learning=STAGE)
BOTH = BlurredDistillationConfig(features=0.05, teacher=TEACHER)
HEADER = {"image_shape": list(IMAGE_SHAPE), "dataset": "digits", "classes": [0, 1]}


def config(settings: BlurredDistillationConfig = BOTH, **changes: Any) -> RunConfig:
    given = {"method": "blurred-distillation", "network": NETWORK, "learning": STAGE, **changes}
    return RunConfig(blurred_distillation=settings, **given)


def learnt(settings: RunConfig) -> Learner:
    learner = Learner(settings, IMAGE_SHAPE)
    with one_thread():
        learner.learn(two_classes())
    return learner


@pytest.fixture(scope="module")
def taught() -> Learner:
    return learnt(config())


def given(path: Path, learner: Learner, **header: Any) -> RunConfig:
    """A configuration with the teacher of a learner in a checkpoint."""
    companion = learner.method.companions()["teacher"]
    save_network(path, companion.network, companion.architecture, {**HEADER, **header})
    teacher = dataclasses.replace(TEACHER, checkpoint=str(path))
    return config(dataclasses.replace(BOTH, teacher=teacher))


def test_the_weight_of_a_logit_term_by_hand() -> None:
    """Student and teacher say the same of the first image; of the second the student is right, the teacher wrong."""
    student = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(9.0)]], dtype=torch.float64)
    teacher = torch.tensor([[math.log(3.0), 0.0], [math.log(9.0), 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    root = math.sqrt(3.0)
    first = (1 - math.exp(-1)) * -(root * math.log(root) - (1 + root) * math.log(1 + root)) / (1 + root)
    # At temperature 2 the teacher gives 3/4 and 1/4, the student 1/4 and 3/4.
    weight = 1 - math.exp(-math.log(10 / 9) / math.log(10))
    second = weight * -(0.75 * math.log(0.25) + 0.25 * math.log(0.75))
    found = weighted_distillation(student, teacher, labels, 2.0)
    assert found.item() == pytest.approx(4 * (first + second) / 2, rel=1e-6)


def test_the_gradient_of_the_logit_term_passes_the_student_alone_and_no_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels, temperature = torch.arange(6) % 4, 3.0
    student.requires_grad_()
    weighted_distillation(student, teacher, labels, temperature).backward()
    rows = torch.arange(6)
    entropies = [-torch.log_softmax(x.detach(), 1)[rows, labels] for x in (student, teacher)]
    weight = (1 - torch.exp(-entropies[0] / entropies[1]))[:, None]
    gap = torch.softmax(student.detach() / temperature, 1) - torch.softmax(teacher / temperature, 1)
    torch.testing.assert_close(student.grad, temperature * weight * gap / 6, rtol=1e-6, atol=1e-9)


def passing(channels: int, masked: float = 0.0) -> BlurredFeatures:
    """A generator that gives back what it is shown, of maps that are not negative."""
    blurred = BlurredFeatures(channels, channels, masked).double()
    for module in (blurred.generator[0], blurred.generator[2]):
        nn.init.dirac_(module.weight)
        nn.init.zeros_(module.bias)
    return blurred


def test_the_distance_of_features_by_hand() -> None:
    # The teacher's largest value is 8, the student's 2: its map counts a quarter.
    student = torch.tensor([2.0, 1.0, 0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 2)
    teacher = torch.tensor([4.0, 8.0, 0.0, 0.0], dtype=torch.float64).reshape(2, 1, 1, 2)
    # (2 - 1)^2 + (1 - 2)^2 of the first image, 0 + 1 of the second.
    assert passing(1)(student, teacher).item() == pytest.approx(3 / 2)
    silent = torch.zeros_like(teacher)
    assert passing(1)(student, silent).item() == pytest.approx(6 / 2)


def test_the_target_cannot_be_shrunk_by_the_alignment() -> None:
    """The teacher's largest value becomes the student's, whatever the alignment makes of it, and has no gradient."""
    blurred = BlurredFeatures(1, 2, 0.0).double()
    for parameter in blurred.parameters():
        nn.init.zeros_(parameter)
    student = torch.full((1, 1, 1, 2), 3.0, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([4.0, 2.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 2, 1, 2)
    distance = blurred(student, teacher)
    assert distance.item() == pytest.approx(3.0**2 + 1.5**2)
    distance.backward()
    assert student.grad is not None and not student.grad.any()


def test_whole_channels_of_single_images_are_masked() -> None:
    blurred = BlurredFeatures(32, 32, 0.15)
    blurred.masks.manual_seed(0)
    shown: list[Tensor] = []
    blurred.generator.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    student = torch.rand(64, 32, 3, 3) + 0.1
    for _ in range(2):
        blurred(student, student)
    kept = (shown[0] == student).all((2, 3))
    assert torch.equal(kept, ~(shown[0] == 0).all((2, 3)))
    assert 1 - kept.double().mean().item() == pytest.approx(0.15, abs=0.02)
    # Neither the same for all images nor for all channels, and another one every time.
    assert len(kept.unique(dim=0)) > 1 and len(kept.unique(dim=1)) > 1
    assert not torch.equal(shown[0], shown[1])


def test_gradients_of_the_features_term_are_autograds() -> None:
    torch.manual_seed(0)
    blurred = BlurredFeatures(3, 4, 0.3).double()
    student, teacher = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.rand(3, 4, 4, 4, dtype=torch.float64)
    # Its largest value sets the scale, which has no gradient.
    largest = torch.full((1, 3, 4, 4), 2.0, dtype=torch.float64)

    def distance(maps: Tensor) -> Tensor:
        blurred.masks.manual_seed(2)
        return blurred(torch.cat([maps, largest]), teacher)

    assert torch.autograd.gradcheck(distance, (student.requires_grad_(),))
    distance(student).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in blurred.parameters())


def test_without_both_terms_it_is_plain_training() -> None:
    alone = BlurredDistillationConfig(logits=0.0, features=0.0, teacher=TEACHER)
    learner = learnt(config(alone))
    assert learner.method.companions() == {}
    assert same(weights(learner), weights(learnt(config(alone, method="plain"))))


@pytest.mark.parametrize(("logits", "features"), [(1.0, 0.0), (0.0, 0.05)])
def test_each_term_changes_what_is_learnt(taught: Learner, logits: float, features: float) -> None:
    one = learnt(config(dataclasses.replace(BOTH, logits=logits, features=features)))
    assert not same(weights(one), weights(taught))
    # Of the same seed, all are taught by the same.
    its, others = (x.method.companions()["teacher"].network.state_dict() for x in (one, taught))
    assert all(torch.equal(its[name], others[name]) for name in its)


def test_the_terms_are_recorded_and_add_up() -> None:
    learner = Learner(config(), IMAGE_SHAPE)
    with one_thread():
        records = learner.learn(two_classes()).epochs
    assert [record["stage"] for record in records] == [1, 1, 1, 2, 2, 2] and learner.epochs(True) == 6
    for record in records[3:]:
        parts = [record[f"loss_{term}"] for term in ("cross_entropy", "logits", "features")]
        assert min(parts) > 0 and record["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_a_teacher_from_a_checkpoint_teaches_as_the_one_that_was_trained_here(taught: Learner, tmp_path: Path) -> None:
    again = learnt(given(tmp_path / "teacher.safetensors", taught))
    assert again.epochs(True) == 3 and again.method.companions() == {}
    assert same(weights(again), weights(taught))


def test_every_epoch_can_be_the_last_before_a_stop() -> None:
    """Those of the teacher too, which is not trained twice."""
    kept: list[dict[str, Any]] = []
    whole = Learner(config(), IMAGE_SHAPE)
    with one_thread():
        history = whole.learn(two_classes(), keep=lambda state: kept.append(stored(state())))
        assert [state["stage"] for state in kept] == [0, 0, 0, 1, 1, 1]
        for state in kept:
            again, epochs = Learner(config(), IMAGE_SHAPE), []
            found = again.learn(two_classes(), progress=lambda epochs=epochs: epochs.append(1), state=state)
            assert len(epochs) == 6 - len(state["fitting"]["history"]) - 3 * state["stage"]
            assert same(weights(again), weights(whole)) and found == history


def test_it_learns_and_its_spikes_are_brian2s() -> None:
    longer = dataclasses.replace(STAGE, epochs=16)
    learner = Learner(config(learning=longer), IMAGE_SHAPE)
    with one_thread():
        records = learner.learn(two_classes()).epochs
    assert records[2]["training_accuracy"] >= 0.9 and records[-1]["training_accuracy"] >= 0.9
    assert_same(learner.network, two_classes().images[:6].numpy(), spec=convert(learner.network, IMAGE_SHAPE))


def test_generator_and_alignment_are_never_exported(taught: Learner, tmp_path: Path) -> None:
    plain = learnt(config(method="plain"))
    checkpoints = {}
    for name, learner in (("taught", taught), ("plain", plain)):
        save_checkpoint(path := tmp_path / name, learner.network, learner.config, HEADER)
        checkpoints[name] = {key: value.shape for key, value in load_checkpoint(path)[0].state_dict().items()}
    assert checkpoints["taught"] == checkpoints["plain"]
    specs = [convert(learner.network, IMAGE_SHAPE) for learner in (taught, plain)]
    one, other = ([(p.name, p.shape) for p in spec.populations] for spec in specs)
    assert one == other and len(one) > 1
    one, other = ([(p.name, p.operator.values().shape) for p in spec.projections] for spec in specs)
    assert one == other and len(one) > 1
    graphs = [to_nir(spec) for spec in specs]
    assert set(graphs[0].nodes) == set(graphs[1].nodes)


def test_a_teacher_has_no_spikes_and_is_read_back(taught: Learner, tmp_path: Path) -> None:
    description = backbone_description(dataclasses.replace(NETWORK, steps=1), IMAGE_SHAPE, False)
    torch.manual_seed(0)
    network = rectified_network(description, 2)
    modules = list(network.modules())
    assert not any(isinstance(m, SpikingNeuron) for m in modules)
    # Stem, twice in the block, and its shortcut.
    assert sum(isinstance(m, Rectifier) for m in modules) == 4
    save_network(tmp_path / "teacher", network, rectified(description, 2), HEADER)
    again, _ = load_checkpoint(tmp_path / "teacher")
    images = two_classes().images
    torch.testing.assert_close(again(images), network.eval()(images), rtol=0, atol=0)
    block, stem = network.extractors[0].blocks[0], network.extractors[0].stem
    with torch.no_grad(), last_maps(network) as found:
        network(images)
        x = stem.norm(stem.conv(images)).relu()
        inner = block.norm1(block.conv1(x)).relu()
        shortcut = block.shortcut.norm(block.shortcut.conv(x)).relu()
        torch.testing.assert_close(found[0], block.norm2(block.conv2(inner)).relu() + shortcut)
    assert map_shape(network, description) == (6, 2, 2) == tuple(found[0].shape[1:])


@pytest.mark.parametrize(
    ("header", "classes", "message"),
    [
        ({}, 3, "has 2 outputs, but the run has 3 classes; give a teacher of the run's classes"),
        ({"dataset": "omniglot"}, 2, "knows the classes [0, 1] of 'omniglot', not those of 'digits'"),
        ({"classes": [1, 0]}, 2, "knows the classes [1, 0] of 'digits', not those of 'digits' in the run's order"),
        ({"image_shape": [1, 8, 8]}, 2, "takes images of (1, 8, 8), not (1, 4, 4)"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    taught: Learner, tmp_path: Path, header: dict[str, Any], classes: int, message: str
) -> None:
    learner = Learner(given(tmp_path / "teacher", taught, **header), IMAGE_SHAPE)
    with pytest.raises(UserError) as refused:
        learner.method.check([classes])
    assert message in str(refused.value)


def test_teachers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wide = dataclasses.replace(TEACHER, channels=(4, 4, 4))
    with pytest.raises(UserError, match=r"section 'blurred_distillation.teacher' does not fit"):
        Learner(config(dataclasses.replace(BOTH, teacher=wide)), IMAGE_SHAPE).method.check([2])
    other = dataclasses.replace(
        BOTH, teacher=dataclasses.replace(TEACHER, backbone="resnet19", channels=None, width=0.02)
    )
    with pytest.raises(UserError, match=r"last feature map has 1x1 places, the student's 2x2"):
        Learner(config(other), IMAGE_SHAPE).method.check([2])
    # Logits alone need no maps of the same size.
    Learner(config(dataclasses.replace(other, features=0.0)), IMAGE_SHAPE).method.check([2])
    missing = dataclasses.replace(BOTH, teacher=dataclasses.replace(TEACHER, checkpoint=str(tmp_path / "none")))
    with pytest.raises(UserError, match="there is no checkpoint"):
        Learner(config(missing), IMAGE_SHAPE).method.check([2])


def test_values_are_refused() -> None:
    data = dataclasses.replace(two_classes(), targets=torch.zeros(48, 2))
    with pytest.raises(UserError, match="'blurred-distillation' learns classes, but the targets are values"):
        Learner(config(), IMAGE_SHAPE).learn(data)


def test_its_section_is_recorded_where_it_counts_or_was_changed() -> None:
    assert "blurred_distillation" not in to_mapping(RunConfig())
    assert "blurred_distillation" in to_mapping(RunConfig(method="blurred-distillation"))
    changed = RunConfig(blurred_distillation=BlurredDistillationConfig(masked=0.5))
    assert config_from(to_mapping(changed), "test") == changed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logits": -1.0}, "blurred_distillation.logits is -1.0; use a weight of 0 or more"),
        ({"masked": 1.0}, "blurred_distillation.masked is 1.0; use a fraction"),
        ({"temperature": 0.0}, "blurred_distillation.temperature is 0.0; use a positive number"),
        ({"teacher": {"channels": [0]}}, r"teacher.channels is \[0\]; use positive numbers"),
        ({"teacher": {"width": -1}}, "teacher.width is -1.0; use a positive number"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_from({"blurred_distillation": settings}, "test")


def test_a_teachers_files_are_found_from_any_folder() -> None:
    mapping = {"blurred_distillation": {"teacher": {"checkpoint": "teacher.safetensors"}}}
    found = config_from(mapping, "test").blurred_distillation.teacher.checkpoint
    assert found == str(Path("teacher.safetensors").absolute())
