"""iCaRL: a network whose readout is the means of its exemplars decides by the nearest of them, in Brian2 too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import assert_same
from test_learning_methods import exemplars, learn, logits, make_learner, settings, stored, task_data
from test_learning_synthetic import PER_CLASS, SHAPE, images_of, one_thread, weights

from alade_brian.learning.incremental.methods.icarl import exemplar_means


def test_exemplar_means_by_hand() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 5.0], [8.0, 0.0], [0.0, 0.0]])
    # Of length one: (0.6, 0.8) and (0, 1), whose mean (0.3, 0.9) has the length sqrt(0.9); a silent exemplar adds zero.
    expected = np.array([[0.3, 0.9], [np.sqrt(0.9), 0]]) / np.sqrt(0.9)
    found = exemplar_means(features, torch.tensor([0, 0, 1, 1]), 2)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


def test_a_class_whose_exemplars_are_all_silent_has_a_mean_of_zero() -> None:
    assert exemplar_means(torch.tensor([[0.0, 0], [1, 0]]), torch.tensor([1, 0]), 2).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("labels", [[0, 2, 2], [0, 1, 3], [0, 0, 0]])
def test_a_class_without_exemplars_is_an_error(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="3 classes, but"):
        exemplar_means(torch.ones(3, 2), torch.tensor(labels), 3)


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_icarl_decides_as_a_search_for_the_nearest_mean(tasks: int) -> None:
    learner = make_learner(settings("icarl"))
    learn(learner, *range(1, tasks + 1))
    classes = 2 * tasks
    rows = learner.network.classifier.weight.detach().double().numpy()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    images = np.random.default_rng(0).normal(0, 1, (200, *SHAPE)).astype(np.float32)
    kept, labels = exemplars(classes)
    of_kept, of_images = (learner.features(x).astype(float) for x in (kept.numpy(), images))
    of_kept = of_kept / np.linalg.norm(of_kept, axis=1, keepdims=True)
    of_images = of_images / np.linalg.norm(of_images, axis=1, keepdims=True)
    means = np.stack([of_kept[labels.numpy() == c].mean(0) for c in range(classes)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = [np.argmin([np.sum((x - mean) ** 2) for mean in means]) for x in of_images]
    assert len(set(nearest)) == classes
    assert logits(learner.network, torch.from_numpy(images)).argmax(1).tolist() == nearest


def test_icarl_goes_on_learning_with_the_classifier_that_was_trained() -> None:
    learner = make_learner(settings("icarl"))
    with one_thread():
        learner.learn(task_data(1, learner))
    trained = weights(learner)["classifier.weight"]
    learner.method.remember(*exemplars(2))
    means = weights(learner)["classifier.weight"]
    # Twice does no harm.
    learner.method.remember(*exemplars(2))
    assert torch.equal(weights(learner)["classifier.weight"], means) and not torch.equal(means, trained)
    assert torch.equal(learner.method.trained, trained)
    learner.method.begin_task(task_data(2, learner))
    assert torch.equal(learner.network.classifier.weight[:2], trained)
    assert torch.equal(learner.method.teacher.classifier.weight, trained)
    assert learner.method.trained is None


def test_icarl_in_brian2_decides_by_the_nearest_mean() -> None:
    learner = make_learner(settings("icarl"))
    learn(learner, 1, 2)
    images = torch.cat([images_of(label) for label in range(4)])
    found = assert_same(learner.network, images.double().numpy())
    kept, labels = exemplars(4)
    means = exemplar_means(torch.from_numpy(learner.features(kept.numpy())), labels, 4).numpy()
    features = learner.features(images.numpy()).astype(float)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    nearest = ((features[:, None] - means) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(found.logits_brian2.argmax(1), nearest)
    assert (nearest == np.repeat(np.arange(4), PER_CLASS)).mean() > 0.9


def test_the_state_of_icarl_is_its_trained_classifier_to_the_last_bit() -> None:
    learner, other = make_learner(settings("icarl")), make_learner(settings("icarl"))
    assert learner.method.state() == {"trained": None}
    learn(learner, 1)
    state = stored(learner.method.state())
    other.method.restore(state)
    assert torch.equal(other.method.trained, learner.method.trained)
    assert torch.equal(state["trained"], learner.method.trained)
