"""Checkpoints: the same numbers after a round trip, and every file refused that is not one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import call
from safetensors.torch import load_file, save_file
from test_learning_synthetic import SHAPE, WIDTH, images_of, learn, make_config, make_learner, same, weights

from alade_brian.config.run import config_from, to_mapping
from alade_brian.errors import UserError
from alade_brian.learning import Learner
from alade_brian.learning.checkpoint import load_checkpoint, read_header, save_checkpoint, save_network
from alade_brian.learning.incremental.resume import take_checkpoint
from alade_brian.models.networks.dense import dense_network

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
    network = take_checkpoint(path, resumed)
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
        take_checkpoint(path, learner) if learner else load_checkpoint(path)
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


def test_another_format_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = with_header(path, format=2)
    refused(other, "has format 2, this version reads 1")
    assert call("convert", other, "--table") == 2
    error = capsys.readouterr().err
    assert "has format 2" in error and "train or convert anew" in error and error.count("\n") == 1


def test_a_header_without_a_format_is_refused(path: Path) -> None:
    save_file(load_file(path), path, {"alade_brian": "{}"})
    refused(path, "has format None")


def test_a_configuration_of_another_version_is_named(path: Path) -> None:
    refused(with_header(path, config=to_mapping(make_config()) | {"newer": 1}), "unknown key 'newer'", make_learner())


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
    architecture = read_header(path)["architecture"]
    for extractors in (1, 3):
        refused(with_header(path, architecture=architecture | {"extractors": extractors}), "another architecture")


def test_a_checkpoint_without_an_architecture_in_its_header_still_opens(trained, path: Path) -> None:
    header = {key: value for key, value in read_header(path).items() if key != "architecture"}
    save_file(load_file(path), path, {"alade_brian": json.dumps(header)})
    network, found = load_checkpoint(path)
    assert same(weights(trained), network.state_dict())
    assert found["architecture"]["backbone"]["channels"] == (4,)


def test_a_network_opens_though_its_method_is_unknown_here(trained, path: Path) -> None:
    config = read_header(path)["config"]
    network, _ = load_checkpoint(with_header(path, config=config | {"method": "of tomorrow", "newer": 1}))
    assert same(weights(trained), network.state_dict())


def test_a_network_of_another_architecture_is_saved_and_opened(tmp_path: Path) -> None:
    path, network = tmp_path / "dense.safetensors", dense_network((1, 4, 4), 3)
    save_network(path, network, {"name": "dense", "image_shape": [1, 4, 4], "outputs": 3}, {"image_shape": [1, 4, 4]})
    found, header = load_checkpoint(path)
    assert same(network.state_dict(), found.state_dict()) and not found.training
    assert header["architecture"]["name"] == "dense"
    refused(path, "not of a run", make_learner())


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "vgg"}, "no architecture 'vgg'.*expandable"), ({"depth": 3}, "cannot build.*depth")],
)
def test_an_architecture_that_cannot_be_built_is_a_sentence(path: Path, change: dict, message: str) -> None:
    refused(with_header(path, architecture=read_header(path)["architecture"] | change), message)
