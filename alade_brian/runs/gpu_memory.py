"""Check, before training, that a job fits into the memory of this machine and its GPU with the network after the last
task."""

from __future__ import annotations

import logging

import torch

from alade_brian.config.run import RunConfig
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.data import Dataset, Scenario
from alade_brian.errors import UserError
from alade_brian.runs.setup import convert_options, make_learner
from alade_brian.simulation import SimulationSettings
from alade_brian.simulation.planning import check_plan_memory, draft_plan
from alade_brian.simulation.resources import format_bytes
from alade_brian.spec import NetworkSpec
from alade_brian.spec.parts import repeated

log = logging.getLogger(__name__)

# What training keeps of a neuron in every step: its current, its membrane, its spike, and the gradient of one of them.
NUMBERS_PER_NEURON = 4
# What training keeps of a weight: itself, its gradient, its momentum.
NUMBERS_PER_WEIGHT = 3


def check_job_memory(config: RunConfig, dataset: Dataset, scenario: Scenario, settings: SimulationSettings) -> None:
    """Raise UserError if this machine or its GPU lacks the memory to simulate the network after the last task, or its
    GPU the memory to train it."""
    weights, spec = final_network(config, dataset, scenario)
    check_plan_memory(draft_plan(spec, settings))
    if config.training.device == "cuda":
        needed = training_bytes(weights, spec, config)
        free, total = torch.cuda.mem_get_info()
        log.info("training takes about %s of the GPU's memory", format_bytes(needed))
        if needed > free:
            raise UserError(
                f"training takes about {format_bytes(needed)} of the GPU's memory, and {format_bytes(free)} of "
                f"{format_bytes(total)} are free; use a smaller learning.batch_size, --set "
                "training.precision=bfloat16, or --device cpu"
            )


def final_network(config: RunConfig, dataset: Dataset, scenario: Scenario) -> tuple[int, NetworkSpec]:
    """The number of weights of the network after the last task, and its specification.

    All extractors are of one architecture: one is built, and counted as often as there will be extractors. The numbers
    in the specification are those of an untrained network.
    """
    learner = make_learner(config, dataset)
    learner.network.add_extractor(inherit=False)
    learner.network.set_classifier(dataset.outputs)
    count = len(scenario) if learner.method.grows else 1
    weights = sum(parameter.numel() for parameter in learner.network.parameters())
    spec = convert(learner.network.eval(), dataset.image_shape, **convert_options(dataset, learner.network))
    return count * weights, repeated(spec, count)


def training_bytes(weights: int, spec: NetworkSpec, config: RunConfig) -> int:
    """Estimate the memory of training in bytes; convolutions may use as much again as workspace."""
    batch = max(config.learning.batch_size, config.finetuning.batch_size)
    size = 2 if config.training.precision == "bfloat16" else 4
    neurons = sum(p.size for p in spec.populations) * spec.steps * batch
    return neurons * NUMBERS_PER_NEURON * size + weights * NUMBERS_PER_WEIGHT * 4
