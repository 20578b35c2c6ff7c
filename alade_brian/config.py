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

from alade_brian.errors import UserError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class NetworkConfig:
    """The extractor, see `ConvBackbone`."""

    channels: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (1, 2, 1)
    pool: int = 2
    steps: int = 4
    decay: float = 0.5
    threshold: float = 1.0

    def __post_init__(self) -> None:
        _check(
            len(self.channels) == len(self.strides) > 0,
            "network.channels and network.strides must be lists of the same length, at least 1",
        )
        _check(
            min(self.channels) > 0 and min(self.strides) > 0, "network.channels and network.strides must be positive"
        )
        _check(self.pool >= 1, f"network.pool is {self.pool}; use at least 1")
        _check(self.steps >= 1, f"network.steps is {self.steps}; use at least 1")
        _check(0 < self.decay < 1, f"network.decay is {self.decay}; use a number between 0 and 1")
        _check(self.threshold > 0, f"network.threshold is {self.threshold}; use a positive number")


@dataclass(frozen=True)
class StageConfig:
    """One training stage: SGD with the learning rate multiplied by `factor` at each milestone (an epoch, from 0)."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (20, 25)
    factor: float = 0.1
    # Alignment of logits begins with this epoch.
    align_from: int = 25

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"epochs is {self.epochs}; use at least 1")
        _check(self.batch_size >= 2, f"batch_size is {self.batch_size}; batch norm needs at least 2")
        _check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; use a positive number")
        _check(0 <= self.momentum < 1, f"momentum is {self.momentum}; use a number from 0 to below 1")
        _check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; use 0 or more")
        _check(0 < self.factor <= 1, f"factor is {self.factor}; use a number above 0, at most 1")
        _check(
            self.align_from >= 0 and all(m >= 0 for m in self.milestones),
            "align_from and milestones count epochs from 0",
        )


@dataclass(frozen=True)
class AladeConfig:
    """The parts of ALADE-SNN; each can be switched off."""

    suppression: bool = True  # OtoN: new classes are not read from old features during stage 1
    release: bool = True  # stage 2 lets them be read again
    distillation: bool = True
    auxiliary: bool = True
    align_learning: bool = True  # logit alignment in stage 1
    align_finetuning: bool = True  # and in stage 2
    temperature: float = 2.0  # of the distillation

    def __post_init__(self) -> None:
        _check(self.temperature > 0, f"alade.temperature is {self.temperature}; use a positive number")


@dataclass(frozen=True)
class SimulationConfig:
    """See `SimulationSettings`."""

    backend: str = "cpp"
    connectivity: str = "auto"
    dtype: str = "float64"
    batch: int | None = None
    passes: str = "auto"


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result."""

    dataset: str = "digits"
    data_root: str | None = None
    init_cls: int = 2
    increment: int = 2
    class_order: tuple[int, ...] | None = None
    memory_size: int = 200
    method: str = "alade"
    seed: int = 1993
    verify_images: int | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    learning: StageConfig = field(default_factory=StageConfig)
    finetuning: StageConfig = field(default_factory=StageConfig)
    alade: AladeConfig = field(default_factory=AladeConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        _check(self.init_cls >= 1, f"init_cls is {self.init_cls}; use at least 1")
        _check(self.increment >= 1, f"increment is {self.increment}; use at least 1")
        _check(self.memory_size >= 0, f"memory_size is {self.memory_size}; use 0 or more")
        _check(0 <= self.seed < 2**32, f"seed is {self.seed}; use a whole number from 0 to 2**32 - 1")
        _check(
            self.verify_images is None or self.verify_images >= 1,
            f"verify_images is {self.verify_images}; use at least 1, or leave it out for all",
        )


def config_from(mapping: Mapping[str, Any], origin: str) -> RunConfig:
    """A configuration from nested mappings; `origin` is named where something is wrong."""
    return _build(RunConfig, mapping, origin, "")


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain, YAML- and JSON-ready values."""
    return _plain(dataclasses.asdict(config))


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the mapping with ``key=value`` pairs applied."""
    result = _plain(dict(mapping))
    for override in overrides:
        key, equals, text = override.partition("=")
        _check(bool(equals and key), f"--set {override}: write it as key=value, for example --set network.steps=6")
        *sections, last = key.split(".")
        inner = result
        for section in sections:
            if inner.get(section) is None:
                inner[section] = {}  # a section without keys reads as null
            inner = inner[section]
            _check(isinstance(inner, dict), f"--set {override}: {section} is a value, not a section")
        try:
            inner[last] = yaml.safe_load(text)
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
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"the configuration {file} cannot be read ({error.strerror}); check the path given to --config"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise UserError(f"the configuration {file} is not valid YAML{line}; correct it") from None
    _check(
        isinstance(content, dict),
        f"the configuration {file} holds no keys; see experiments/configs/digits.yaml for an example",
    )
    return content


def _build(cls: type, mapping: Any, origin: str, prefix: str) -> Any:
    _check(isinstance(mapping, Mapping), f"{origin}: '{prefix.rstrip('.')}' is a section and needs keys below it")
    hints = typing.get_type_hints(cls)
    unknown = sorted(str(k) for k in set(mapping) - set(hints))
    if unknown:
        raise UserError(f"{origin}: unknown key '{prefix}{unknown[0]}'; known here are {', '.join(sorted(hints))}")
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
        options = typing.get_args(kind)
        return None if value is None else _convert(next(o for o in options if o is not type(None)), value, origin, key)
    if typing.get_origin(kind) is tuple:
        _check(isinstance(value, list | tuple), f"{origin}: {key} is {value!r}; it needs a list")
        return tuple(_convert(typing.get_args(kind)[0], item, origin, f"{key}[{i}]") for i, item in enumerate(value))
    if kind is float:
        return _number(value, origin, key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{origin}: {key} is {value!r}; it needs {_KINDS[kind]}")
    return kind(value)


def _number(value: Any, origin: str, key: str) -> float:
    """A finite number; text too where it is one, because YAML 1.1 reads 1e-3 as text."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{origin}: {key} is {value!r}; it needs a finite number")


_KINDS = types.MappingProxyType({int: "a whole number", bool: "true or false", str: "text"})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
