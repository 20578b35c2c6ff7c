"""The sections of a configuration: frozen dataclasses that check themselves.

Key names are those of class-incremental learning's common code bases where they have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alade_brian.errors import UserError

NORMS = ("batch", "none")
SURROGATES = ("triangle", "fast-sigmoid", "arctan", "straight-through")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")
# What these do: alade_brian/learning/optimisers.py.
OPTIMISERS = ("sgd", "adam", "adamw")
# No images, presentations or stages come near these; a number beyond them is a slip, and its run would never end.
MOST_PIXELS, MOST_STEPS, MOST_EPOCHS = 4096, 100_000, 1_000_000
MOST_WIDTH, MOST_CHANNELS = 1000, 100_000
SCHEDULES = ("milestones", "cosine", "one-cycle", "constant")
# See `later`.
LATER = "later"


def later(method: str) -> Mapping[str, str]:
    """Metadata of a key that came later: it is recorded with the method that it belongs to, and where it differs from
    its default, so that other runs are recorded as before."""
    return {LATER: method}


def check(condition: bool, message: str) -> None:
    """UserError with the message where the condition does not hold."""
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class NetworkConfig:
    """The extractor, see `BackboneDescription`."""

    backbone: str = "small"
    width: float = 1.0  # multiplies the channels of a ResNet
    channels: tuple[int, ...] = (16, 32, 64)  # these three are the small network's
    strides: tuple[int, ...] = (1, 2, 1)
    pool: int = 2
    hidden: tuple[int, ...] = field(
        default=(), metadata=later("tandem")
    )  # fully connected layers of the tandem network
    norm: str = "batch"
    steps: int = 4
    decay: float = 0.5
    threshold: float = 1.0
    neuron: str = "LIF"  # a spiking class of models/neurons
    neuron_options: Mapping[str, float | str | bool] = field(default_factory=dict)  # its further keywords
    surrogate: str = "triangle"  # the gradient of its spikes

    def __post_init__(self) -> None:
        _check_choice("network.norm", self.norm, NORMS)
        _check_choice("network.surrogate", self.surrogate, SURROGATES)
        check(self.width > 0, f"network.width is {self.width}; use a positive number")
        check(
            len(self.channels) == len(self.strides) > 0,
            "network.channels and network.strides must be lists of the same length, at least 1",
        )
        check(min(self.channels) > 0 and min(self.strides) > 0, "network.channels and network.strides must be positive")
        check(
            all(units > 0 for units in self.hidden),
            f"network.hidden is {list(self.hidden)}; use positive numbers of units",
        )
        check(self.pool >= 1, f"network.pool is {self.pool}; use at least 1")
        check(
            max(self.pool, *self.strides) <= MOST_PIXELS, f"network.pool and network.strides: use at most {MOST_PIXELS}"
        )
        check(self.steps >= 1, f"network.steps is {self.steps}; use at least 1")
        check(self.steps <= MOST_STEPS, f"network.steps is {self.steps}; use at most {MOST_STEPS}")
        check(self.width <= MOST_WIDTH, f"network.width is {self.width}; use at most {MOST_WIDTH}")
        check(max(self.channels) <= MOST_CHANNELS, f"network.channels: use at most {MOST_CHANNELS} a layer")
        check(0 < self.decay < 1, f"network.decay is {self.decay}; use a number between 0 and 1")
        check(self.threshold > 0, f"network.threshold is {self.threshold}; use a positive number")


@dataclass(frozen=True)
class StageConfig:
    """One training stage, see `make_optimiser` and `learning_rate` in alade_brian/learning/optimisers.py."""

    epochs: int = 30
    batch_size: int = 64
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9  # of SGD; Adam and AdamW average the gradient with it (beta 1)
    weight_decay: float = 5e-4
    schedule: str = "milestones"
    # The schedule `milestones` multiplies the learning rate by `factor` at each of them (an epoch, from 0).
    milestones: tuple[int, ...] = (20, 25)
    factor: float = 0.1
    # The learning rate rises linearly over so many epochs.
    warmup: int = 0
    # Before this epoch both heads are initialised anew.
    reset_heads: int | None = None
    # Alignment of logits begins with this epoch.
    align_from: int = 25
    # Logits are divided by it in the cross-entropy; none: by what the method's source uses.
    temperature: float | None = None

    def __post_init__(self) -> None:
        check(self.epochs >= 1, f"epochs is {self.epochs}; use at least 1")
        check(self.epochs <= MOST_EPOCHS, f"epochs is {self.epochs}; use at most {MOST_EPOCHS}")
        check(self.warmup <= MOST_EPOCHS, f"warmup is {self.warmup}; use at most {MOST_EPOCHS}")
        check(self.batch_size >= 2, f"batch_size is {self.batch_size}; batch norm needs at least 2")
        check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; use a positive number")
        check(0 <= self.momentum < 1, f"momentum is {self.momentum}; use a number from 0 to below 1")
        check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; use 0 or more")
        check(0 < self.factor <= 1, f"factor is {self.factor}; use a number above 0, at most 1")
        _check_choice("optimiser", self.optimiser, OPTIMISERS)
        _check_choice("schedule", self.schedule, SCHEDULES)
        check(self.warmup >= 0, f"warmup is {self.warmup}; use 0 or more epochs")
        check(
            not (self.warmup and self.schedule == "one-cycle"),
            f"warmup is {self.warmup}, but the schedule 'one-cycle' rises by itself; leave warmup out",
        )
        check(
            self.temperature is None or self.temperature > 0,
            f"temperature is {self.temperature}; use a positive number, or leave it out",
        )
        check(
            self.align_from >= 0 and (self.reset_heads or 0) >= 0 and all(m >= 0 for m in self.milestones),
            "align_from, reset_heads and milestones count epochs from 0",
        )


@dataclass(frozen=True)
class AladeConfig:
    """The parts of ALADE-SNN; each can be switched off. Those of `der` are the same without suppression and
    alignment."""

    suppression: bool = True  # OtoN: new classes are not read from old features during stage 1
    release: bool = True  # stage 2 lets them be read again
    distillation: bool = True
    auxiliary: bool = True
    align_learning: bool = True  # logit alignment in stage 1
    align_finetuning: bool = True  # and in stage 2
    gamma_in_loss: bool = True  # false: stage 1 measures gamma and does not use it, as in the authors' later code
    temperature: float = 2.0  # of the distillation
    per_step: float | None = None  # weight of the regulariser in the loss per step; none: the loss of the mean logits

    def __post_init__(self) -> None:
        check(self.temperature > 0, f"alade.temperature is {self.temperature}; use a positive number")
        check(
            self.per_step is None or 0 <= self.per_step < 1,
            f"alade.per_step is {self.per_step}; use a weight from 0 to below 1, or leave it out",
        )


@dataclass(frozen=True)
class DistillationConfig:
    """The distillation of `lwf`, `icarl` and `wa`."""

    temperature: float = 2.0
    weight: float | None = None  # none: what the method's source uses

    def __post_init__(self) -> None:
        check(self.temperature > 0, f"distillation.temperature is {self.temperature}; use a positive number")
        check(self.weight is None or self.weight >= 0, f"distillation.weight is {self.weight}; use 0 or more")


@dataclass(frozen=True)
class DsdConfig:
    """Growth and pruning of `dsd`, as fractions of a layer's units."""

    initial: float = 0.3  # units of the first task
    growth: float = 0.125  # units that every later task adds, taken from the free ones
    prune: bool = True
    rho: tuple[float, ...] = (0.8, 0.5)  # how severe pruning is in the first task, and later
    credit: float = 5.0  # what a unit begins with, and is pruned without
    moving_norm: bool = False  # true: batch norm goes on moving in later tasks, and old sub-networks drift

    def __post_init__(self) -> None:
        check(0 < self.initial <= 1, f"dsd.initial is {self.initial}; use a fraction above 0, at most 1")
        check(0 < self.growth <= 1, f"dsd.growth is {self.growth}; use a fraction above 0, at most 1")
        check(len(self.rho) == 2, "dsd.rho is a list of two numbers: of the first task, and later")
        # With 2 or more the strongest unit would lose credit too, and nothing need be left of the first task.
        check(all(0 <= rho < 2 for rho in self.rho), f"dsd.rho is {list(self.rho)}; use numbers from 0 to below 2")
        check(self.credit >= 0, f"dsd.credit is {self.credit}; use 0 or more")


@dataclass(frozen=True)
class TandemConfig:
    """Conversion layer by layer, of `tandem`."""

    percentile: float = 99.9  # of a layer's activations, over images and units, is its threshold
    weight_bits: int | None = None  # of the weights of converted layers; none: as they were learnt

    def __post_init__(self) -> None:
        check(0 < self.percentile <= 100, f"tandem.percentile is {self.percentile}; use a number above 0, at most 100")
        check(
            self.weight_bits is None or 2 <= self.weight_bits <= 16,
            f"tandem.weight_bits is {self.weight_bits}; use 2 to 16, or leave it out",
        )


@dataclass(frozen=True)
class TeacherConfig:
    """The network without spikes that teaches in `blurred-distillation`: the extractor of section `network` with
    rectifiers, where nothing else is said. Strides and pooling are the student's."""

    checkpoint: str | None = None  # a network that is trained already; none: it is trained first
    backbone: str | None = None
    width: float | None = None
    channels: tuple[int, ...] | None = None
    learning: StageConfig = field(default_factory=StageConfig)

    def __post_init__(self) -> None:
        check(self.width is None or self.width > 0, f"teacher.width is {self.width}; use a positive number")
        check(
            self.channels is None or all(c > 0 for c in self.channels),
            f"teacher.channels is {list(self.channels or ())}; use positive numbers",
        )


@dataclass(frozen=True)
class BlurredDistillationConfig:
    """The two terms of `blurred-distillation`, each left out with the weight 0, and who teaches."""

    logits: float = 1.0  # weight of the teacher's logits
    features: float = 2e-3  # weight of its features, of the squared distance summed over an image's features
    masked: float = 0.15  # the share of the student's channels that is masked
    temperature: float = 2.0  # of the logits
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        for key in ("logits", "features"):
            check(
                getattr(self, key) >= 0,
                f"blurred_distillation.{key} is {getattr(self, key)}; use a weight of 0 or more",
            )
        check(0 <= self.masked < 1, f"blurred_distillation.masked is {self.masked}; use a fraction from 0 to below 1")
        check(self.temperature > 0, f"blurred_distillation.temperature is {self.temperature}; use a positive number")


@dataclass(frozen=True)
class TrainingConfig:
    """Where and how PyTorch trains."""

    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        _check_choice("training.device", self.device, DEVICES)
        _check_choice("training.precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class SimulationConfig:
    """See `SimulationSettings`."""

    backend: str = "cpp"
    connectivity: str = "auto"
    dtype: str = "float64"
    batch: int | None = None
    passes: str = "auto"


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    check(value in choices, f"{key} is '{value}'; use one of {', '.join(choices)}")
