"""Learners on three tiny tasks: what grows, what stays frozen, what is suppressed and released, what is recorded."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from test_learning_synthetic import (
    PER_CLASS,
    QUOTA,
    SHAPE,
    STAGE,
    TASK_OF_LABEL,
    TASKS,
    WIDTH,
    images_of,
    learn,
    make_config,
    make_learner,
    same,
    task_data,
    weights,
)

from alade_brian.errors import UserError
from alade_brian.learning import METHODS, Learner, method_class
from alade_brian.learning.incremental import learner as learner_module
from alade_brian.learning.incremental.alignment import AlignmentController
from alade_brian.learning.incremental.methods.base import mean_features
from alade_brian.learning.stage import StageTrainer

ALIGNING = replace(STAGE, epochs=8, milestones=(6,), align_from=2)


@pytest.fixture
def watched(monkeypatch) -> list:
    """(stage, network) at every loss, after every step and after every stage, as calls of the added functions."""
    watchers: list = []

    class WatchedTrainer(StageTrainer):
        def __init__(self, stage, *arguments) -> None:
            super().__init__(stage, *arguments)
            loss, after_step = stage.loss, stage.after_step

            def watched_loss(batch):
                self.report("loss")
                return loss(batch)

            def watched_step() -> None:
                after_step()
                self.report("step")

            stage.loss, stage.after_step = watched_loss, watched_step
            self.report("begin")

        def report(self, moment: str) -> None:
            for watcher in watchers:
                watcher(moment, self.stage)

        def run_epoch(self) -> None:
            super().run_epoch()
            if self.finished:
                self.report("end")

    monkeypatch.setattr(learner_module, "StageTrainer", WatchedTrainer)
    return watchers


# Growth


@pytest.mark.parametrize(("method", "extractors"), [("alade", (1, 2, 3)), ("finetune", (1, 1, 1))])
def test_the_network_grows_with_every_task(method: str, extractors: tuple[int, ...]) -> None:
    learner = make_learner(make_config(method))
    assert learner.network.classes == 0
    for number, (count, classes) in enumerate(zip(extractors, (2, 3, 5), strict=True), start=1):
        learn(learner, number)
        assert learner.network.widths == (WIDTH,) * count
        assert learner.network.classifier.weight.shape == (classes, WIDTH * count)
        assert learner.network.classifier.bias is None
        assert not learner.network.training
        with torch.no_grad():
            assert learner.network(images_of(0)).shape == (PER_CLASS, classes)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    assert {"alade", "der", "finetune"} <= set(METHODS)
    with pytest.raises(UserError, match="'coil'.*alade.*finetune"):
        method_class("coil")
    with pytest.raises(UserError, match="'coil'"):
        Learner(make_config("coil"), SHAPE)


def test_finetune_does_not_rehearse() -> None:
    assert make_learner(make_config("alade")).rehearses is True
    assert make_learner(make_config("finetune")).rehearses is False


def test_finetune_keeps_the_old_classifier_when_new_classes_come() -> None:
    learner = make_learner(make_config("finetune"))
    learn(learner, 1)
    before = learner.network.classifier.weight.detach().clone()
    learner.method.begin_task(task_data(2, rehearses=False))
    assert torch.equal(learner.network.classifier.weight[:2], before)
    assert learner.network.classifier.weight[2].abs().min() > 0


# What stays


def test_old_extractors_never_change() -> None:
    learner = make_learner()
    learn(learner, 1)
    first = copy.deepcopy(learner.network.extractors[0].state_dict())
    learn(learner, 2)
    second = copy.deepcopy(learner.network.extractors[1].state_dict())
    learn(learner, 3)
    assert any("running_mean" in name for name in first) and any("running_var" in name for name in first)
    assert same(first, learner.network.extractors[0].state_dict())
    assert same(second, learner.network.extractors[1].state_dict())


def test_the_new_extractor_begins_as_the_last_one_and_is_trained() -> None:
    learner = make_learner()
    learn(learner, 1)
    learner.method.begin_task(task_data(2))
    first, second = learner.network.extractors
    assert same(first.state_dict(), second.state_dict())
    assert all(p.requires_grad for p in second.parameters())
    assert not any(p.requires_grad for p in first.parameters())
    learner = make_learner()
    learn(learner, 1, 2)
    first, second = (e.state_dict() for e in learner.network.extractors)
    assert not any(torch.equal(first[name], second[name]) for name in first)


def test_stage_2_touches_the_classifier_alone(watched) -> None:
    kept = {}

    def watch(moment: str, stage) -> None:
        if stage.number == 2 and moment in ("begin", "end"):
            kept[moment] = copy.deepcopy(stage.network.state_dict())

    watched.append(watch)
    learn(make_learner(), 1, 2)
    changed = {name for name, tensor in kept["begin"].items() if not torch.equal(tensor, kept["end"][name])}
    assert changed == {"classifier.weight"}


def test_finetune_changes_its_only_extractor() -> None:
    learner = make_learner(make_config("finetune"))
    learn(learner, 1)
    before = copy.deepcopy(learner.network.extractors[0].state_dict())
    learn(learner, 2)
    assert not any(torch.equal(tensor, learner.network.extractors[0].state_dict()[n]) for n, tensor in before.items())


# OtoN suppression and its release


def blocks(stage, task: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Parts of the classifier: new classes on old features, new on new, old classes on old features; copies."""
    weight, old, width = stage.network.classifier.weight.detach().clone(), TASKS[task - 1][0], WIDTH * (task - 1)
    return weight[old:, :width], weight[old:, width:], weight[:old, :width]


@pytest.mark.parametrize("task", [2, 3])
def test_new_classes_are_never_read_from_old_features_in_stage_1_and_are_in_stage_2(watched, task: int) -> None:
    learner, seen = make_learner(), {1: [], 2: []}
    learn(learner, *range(1, task))
    watched.append(lambda moment, stage: seen[stage.number].append((moment, *blocks(stage, task))))
    learn(learner, task)
    assert {moment for moment, *_ in seen[1]} == {"begin", "loss", "step", "end"}
    for _, new_on_old, new_on_new, old_on_old in seen[1]:
        assert not new_on_old.any()
        assert new_on_new.any(1).all() and old_on_old.any(1).all()
    assert seen[2][-1][1].abs().min() > 0


def test_without_release_stage_2_suppresses_too(watched) -> None:
    learner, seen = make_learner(make_config(release=False)), []
    learn(learner, 1)
    watched.append(lambda moment, stage: seen.append((stage.number, moment, *blocks(stage, 2))))
    learn(learner, 2)
    after = [entry for entry in seen if entry[0] == 2 and entry[1] != "begin"]
    assert len(after) > 2
    for _, _, new_on_old, new_on_new, old_on_old in after:
        assert not new_on_old.any()
        assert new_on_new.any() and old_on_old.any()
    assert not learner.network.classifier.weight[2:, :WIDTH].any()


def test_without_suppression_stage_1_reads_old_features(watched) -> None:
    learner, seen = make_learner(make_config(suppression=False)), []
    learn(learner, 1)
    watched.append(lambda moment, stage: seen.append((stage.number, blocks(stage, 2)[0])))
    learn(learner, 2)
    assert all(new_on_old.any() for number, new_on_old in seen if number == 1)


# Losses


def true_logit(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return logits[np.arange(len(labels)), labels]


@pytest.mark.parametrize("gamma", [0.0, 1.5, -0.75])
@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("kl", [True, False])
def test_the_loss_of_stage_1_by_scipy(gamma: float, auxiliary: bool, kl: bool) -> None:
    learner = make_learner(make_config(auxiliary=auxiliary, distillation=kl))
    learn(learner, 1)
    teacher, data = copy.deepcopy(learner.network), task_data(2)
    learner.method.begin_task(data)
    stage = learner.method.representation(data)
    stage.gamma = gamma
    network = learner.network.eval()
    with torch.no_grad():
        found = stage.loss(stage.data).item()
        logits = network(data.images).double().numpy()
        old = teacher(data.images).double().numpy()
        extra = network.auxiliary(network.mean_features(data.images, slice(1, 2))).double().numpy()
    labels = data.labels.numpy()
    raised = logits + gamma * np.array([0, 0, 1])
    expected = -true_logit(log_softmax(raised, 1), labels).mean()
    if kl:
        expected += rel_entr(softmax(old / 2, 1), softmax(logits[:, :2] / 2, 1)).sum(1).mean()
    if auxiliary:
        assert extra.shape[1] == 2
        expected -= true_logit(log_softmax(extra, 1), np.where(labels < 2, 0, labels - 1)).mean()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.5, -0.75])
def test_the_loss_of_stage_2_is_cross_entropy_of_the_raised_logits(gamma: float) -> None:
    learner, data = make_learner(), task_data(2)
    learn(learner, 1)
    learner.method.begin_task(data)
    stage = learner.method.finetuning(data, np.random.default_rng(0))
    stage.gamma = gamma
    logits = stage.data.inputs.double().numpy() @ learner.network.classifier.weight.detach().double().numpy().T
    raised = logits + gamma * np.array([0, 0, 1])
    expected = -true_logit(log_softmax(raised, 1), stage.data.labels.numpy()).mean()
    assert stage.loss(stage.data).item() == pytest.approx(expected, rel=1e-5)


def test_stage_2_sees_a_balanced_subset_of_features_and_a_fresh_classifier() -> None:
    learner, data = make_learner(), task_data(3)
    learn(learner, 1, 2)
    learner.method.begin_task(data)
    before = learner.network.train().classifier.weight.detach().clone()
    stage = learner.method.finetuning(data, np.random.default_rng(0))
    assert np.bincount(stage.data.labels.numpy()).tolist() == [QUOTA] * 5
    features = mean_features(learner.network, data.images)
    for row, label in zip(stage.data.inputs, stage.data.labels, strict=True):
        assert (features[data.labels == label] - row).abs().amax(1).min() < 1e-6
    assert learner.network.classifier.weight.shape == before.shape
    assert not torch.equal(learner.network.classifier.weight, before)
    assert not learner.network.training


@pytest.mark.parametrize("stage_class", ["stage 1", "stage 2"])
def test_an_epoch_reports_raw_true_class_logits_of_old_and_new_images(stage_class: str) -> None:
    learner, data = make_learner(), task_data(2)
    learn(learner, 1)
    learner.method.begin_task(data)
    stage = (
        learner.method.representation(data)
        if stage_class == "stage 1"
        else learner.method.finetuning(data, np.random.default_rng(0))
    )
    stage.gamma = 5.0
    # Two batches by hand: true-class logits 1 and 3 of old images, 6, 2 and 7 of new ones.
    raw = torch.tensor([[1.0, 9, 0], [9, 9, 6], [0, 3, 0]])
    assert stage.note(raw, torch.tensor([0, 2, 1])) is raw
    assert stage.with_gamma(raw).tolist() == [[1, 9, 5], [9, 9, 11], [0, 3, 5]]
    stage.note(torch.tensor([[0.0, 0, 2], [0, 0, 7]]), torch.tensor([2, 2]))
    norms = learner.network.classifier.weight.detach().norm(dim=1)
    means = {"norm_old": norms[:2].mean().item(), "norm_new": norms[2].item()}
    assert stage.after_epoch(0) == {"gamma": 5.0, "logit_old": 2.0, "logit_new": 5.0, **means}
    assert stage.gamma == 5.0  # align_from is 1
    # Every epoch begins its means anew; from align_from on the controller sets gamma.
    stage.note(torch.tensor([[1.0, 0, 0], [0, 0, 4]]), torch.tensor([0, 2]))
    assert stage.after_epoch(1) == {"gamma": 5.0, "logit_old": 1.0, "logit_new": 4.0, **means}
    assert stage.gamma == 3.0


# History


def test_history_has_a_record_per_epoch_of_every_stage() -> None:
    learner = make_learner()
    first, second, third = learn(learner, 1, 2, 3)
    assert [(r["stage"], r["epoch"]) for r in first.epochs] == [(1, 0), (1, 1)]
    known = {"stage", "epoch", "loss", "gamma", "logit_new", "norm_new"}  # there is nothing old yet
    assert all(set(r) == known and r["gamma"] == 0 for r in first.epochs)
    for history in (second, third):
        assert [(r["stage"], r["epoch"]) for r in history.epochs] == [(1, 0), (1, 1), (2, 0), (2, 1)]
        assert all(np.isfinite([r["loss"], r["gamma"], r["logit_old"], r["logit_new"]]).all() for r in history.epochs)
    assert (first.facts["logits_before_alignment"], first.facts["logits_after_alignment"]) == (None, None)
    assert [len(h.facts["logits_before_alignment"]) for h in (second, third)] == [2, 3]
    assert [len(h.facts["logits_after_alignment"]) for h in (second, third)] == [2, 3]


def test_history_of_finetune_has_one_stage_and_no_logits() -> None:
    for history in learn(make_learner(make_config("finetune")), 1, 2, 3):
        assert [(r["stage"], r["epoch"]) for r in history.epochs] == [(1, 0), (1, 1)]
        assert history.facts == {}


def test_history_is_ready_for_json() -> None:
    history = learn(make_learner(), 1, 2)[1].record()
    assert json.loads(json.dumps(history, allow_nan=False)) == history


@pytest.mark.parametrize("task", [2, 3])
def test_logits_after_alignment_are_those_of_the_finished_network(task: int) -> None:
    learner, data = make_learner(), task_data(task)
    history = learn(learner, *range(1, task + 1))[-1]
    with torch.no_grad():
        true = true_logit(learner.network(data.images).numpy(), data.labels.numpy())
    brought = np.array(TASK_OF_LABEL)[data.labels]
    expected = [true[brought == number].mean() for number in range(1, task + 1)]
    np.testing.assert_allclose(history.facts["logits_after_alignment"], expected, rtol=1e-4, atol=1e-5)
    assert history.facts["logits_before_alignment"] != history.facts["logits_after_alignment"]


def test_logits_before_alignment_are_those_of_the_epoch_in_which_it_begins(watched) -> None:
    learner, found, data = make_learner(make_config(stage=ALIGNING)), [], task_data(2)
    learn(learner, 1)

    def watch(moment: str, stage) -> None:
        if stage.number == 1 and moment in ("begin", "step"):
            network = copy.deepcopy(stage.network).eval()
            with torch.no_grad():
                found.append(true_logit(network(data.images).numpy(), data.labels.numpy()))

    watched.append(watch)
    history = learn(learner, 2)[0]
    batches = (len(found) - 1) // ALIGNING.epochs
    true, brought = found[batches * ALIGNING.align_from], np.array(TASK_OF_LABEL)[data.labels]
    expected = [true[brought == number].mean() for number in (1, 2)]
    np.testing.assert_allclose(history.facts["logits_before_alignment"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_gamma_is_what_the_controller_says_from_the_epoch_before(stage: int) -> None:
    history = learn(make_learner(make_config(stage=ALIGNING)), 1, 2)[1]
    controller, expected = AlignmentController(finetuning=stage == 2), 0.0
    records = [r for r in history.epochs if r["stage"] == stage]
    assert len(records) == ALIGNING.epochs
    for record in records:
        assert record["gamma"] == expected
        if record["epoch"] >= ALIGNING.align_from:
            expected = controller.update(record["logit_old"], record["logit_new"])
    assert any(record["gamma"] != 0 for record in records)


@pytest.mark.parametrize(("switch", "stage"), [("align_learning", 1), ("align_finetuning", 2)])
def test_alignment_can_be_switched_off_in_each_stage(switch: str, stage: int) -> None:
    history = learn(make_learner(make_config(stage=ALIGNING, **{switch: False})), 1, 2)[1]
    aligned = {r["stage"] for r in history.epochs if r["gamma"] != 0}
    assert aligned == {1, 2} - {stage}


@pytest.mark.parametrize("method", ["alade", "finetune"])
def test_progress_is_told_of_every_epoch(method: str) -> None:
    learner = make_learner(make_config(method))
    for number in (1, 2):
        calls = []
        history = learner.learn(task_data(number, learner.rehearses), lambda calls=calls: calls.append(1))
        assert len(calls) == len(history.epochs) == learner.epochs(first=number == 1)


# The auxiliary head


def test_the_auxiliary_head_lives_in_stage_1_and_is_gone_at_the_end(watched) -> None:
    learner, sizes = make_learner(), []

    def watch(moment: str, stage) -> None:
        if moment == "begin" and stage.number == 1:
            head = stage.network.auxiliary
            sizes.append(None if head is None else (head.in_features, head.out_features))

    watched.append(watch)
    for number in (1, 2, 3):
        learn(learner, number)
        assert learner.network.auxiliary is None
        assert not any("auxiliary" in name for name in learner.network.state_dict())
    # The first task has no old classes to tell the new ones from.
    assert sizes == [None, (WIDTH, 2), (WIDTH, 3)]


def test_the_auxiliary_head_learns(watched) -> None:
    heads = {}

    def watch(moment: str, stage) -> None:
        if stage.number == 1 and moment in ("begin", "end"):
            heads[moment] = copy.deepcopy(stage.network.auxiliary)

    learner = make_learner()
    learn(learner, 1)
    watched.append(watch)
    learn(learner, 2)
    assert not torch.equal(heads["begin"].weight, heads["end"].weight)


# Random numbers


@pytest.mark.parametrize("method", ["alade", "finetune"])
def test_a_seed_decides_every_bit(method: str) -> None:
    results = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(noise)
        learner = make_learner(make_config(method, seed=seed))
        learn(learner, 1, 2, 3)
        results.append(weights(learner))
    assert same(results[0], results[1])
    assert not any(
        torch.equal(results[0][name], results[2][name]) for name in results[0] if name.endswith((".weight", "_mean"))
    )


def test_every_task_draws_its_own_numbers(monkeypatch) -> None:
    drawn = []

    class Drawing(StageTrainer):
        def __init__(self, stage, generator, *arguments) -> None:
            super().__init__(stage, generator, *arguments)
            drawn.append((tuple(generator.permutation(50)), torch.rand(1).item()))

        finished = True

    monkeypatch.setattr(learner_module, "StageTrainer", Drawing)
    learn(make_learner(make_config("finetune")), 1, 2, 3)
    assert len(set(drawn)) == len({order for order, _ in drawn}) == len({number for _, number in drawn}) == 3


def test_learning_leaves_torchs_and_numpys_global_numbers_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learn(make_learner(), 1, 2)
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@pytest.mark.parametrize("switch", ["suppression", "distillation", "auxiliary", "align_learning"])
def test_every_switch_of_stage_1_changes_the_new_extractor(switch: str) -> None:
    results = []
    for on in (True, False):
        learner = make_learner(make_config(stage=ALIGNING, **{switch: on}))
        learn(learner, 1, 2)
        results.append(weights(learner))
    name = "extractors.1.stages.0.conv.weight"
    assert not torch.equal(results[0][name], results[1][name])
    name = "extractors.0.stages.0.conv.weight"
    assert torch.equal(results[0][name], results[1][name])


@pytest.mark.parametrize("switch", ["release", "align_finetuning"])
def test_every_switch_of_stage_2_changes_the_classifier_alone(switch: str) -> None:
    results = []
    for on in (True, False):
        learner = make_learner(make_config(stage=ALIGNING, **{switch: on}))
        learn(learner, 1, 2)
        results.append(weights(learner))
    changed = {name for name in results[0] if not torch.equal(results[0][name], results[1][name])}
    assert changed == {"classifier.weight"}


# Features


def test_features_are_time_means_in_eval_mode_and_lead_to_the_logits() -> None:
    learner = make_learner()
    learn(learner, 1, 2)
    images = torch.cat([images_of(c) for c in range(5)])
    found = learner.features(images.numpy())
    assert found.shape == (50, 2 * WIDTH) and found.dtype == np.float32
    # Spikes averaged over 3 steps and windows of 4: multiples of 1/12 from 0 to 1.
    np.testing.assert_allclose(found * 12, np.rint(found * 12), atol=1e-4)
    assert 0 == found.min() < found.max() <= 1
    with torch.no_grad():
        logits = learner.network(images).numpy()
    np.testing.assert_allclose(
        found @ learner.network.classifier.weight.detach().numpy().T, logits, rtol=1e-4, atol=1e-4
    )


def test_mean_features_in_parts_are_the_same_and_the_training_mode_stays() -> None:
    learner = make_learner()
    learn(learner, 1, 2)
    images = torch.cat([images_of(c) for c in range(5)])
    whole = mean_features(learner.network, images)
    network = learner.network.train()
    before = weights(learner)
    torch.testing.assert_close(mean_features(network, images, batch=7), whole)
    torch.testing.assert_close(mean_features(network, images, slice(None, -1)), whole[:, :WIDTH])
    torch.testing.assert_close(mean_features(network, images, slice(-1, None)), whole[:, WIDTH:])
    assert network.training and not network.extractors[0].training and network.extractors[1].training
    assert same(before, weights(learner))
