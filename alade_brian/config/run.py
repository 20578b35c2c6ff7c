"""A run's configuration: frozen dataclasses read from YAML, checked before anything is computed.

Key names are those of class-incremental learning's common code bases where they have one (`init_cls`, `increment`,
`memory_size`).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from alade_brian import plugins
from alade_brian.config.sections import (
    LATER,
    MOST_PIXELS,
    AladeConfig,
    BlurredDistillationConfig,
    DistillationConfig,
    DsdConfig,
    NetworkConfig,
    SimulationConfig,
    StageConfig,
    TandemConfig,
    TeacherConfig,
    TrainingConfig,
    check,
    later,
)
from alade_brian.config.yaml_text import check_text, parse_yaml, read_yaml, reason_of
from alade_brian.content import shown
from alade_brian.errors import UserError

__all__ = [
    "AladeConfig",
    "BlurredDistillationConfig",
    "DistillationConfig",
    "DsdConfig",
    "NetworkConfig",
    "RunConfig",
    "SimulationConfig",
    "StageConfig",
    "TandemConfig",
    "TeacherConfig",
    "TrainingConfig",
    "apply_overrides",
    "config_from",
    "differing_keys",
    "read_mapping",
    "to_mapping",
]


# No number of a configuration is larger: seeds reach it, and nothing else comes near.
MOST = 2**32 - 1
# What a network computes in.
LARGEST = 3.4e38


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result.

    image_size      resample the images to so many pixels a side
    train_per_class, test_per_class   at most so many images of each class
    validation      test on this fraction of the training images instead of on the test images: for tuning
    class_order     a list, or the name of a published order; none: drawn from the seed
    memory_size     exemplars in all; memory_per_class: a fixed number of each class instead
    augmentation    names of what is done to training images, in order
    """

    dataset: str = "digits"
    data_root: str | None = None
    image_size: int | None = None
    train_per_class: int | None = None
    test_per_class: int | None = None
    validation: float = 0.0
    augmentation: tuple[str, ...] = ()
    init_cls: int = 2
    increment: int = 2
    class_order: tuple[int, ...] | str | None = None
    memory_size: int = 200
    memory_per_class: int | None = None
    method: str = "alade"
    seed: int = 1993
    verify_images: int | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    learning: StageConfig = field(default_factory=StageConfig)
    finetuning: StageConfig = field(default_factory=StageConfig)
    # Stage 1 of the first task, where it is another one.
    first_learning: StageConfig | None = None
    alade: AladeConfig = field(default_factory=AladeConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    dsd: DsdConfig = field(default_factory=DsdConfig)
    blurred_distillation: BlurredDistillationConfig = field(
        default_factory=BlurredDistillationConfig, metadata=later("blurred-distillation")
    )
    tandem: TandemConfig = field(default_factory=TandemConfig, metadata=later("tandem"))
    training: TrainingConfig = field(default_factory=TrainingConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        for key in ("init_cls", "increment"):
            check(getattr(self, key) >= 1, f"{key} is {getattr(self, key)}; use at least 1")
        for key in ("verify_images", "image_size", "train_per_class", "test_per_class", "memory_per_class"):
            value = getattr(self, key)
            check(value is None or value >= 1, f"{key} is {value}; use at least 1, or leave it out for all")
        size = self.image_size
        check(size is None or size <= MOST_PIXELS, f"image_size is {size}; use at most {MOST_PIXELS} pixels a side")
        check(self.memory_size >= 0, f"memory_size is {self.memory_size}; use 0 or more")
        check(0 <= self.seed < 2**32, f"seed is {self.seed}; use a whole number from 0 to 2**32 - 1")
        check(0 <= self.validation < 1, f"validation is {self.validation}; use a fraction from 0 to below 1")

    @property
    def plugins(self) -> dict[str, str]:
        """The parts that come from files outside the package, and the digests of these. UserError if one is missing."""
        teacher = self.blurred_distillation.teacher.backbone
        return plugins.digests((self.dataset, self.method, self.network.backbone, teacher or ""))

    def stage_one(self, first: bool) -> StageConfig:
        """Stage 1 of the first task, or of a later one."""
        return self.first_learning if first and self.first_learning is not None else self.learning


def config_from(mapping: Mapping[str, Any], origin: str) -> RunConfig:
    """A configuration from nested mappings; `origin` is named where something is wrong."""
    config: RunConfig = _build(RunConfig, mapping, origin, "")
    # A resumed run, or a process in another folder, finds the files of its plug-ins again.
    network = dataclasses.replace(config.network, backbone=plugins.absolute(config.network.backbone))
    dataset, method = plugins.absolute(config.dataset), plugins.absolute(config.method)
    found = dataclasses.replace(config, dataset=dataset, method=method, network=network)
    return _with_teacher_found(found)


def _with_teacher_found(config: RunConfig) -> RunConfig:
    """Files that the teacher comes from, by their absolute paths."""
    section = config.blurred_distillation
    teacher = section.teacher
    checkpoint = None if teacher.checkpoint is None else str(Path(teacher.checkpoint).absolute())
    backbone = None if teacher.backbone is None else plugins.absolute(teacher.backbone)
    teacher = dataclasses.replace(teacher, checkpoint=checkpoint, backbone=backbone)
    return dataclasses.replace(config, blurred_distillation=dataclasses.replace(section, teacher=teacher))


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain, YAML- and JSON-ready values; see `later` for keys that are left out."""
    return _recorded(config, config.method)


def _recorded(section: Any, method: str) -> dict[str, Any]:
    found = {}
    for key in dataclasses.fields(section):
        value = getattr(section, key.name)
        default = key.default if key.default_factory is dataclasses.MISSING else key.default_factory()
        if key.metadata.get(LATER, method) == method or value != default:
            found[key.name] = _recorded(value, method) if dataclasses.is_dataclass(value) else _plain(value)
    return found


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the mapping with ``key=value`` pairs applied."""
    result = _plain(dict(mapping))
    for override in overrides:
        key, equals, text = override.partition("=")
        check(bool(equals and key), f"--set {override}: write it as key=value, for example --set network.steps=6")
        *sections, last = key.split(".")
        inner = result
        for section in sections:
            if inner.get(section) is None:
                inner[section] = {}  # a section without keys reads as null
            inner = inner[section]
            check(isinstance(inner, dict), f"--set {override}: {section} is a value, not a section")
        try:
            inner[last] = parse_yaml(text)
        except (yaml.YAMLError, ValueError):  # YAML raises the latter for dates that do not exist
            raise UserError(f"--set {override}: the value is not valid YAML") from None
    return result


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two resolved configurations."""
    keys = []
    for key in sorted(set(one) | set(other)):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys


def read_mapping(file: Path) -> dict[str, Any]:
    """The keys of a YAML file, unchecked; UserError where it cannot be read."""
    try:
        content = read_yaml(file)
    except OSError as error:
        raise UserError(
            f"the configuration {file} cannot be read ({error.strerror}); check the path given to --config"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"the configuration {file} is not valid YAML{reason_of(error)}; correct it") from None
    check(
        isinstance(content, dict),
        f"the configuration {file} holds no keys; see the shipped digits.yaml for an example",
    )
    return content


def _build(cls: type, mapping: Any, origin: str, prefix: str) -> Any:
    check(isinstance(mapping, Mapping), f"{origin}: '{prefix.rstrip('.')}' is a section and needs keys below it")
    hints = typing.get_type_hints(cls)
    unknown = sorted(str(k) for k in set(mapping) - set(hints))
    if unknown:
        raise UserError(f"{origin}: unknown key '{prefix}{unknown[0]}'; valid keys are {', '.join(sorted(hints))}")
    values = {key: _convert(hints[key], value, origin, f"{prefix}{key}") for key, value in mapping.items()}
    try:
        return cls(**values)
    except UserError as error:
        section = f"section '{prefix.rstrip('.')}': " if prefix else ""
        raise UserError(f"{origin}: {section}{error}") from None


def _convert(kind: Any, value: Any, origin: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), {} if value is None else value, origin, f"{key}.")
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _convert(_option(kind, value), value, origin, key)
    if typing.get_origin(kind) is tuple:
        check(isinstance(value, list | tuple), f"{origin}: {key} is {shown(value, 100)}; it needs a list")
        return tuple(_convert(typing.get_args(kind)[0], item, origin, f"{key}[{i}]") for i, item in enumerate(value))
    if typing.get_origin(kind) is Mapping:
        return _options(value, origin, key)
    if kind is float:
        return _number(value, origin, key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{origin}: {key} is {shown(value, 100)}; it needs {_KINDS[kind]}")
    if kind is int:
        check(abs(value) <= MOST, f"{origin}: {key} is {shown(value, 100)}; it needs a whole number of at most {MOST}")
    return check_text(value, f"{origin}: {key}") if kind is str else kind(value)


def _option(kind: Any, value: Any) -> Any:
    """Which of several kinds a value is meant to be: text where text is one of them, else the first."""
    options = [o for o in typing.get_args(kind) if o is not type(None)]
    return str if isinstance(value, str) and str in options else options[0]


def _options(value: Any, origin: str, key: str) -> dict[str, Any]:
    """Keywords with numbers, text or switches; what they may be is for their receiver to know."""
    check(isinstance(value, Mapping), f"{origin}: {key} is {shown(value, 100)}; it needs keys with values below it")
    for name, item in value.items():
        plain = isinstance(name, str) and isinstance(item, float | int | str)
        check(plain, f"{origin}: {key}.{name} is {shown(item, 100)}; it needs a number, text, or true or false")
    return dict(value)


def _number(value: Any, origin: str, key: str) -> float:
    """A finite number; text too where it is one, because YAML 1.1 reads 1e-3 as text."""
    try:
        plain = isinstance(value, int | float | str) and not isinstance(value, bool)
        if plain and math.isfinite(found := float(value)):
            check(abs(found) <= LARGEST, f"{origin}: {key} is {found}; it needs a number that float32 can hold")
            return found
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{origin}: {key} is {shown(value, 100)}; it needs a finite number")


_KINDS = types.MappingProxyType({int: "a whole number", bool: "true or false", str: "text"})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
