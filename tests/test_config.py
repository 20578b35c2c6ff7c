"""A run's configuration: read, overridden, checked, and told apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from alade_brian.config.run import RunConfig, apply_overrides, config_from, differing_keys, read_mapping, to_mapping
from alade_brian.errors import UserError


def with_sets(*overrides: str) -> RunConfig:
    return config_from(apply_overrides({}, overrides), "here")


def test_no_keys_give_the_defaults() -> None:
    config = config_from({}, "here")
    assert config == RunConfig()
    assert (config.dataset, config.method, config.init_cls, config.increment) == ("digits", "alade", 2, 2)
    assert (config.memory_size, config.seed, config.class_order, config.verify_images) == (200, 1993, None, None)
    assert (config.network.steps, config.network.decay, config.network.threshold) == (4, 0.5, 1.0)
    assert (config.learning.learning_rate, config.learning.momentum, config.learning.weight_decay) == (0.1, 0.9, 5e-4)
    assert config.alade.temperature == 2.0
    assert config.alade.suppression is config.alade.release is config.alade.distillation is True


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 1  # type: ignore[misc]


def test_yaml_is_read_into_nested_sections(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "method: finetune\nseed: 7\nclass_order: [1, 0]\nnetwork:\n  channels: [8, 12]\n  strides: [1, 2]\n"
        "finetuning: {learning_rate: 1.0e-3, milestones: []}\nalade:\n  release: false\n",
        encoding="utf-8",
    )
    config = config_from(read_mapping(file), str(file))
    assert (config.method, config.seed, config.class_order) == ("finetune", 7, (1, 0))
    assert (config.network.channels, config.network.strides, config.network.steps) == ((8, 12), (1, 2), 4)
    assert (config.finetuning.learning_rate, config.finetuning.milestones) == (1e-3, ())
    assert config.learning.learning_rate == 0.1
    assert config.alade.release is False and config.alade.suppression is True


def test_overrides_reach_every_kind_of_key() -> None:
    config = with_sets(
        "seed=5", "network.steps=6", "network.channels=[4, 8]", "network.strides=[1,1]", "class_order=[1, 0, 2]",
        "verify_images=null", "simulation.batch=16", "alade.auxiliary=false", "data_root=/some/where", "dataset=digits",
    )  # fmt: skip
    assert config.seed == 5
    assert (config.network.steps, config.network.channels, config.network.strides) == (6, (4, 8), (1, 1))
    assert config.class_order == (1, 0, 2)
    assert config.verify_images is None and config.simulation.batch == 16
    assert config.alade.auxiliary is False
    assert config.data_root == "/some/where"


def test_null_takes_a_value_back() -> None:
    mapping = apply_overrides({"verify_images": 10, "class_order": [1, 0]}, ["verify_images=null", "class_order="])
    config = config_from(mapping, "here")
    assert config.verify_images is None and config.class_order is None


def test_overrides_keep_their_neighbours_and_the_given_mapping() -> None:
    mapping = {"network": {"steps": 3, "pool": 1}, "seed": 4}
    result = apply_overrides(mapping, ["network.steps=6", "network.steps=7"])
    assert result == {"network": {"steps": 7, "pool": 1}, "seed": 4}
    assert mapping == {"network": {"steps": 3, "pool": 1}, "seed": 4}


def test_an_override_may_hold_an_equals_sign() -> None:
    assert with_sets("data_root=/a=b").data_root == "/a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.steps", "network.steps: write it as key=value"),
        ("=3", "=3: write it as key=value"),
        ("seed.steps=3", "seed is a value, not a section"),
        ("network.channels=[1, 2", "channels=.*not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply_overrides({"seed": 1}, [override])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"memory": 20}, "here: unknown key 'memory'.*memory_size"),
        ({"network": {"step": 3}}, r"here: unknown key 'network\.step'.*steps"),
        ({"alade": {"KL": True}}, r"unknown key 'alade\.KL'.*distillation"),
        ({"simulation": {1: True}}, r"unknown key 'simulation\.1'"),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(mapping, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_from(mapping, "here")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"seed": "many"}, "seed is 'many'; it needs a whole number"),
        ({"seed": True}, "seed is True; it needs a whole number"),
        ({"seed": 1.0}, r"seed is 1\.0; it needs a whole number"),
        ({"seed": None}, "seed is None; it needs a whole number"),
        ({"seed": [1]}, r"seed is \[1\]; it needs a whole number"),
        ({"dataset": 5}, "dataset is 5; it needs text"),
        ({"network": {"decay": "half"}}, r"network\.decay is 'half'; it needs a finite number"),
        ({"network": {"decay": True}}, r"network\.decay is True; it needs a finite number"),
        ({"alade": {"release": 1}}, r"alade\.release is 1; it needs true or false"),
        ({"alade": {"release": "yes"}}, r"alade\.release is 'yes'; it needs true or false"),
        ({"verify_images": 2.5}, r"verify_images is 2\.5; it needs a whole number"),
        ({"class_order": 3}, "class_order is 3; it needs a list"),
        ({"class_order": 12}, "class_order is 12; it needs a list"),
        ({"class_order": [0, "x"]}, r"class_order\[1\] is 'x'; it needs a whole number"),
        ({"network": {"channels": [8, False]}}, r"network\.channels\[1\] is False"),
        ({"network": 5}, "'network' is a section"),
        ({"network": [1]}, "'network' is a section"),
        ({"learning": 3}, "'learning' is a section"),
    ],
)
def test_a_value_of_another_kind_is_named(mapping, message: str) -> None:
    with pytest.raises(UserError, match=f"^here: {message}"):
        config_from(mapping, "here")


def test_a_whole_number_is_a_number() -> None:
    threshold = with_sets("network.threshold=2").network.threshold
    assert threshold == 2.0 and type(threshold) is float


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("init_cls=0", "init_cls is 0"),
        ("increment=0", "increment is 0"),
        ("memory_size=-1", "memory_size is -1"),
        ("seed=-1", "seed is -1"),
        ("seed=4294967296", "seed is 4294967296"),
        ("verify_images=0", "verify_images is 0"),
        ("network.pool=0", "network.pool is 0"),
        ("network.steps=0", "network.steps is 0"),
        ("network.decay=0", "network.decay is 0"),
        ("network.decay=1", "network.decay is 1"),
        ("network.decay=.nan", "network.decay is nan"),
        ("network.threshold=0", "network.threshold is 0"),
        ("network.channels=[8]", "network.channels and network.strides.*same length"),
        ("network.channels=[8, 0, 8]", "must be positive"),
        ("network.strides=[1, -1, 1]", "must be positive"),
        ("learning.epochs=0", "section 'learning': epochs is 0"),
        ("finetuning.epochs=0", "section 'finetuning': epochs is 0"),
        ("learning.batch_size=1", "'learning': batch_size is 1"),
        ("learning.learning_rate=0", "learning_rate is 0"),
        ("learning.momentum=1", "momentum is 1"),
        ("learning.momentum=-0.1", "momentum is -0.1"),
        ("learning.weight_decay=-0.1", "weight_decay is -0.1"),
        ("learning.factor=0", "factor is 0"),
        ("learning.factor=1.5", "factor is 1.5"),
        ("learning.align_from=-1", "'learning': align_from"),
        ("finetuning.milestones=[3, -1]", "'finetuning': align_from, reset_heads and milestones"),
        ("alade.temperature=0", "alade.temperature is 0"),
    ],
)
def test_a_value_out_of_range_is_named(override: str, named: str) -> None:
    with pytest.raises(UserError, match=f"^here: .*{named}"):
        with_sets(override)


def test_no_stage_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        with_sets("network.channels=[]", "network.strides=[]")


@pytest.mark.parametrize(
    "override",
    [
        "init_cls=1", "memory_size=0", "seed=0", "seed=4294967295", "verify_images=1", "network.steps=1",
        "learning.batch_size=2", "learning.epochs=1", "learning.momentum=0", "learning.weight_decay=0",
        "learning.factor=1", "learning.align_from=0", "learning.milestones=[0]",
    ],
)  # fmt: skip
def test_the_bounds_themselves_are_accepted(override: str) -> None:
    assert with_sets(override) is not None


def test_the_resolved_configuration_survives_yaml_and_json() -> None:
    config = with_sets(
        "class_order=[2, 0, 1]", "network.channels=[4]", "network.strides=[1]", "learning.learning_rate=0.30000000000000004",
        "simulation.batch=3", "data_root='12'", "alade.release=false",
    )  # fmt: skip
    plain = to_mapping(config)
    assert plain["network"]["channels"] == [4] and plain["class_order"] == [2, 0, 1]
    assert plain["data_root"] == "12" and plain["verify_images"] is None
    assert config_from(yaml.safe_load(yaml.safe_dump(plain)), "yaml") == config
    assert config_from(json.loads(json.dumps(plain)), "json") == config
    assert config_from(yaml.safe_load(yaml.safe_dump(to_mapping(RunConfig()))), "yaml") == RunConfig()


def test_differing_keys_are_dotted_and_sorted() -> None:
    one = to_mapping(RunConfig())
    other = to_mapping(with_sets("seed=1", "network.steps=9", "learning.milestones=[1]", "class_order=[1, 0]"))
    assert differing_keys(one, other) == ["class_order", "learning.milestones", "network.steps", "seed"]
    assert differing_keys(other, one) == differing_keys(one, other)
    assert differing_keys(one, one) == []


def test_differing_keys_see_what_one_side_lacks() -> None:
    assert differing_keys({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "d": 3}}) == ["a.d", "c"]
    assert differing_keys({"a": {"b": 1}}, {"a": 5}) == ["a"]


def test_bad_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("seed: 1\nnetwork:\n  steps: 3\n pool: 2\n")
    with pytest.raises(UserError, match="not valid YAML in line 4") as caught:
        read_mapping(file)
    assert str(file) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.yaml"
    file.write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(UserError, match="not valid YAML") as caught:
        read_mapping(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["", "# nothing\n", "- seed\n- 1\n", "seed\n"])
def test_a_file_without_keys_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match="holds no keys") as caught:
        read_mapping(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read.*--config") as caught:
            read_mapping(path)
        assert str(path) in str(caught.value)


def test_numbers_as_yaml_1_1_reads_them() -> None:
    # 1e-3 is text there; .inf is a number, but none that a run could use.
    assert config_from(apply_overrides({}, ["learning.learning_rate=1e-3"]), "here").learning.learning_rate == 1e-3
    for text in (".inf", ".nan", "1" + "0" * 400):
        with pytest.raises(UserError, match="finite number"):
            config_from(apply_overrides({}, [f"network.threshold={text}"]), "here")


def test_a_section_without_keys_is_the_default_and_can_be_set() -> None:
    assert config_from({"network": None}, "here") == RunConfig()
    assert config_from(apply_overrides({"network": None}, ["network.steps=3"]), "here").network.steps == 3


@pytest.mark.parametrize("text", ["2024-13-45", "0x_"])
def test_values_that_yaml_cannot_make_are_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        apply_overrides({}, [f"seed={text}"])


def test_options_of_a_neuron_are_numbers_text_and_switches() -> None:
    config = with_sets("network.neuron=CubaLIF", "network.neuron_options={syn_decay: 0.5, reset: subtract}")
    assert config.network.neuron_options == {"syn_decay": 0.5, "reset": "subtract"}
    assert config_from(json.loads(json.dumps(to_mapping(config))), "again") == config
    for value, message in (("3", "needs keys with values"), ("{decay: [1]}", "neuron_options.decay is .1.; it needs")):
        with pytest.raises(UserError, match=message):
            with_sets(f"network.neuron_options={value}")
