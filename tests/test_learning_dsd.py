"""DSD-SNN: units that grow, are pruned and are frozen; an old sub-network spikes as before, in Brian2, after every task."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from networks import NUMPY, assert_same
from test_learning_synthetic import PER_CLASS, SHAPE, STAGE, images_of, one_thread, same, weights
from torch import nn

from alade_brian.config.run import DsdConfig, NetworkConfig, RunConfig
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.learning import Learner, TaskData, TaskHistory
from alade_brian.learning.incremental import learner as learner_module
from alade_brian.learning.incremental.units import Units
from alade_brian.simulation import simulate

# Of 12 units a layer: 4 in the first task, 3 more in each of the others.
UNITS, FIRST, MORE = 12, 4, 3
NETWORK = NetworkConfig(channels=(UNITS, UNITS), strides=(1, 1), pool=2, steps=3)
SETTINGS = DsdConfig(initial=0.35, growth=0.25, prune=False)
LONGER = dataclasses.replace(STAGE, epochs=4)
PRUNING = dataclasses.replace(SETTINGS, prune=True, credit=0.3)


def task_data(number: int) -> TaskData:
    """Two new classes in every task, and no exemplars."""
    new = (2 * number - 2, 2 * number - 1)
    labels = torch.tensor(new).repeat_interleave(PER_CLASS)
    brought = torch.arange(1, number + 1).repeat_interleave(2)
    return TaskData(number, torch.cat([images_of(c) for c in new]), labels, new[0], new[1] + 1, 0, brought)


def learn(learner: Learner, *numbers: int) -> list[TaskHistory]:
    with one_thread():
        return [learner.learn(task_data(number)) for number in numbers]


def make_learner(settings: DsdConfig = SETTINGS, network: NetworkConfig = NETWORK) -> Learner:
    config = RunConfig(method="dsd", seed=3, network=network, learning=LONGER, dsd=settings)
    return Learner(config, SHAPE)


def used(learner: Learner) -> list[torch.Tensor]:
    return [layer.used.clone() for layer in learner.method.units.layers]


def old_rows(learner: Learner, units: list[torch.Tensor], classes: int) -> dict[str, torch.Tensor]:
    """Every number of some units, and the first rows of the classifier."""
    found = {}
    for name, tensor in weights(learner).items():
        if "stages" in name and tensor.ndim:
            found[name] = tensor[units[int(name.split("stages.")[1][0])]]
    return found | {"classifier": learner.network.classifier.weight.detach()[:classes].clone()}


# Bookkeeping


def test_the_first_task_takes_the_first_units_and_leaves_the_others_silent() -> None:
    learner = make_learner()
    learn(learner, 1)
    first = torch.arange(UNITS) < FIRST
    assert all(torch.equal(units, first) for units in used(learner))
    one, two = learner.network.extractors[0].stages
    for stage in (one, two):
        assert stage.conv.weight[first].any() and not stage.conv.weight[~first].any()
        assert stage.norm.weight[~first].eq(1).all() and not stage.norm.bias[~first].any()
        assert not stage.norm.running_mean[~first].any() and stage.norm.running_var[~first].eq(1).all()
    assert two.conv.weight[first][:, first].ne(0).all() and not two.conv.weight[:, ~first].any()
    heads = learner.network.classifier.weight.unflatten(1, (UNITS, -1))
    assert heads[:, first].ne(0).all() and not heads[:, ~first].any()


def test_new_units_read_old_ones_and_old_ones_never_read_new_ones() -> None:
    learner = make_learner()
    learn(learner, 1, 2)
    old, new = torch.arange(UNITS) < FIRST, (torch.arange(UNITS) >= FIRST) & (torch.arange(UNITS) < FIRST + MORE)
    second = learner.network.extractors[0].stages[1].conv.weight
    assert second[new][:, old | new].ne(0).all()
    assert not second[old][:, new].any() and not second[new][:, ~(old | new)].any()
    heads = learner.network.classifier.weight.unflatten(1, (UNITS, -1))
    assert not heads[:2, new].any() and heads[2:, old | new].ne(0).all()


def test_the_numbers_of_old_units_stay_to_the_last_bit_and_the_new_ones_are_trained() -> None:
    learner = make_learner()
    learn(learner, 1)
    for number in (2, 3):
        units, classes = used(learner), learner.network.classes
        before, start = old_rows(learner, units, classes), weights(learner)
        learn(learner, number)
        assert same(before, old_rows(learner, units, classes))
        new = [now & ~then for now, then in zip(used(learner), units, strict=True)]
        assert all(int(units.sum()) == MORE for units in new)
        for name, tensor in weights(learner).items():
            if "stages" in name and tensor.ndim:
                row = new[int(name.split("stages.")[1][0])]
                assert not torch.equal(tensor[row], start[name][row]), name


def test_rounding_in_the_mean_over_processes_does_not_reach_old_units(monkeypatch) -> None:
    learner = make_learner()
    learn(learner, 1)
    units = used(learner)
    before = old_rows(learner, units, 2)

    def rounded(network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += 1e-3

    monkeypatch.setattr(learner_module, "average_statistics", rounded)
    again, states = make_learner(), []
    again.take(copy.deepcopy(learner.network))
    with one_thread():
        learner.learn(task_data(2), keep=lambda state: states.append(copy.deepcopy(state())))
        again.learn(task_data(2), state=states[1])
    assert same(before, old_rows(learner, units, 2)) and same(weights(learner), weights(again))


def test_kernels_begin_within_the_bound_of_what_they_read() -> None:
    learner = make_learner()
    with one_thread():
        learner.method.begin_task(task_data(1))
    for stage, inputs in zip(learner.network.extractors[0].stages, (1, FIRST), strict=True):
        largest = stage.conv.weight[:FIRST].abs().max().item()
        assert 0.7 / math.sqrt(9 * inputs) < largest <= 1 / math.sqrt(9 * inputs)


def test_the_loss_is_cross_entropy_over_the_task_s_own_classes() -> None:
    learner, data = make_learner(), task_data(3)
    learn(learner, 1, 2)
    learner.method.begin_task(data)
    (stage,) = learner.method.stages(data, np.random.default_rng(0))
    learner.network.eval()
    with torch.no_grad():
        logits = learner.network(data.images)[:, 4:].double()
        expected = (torch.logsumexp(logits, 1) - logits[torch.arange(len(logits)), data.labels - 4]).mean()
        assert stage.loss(stage.data).item() == pytest.approx(expected.item(), rel=1e-5)


def test_while_new_units_learn_old_ones_spike_as_in_evaluation() -> None:
    learner, data = make_learner(), task_data(2)
    learn(learner, 1)
    learner.method.begin_task(data)
    (stage,) = learner.method.stages(data, np.random.default_rng(0))
    seen: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for module in learner.network.extractors[0].stages:
        module.lif.register_forward_hook(lambda m, i, output: seen[m.training].append(output[:, :FIRST]))
    with stage.guard.training(), torch.no_grad():
        learner.network.train()(data.images)
    stage.after_step()
    learner.network.eval()(data.images)
    assert len(seen[True]) == 2
    for training, evaluation in zip(seen[True], seen[False], strict=True):
        assert training.any() and torch.equal(training, evaluation)


# In Brian2


def rasters(learner: Learner, images: np.ndarray, units: list[torch.Tensor]) -> Iterator[np.ndarray]:
    """Spikes of some units in Brian2, layer by layer: ``(images, steps, units, pixels)``."""
    spec = convert(learner.network, SHAPE)
    spikes = simulate(spec, images, NUMPY).spikes
    for population, mine in zip(spec.spiking, units, strict=True):
        found = spikes[population.name]
        yield found.reshape(*found.shape[:2], UNITS, -1)[:, :, mine.numpy()]


@pytest.mark.parametrize("moving", [False, True])
def test_an_old_sub_network_spikes_in_brian2_as_before_unless_batch_norm_moves(moving: bool) -> None:
    learner = make_learner(dataclasses.replace(SETTINGS, moving_norm=moving))
    images = torch.cat([images_of(label)[:3] for label in range(6)]).numpy()
    learn(learner, 1)
    for number in (2, 3):
        units = used(learner)
        before = list(rasters(learner, images, units))
        learn(learner, number)
        after = list(rasters(learner, images, units))
        differing = [int((one != other).sum()) for one, other in zip(before, after, strict=True)]
        assert all(spikes.any() for spikes in before)
        assert sum(differing) == 0 if not moving else all(count > 0 for count in differing)


def test_brian2_spikes_as_torch_after_every_task_with_pruned_units_too() -> None:
    learner = make_learner(PRUNING)
    images = torch.cat([images_of(label)[:4] for label in range(6)]).double().numpy()
    for number in (1, 2, 3):
        learn(learner, number)
        assert_same(learner.network, images)
    assert any(0 < int(units.sum()) < FIRST + 2 * MORE for units in used(learner))


# Pruning


def test_a_pruned_unit_becomes_free_nobody_reads_it_and_it_can_grow_again() -> None:
    learner = make_learner(PRUNING)
    (history,) = learn(learner, 1)
    record = history.epochs[-1]
    gone = [~units & (torch.arange(UNITS) < FIRST) for units in used(learner)]
    assert all(units.any() for units in gone)
    assert record["units"] == [FIRST - int(units.sum()) for units in gone]
    one, two = learner.network.extractors[0].stages
    for stage, units in ((one, gone[0]), (two, gone[1])):
        assert not stage.conv.weight[units].any() and stage.norm.running_var[units].eq(1).all()
    assert not two.conv.weight[:, gone[0]].any()
    assert not learner.network.classifier.weight.unflatten(1, (UNITS, -1))[:, gone[1]].any()
    with one_thread():
        learner.method.begin_task(task_data(2))
    for layer, units in zip(learner.method.units.layers, gone, strict=True):
        assert layer.own[units].all()


def test_with_much_credit_nothing_is_pruned() -> None:
    learner = make_learner(dataclasses.replace(PRUNING, credit=5.0))
    (history,) = learn(learner, 1)
    assert history.epochs[-1]["units"] == [FIRST, FIRST]


def test_units_of_earlier_tasks_are_never_pruned() -> None:
    learner = make_learner(dataclasses.replace(PRUNING, rho=(0.0, 1.9)))
    learn(learner, 1)
    first = used(learner)
    learn(learner, 2)
    for units, then in zip(used(learner), first, strict=True):
        assert torch.equal(units & then, then) and int(units.sum()) < FIRST + MORE


# Histories and states


def test_every_epoch_says_how_many_units_and_weights_there_are() -> None:
    learner = make_learner()
    first, second = learn(learner, 1, 2)
    both = FIRST + MORE
    assert [r["units"] for r in first.epochs] == [[FIRST, FIRST]] * LONGER.epochs
    assert second.epochs[-1]["units"] == [both, both] and second.epochs[-1]["own_units"] == [MORE, MORE]
    assert first.epochs[-1]["weights"] == 9 * (FIRST + FIRST * FIRST)
    assert second.epochs[-1]["weights"] == 9 * (both + FIRST * FIRST + MORE * both)
    assert json.loads(json.dumps(dataclasses.asdict(second), allow_nan=False)) == dataclasses.asdict(second)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_task_resumed_at_any_epoch_ends_as_one_that_was_never_stopped(number: int, epoch: int) -> None:
    learner, states = make_learner(PRUNING), []
    learn(learner, *range(1, number))
    checkpoint = copy.deepcopy(learner.network) if number > 1 else None
    data = task_data(number)
    with one_thread():
        whole = learner.learn(data, keep=lambda state: states.append(copy.deepcopy(state())))
        again = make_learner(PRUNING)
        if checkpoint is not None:
            again.take(checkpoint)
        resumed = again.learn(data, state=states[epoch - 1])
    assert whole == resumed and whole.epochs[-1]["own_units"] != whole.epochs[0]["own_units"]
    assert same(weights(learner), weights(again))


def test_what_is_used_is_read_off_the_weights() -> None:
    learner = make_learner(PRUNING)
    learn(learner, 1, 2)
    found = Units(learner.network.extractors[0])
    assert all(torch.equal(layer.fixed, units) for layer, units in zip(found.layers, used(learner), strict=True))
    assert not any(layer.own.any() for layer in found.layers)


# Refusals


def test_other_backbones_are_refused() -> None:
    with pytest.raises(UserError, match=r"network\.backbone is 'resnet19'.*shortcuts.*'small'"):
        make_learner(network=dataclasses.replace(NETWORK, backbone="resnet19"))


@pytest.mark.parametrize("key", ["init_cls", "increment"])
def test_tasks_of_one_class_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"{key} is 1.*at least 2"):
        Learner(RunConfig(method="dsd", network=NETWORK, **{key: 1}), SHAPE)


def test_too_many_tasks_are_refused_before_training_where_that_can_be_known() -> None:
    make_learner().method.check([2] * 3)
    with pytest.raises(UserError, match=r"4 tasks.*13 of the 12 units.*dsd\.growth"):
        make_learner().method.check([2] * 4)
    make_learner(PRUNING).method.check([2] * 100)


def test_a_last_task_of_one_class_is_refused() -> None:
    make_learner().method.check([3, 3, 2])
    with pytest.raises(UserError, match="leave 1 of 7 classes for the last task.*'dsd'"):
        make_learner().method.check([3, 3, 1])


def test_the_last_free_units_are_taken_with_a_warning_and_none_is_an_error(caplog) -> None:
    learner = make_learner(dataclasses.replace(SETTINGS, initial=0.85))
    learn(learner, 1)
    assert not caplog.records
    learn(learner, 2)
    assert "grows 2 units in stages.0" in caplog.text
    assert all(units.all() for units in used(learner))
    with pytest.raises(UserError, match=r"task 3.*no free unit in stages\.0.*12 units.*dsd\.growth"):
        learn(learner, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"initial": 0.0}, "dsd.initial is 0.0"),
        ({"growth": 1.5}, "dsd.growth is 1.5"),
        ({"rho": (0.8,)}, "dsd.rho is a list of two numbers"),
        ({"rho": (0.8, 2.0)}, "from 0 to below 2"),
        ({"credit": -1.0}, "dsd.credit is -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        DsdConfig(**settings)
