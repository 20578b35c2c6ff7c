"""Checkpoints: the same numbers after a round trip, and every file refused that is not one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_learning_synthetic import SHAPE, WIDTH, images_of, learn, make_config, make_learner, same, weights

from alade_brian.config.run import config_from, to_mapping
from alade_brian.errors import UserError
from alade_brian.learning import Learner
from alade_brian.learning.checkpoint import load_checkpoint, read_header, save_checkpoint

FACTS = {"task": 2, "image_shape": list(SHAPE), "class_names": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def trained() -> Learner:
    learner = make_learner()
    learn(learner, 1, 2)
    return learner


@pytest.fixture
def path(trained, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoints" / "task-02.safetensors", trained.network, trained.config, FACTS)
    return tmp_path / "checkpoints" / "task-02.safetensors"


def with_header(path: Path, **changes) -> Path:
    """The checkpoint with a changed header."""
    save_file(load_file(path), path, {"alade_brian": json.dumps(read_header(path) | changes)})
    return path


def test_round_trip_gives_the_same_numbers(trained, path: Path) -> None:
    network, _ = load_checkpoint(path)
    assert same(weights(trained), network.state_dict())
    assert not network.training
    images = torch.cat([images_of(c) for c in range(3)])
    with torch.no_grad():
        assert torch.equal(network(images), trained.network(images))


def test_the_header_holds_facts_and_the_configuration(trained, path: Path) -> None:
    header = read_header(path)
    assert {key: header[key] for key in FACTS} == FACTS
    assert (header["format"], header["extractors"], header["outputs"]) == (1, 2, 3)
    assert config_from(header["config"], "header") == trained.config
    assert load_checkpoint(path)[1] == header


def test_a_given_learner_takes_the_weights_and_goes_on_as_if_never_interrupted(trained, path: Path) -> None:
    whole, resumed = make_learner(), make_learner()
    learn(whole, 1, 2, 3)
    network, _ = load_checkpoint(path, resumed)
    assert network is resumed.network
    assert not any(p.requires_grad for p in network.extractors[0].parameters())
    learn(resumed, 3)
    assert same(weights(whole), weights(resumed))


def test_a_network_is_saved_without_its_auxiliary_head(trained, path: Path) -> None:
    assert set(load_file(path)) == set(trained.network.state_dict())
    assert load_file(path)["classifier.weight"].shape == (3, 2 * WIDTH)


def test_nothing_but_the_checkpoint_is_left_in_the_folder(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] == ["task-02.safetensors"]


def refused(path: Path, message: str, learner: Learner | None = None) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(path, learner)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "there is no checkpoint")


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_a_truncated_file_is_named(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(path, "damaged")


def test_a_file_of_another_kind_is_named(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    refused(path, "damaged")


def test_foreign_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    refused(path, "no checkpoint of this program")
    save_file({"weight": torch.zeros(2)}, path, {"format": "pt"})
    refused(path, "no checkpoint of this program")


def test_another_format_is_named(path: Path) -> None:
    refused(with_header(path, format=2), "has format 2, this version reads 1")


def test_a_header_without_a_format_is_refused(path: Path) -> None:
    save_file(load_file(path), path, {"alade_brian": "{}"})
    refused(path, "has format None")


def test_a_configuration_of_another_version_is_named(path: Path) -> None:
    refused(with_header(path, config=to_mapping(make_config()) | {"newer": 1}), "unknown key 'newer'")


def test_wider_channels_are_another_architecture(path: Path) -> None:
    config = make_config()
    other = replace(config, network=replace(config.network, channels=(5,)))
    refused(path, r"another architecture \(network.channels differs\)", make_learner(other))


def test_more_stages_are_another_architecture(path: Path) -> None:
    config = make_config()
    other = replace(config, network=replace(config.network, channels=(4, 4), strides=(1, 1)))
    refused(path, "another architecture.*network.channels, network.strides", make_learner(other))


def test_fewer_stages_are_another_architecture(tmp_path: Path) -> None:
    config = make_config()
    other = make_learner(replace(config, network=replace(config.network, channels=(4, 4), strides=(1, 1))))
    learn(other, 1)
    path = tmp_path / "deep.safetensors"
    save_checkpoint(path, other.network, other.config, FACTS)
    refused(path, "another architecture.*network.channels, network.strides", make_learner())


@pytest.mark.parametrize("change", [{"steps": 5}, {"decay": 0.9}, {"threshold": 3.0}], ids=str)
def test_equal_shapes_are_not_enough_and_the_learner_is_left_alone(path: Path, change: dict) -> None:
    config = make_config()
    other = make_learner(replace(config, network=replace(config.network, **change)))
    learn(other, 1)
    before, network = weights(other), other.network
    refused(path, f"another architecture.*network.{next(iter(change))}", other)
    assert other.network is network and same(weights(other), before)


@pytest.mark.parametrize("header", ["not json", "[1]", '{"format": 1}'])
def test_a_damaged_header_is_a_sentence(path: Path, header: str) -> None:
    save_file(load_file(path), path, {"alade_brian": header})
    refused(path, "damaged")


def test_a_header_that_lies_about_the_extractors_is_refused(path: Path) -> None:
    refused(with_header(path, extractors=1), "another architecture")
    refused(with_header(path, extractors=3), "another architecture")
