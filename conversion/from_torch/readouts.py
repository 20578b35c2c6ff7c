"""How the modules that end a network are lowered: which population is read, and how.

Where the module stands right behind neurons these are read; behind a linear layer a population of its own takes the
layer's output.
"""

from __future__ import annotations

from dataclasses import replace

from alade_brian.conversion.from_torch.lowerings import lowers
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue, SpecBuilder, is_plain
from alade_brian.models.layers.readouts import LeakyMean, OverSteps, PopulationVote
from alade_brian.models.neurons.leaky import LI
from alade_brian.spec import DECODINGS, NeuronEquations, Readout, constant, memoryless


@lowers(OverSteps)
def lower_over_steps(lowering: SpecBuilder, name: str, module: OverSteps, value: AffineInput) -> AffineInput:
    """A readout; its population is the layer before it, or one of the readout's own name."""
    _check(lowering, name, value)
    lowering.steps.add(module.steps)
    direct: str | None = None
    if is_plain(value):
        spiking = lowering.population(value.terms[0].source).neuron.spiking
        direct = module.of_spikes if spiking else module.of_membranes
    if direct is not None:
        lowering.readout = Readout(value.terms[0].source, direct, decision=module.decision)
    elif module.of_input is None:
        raise CannotLower("input", value.shape, "is no layer of spikes; put the readout right behind a spiking neuron")
    else:
        lowering.add_population(name, value, _population_behind(module))
        lowering.readout = Readout(name, module.of_input, decision=module.decision)
    return ReadoutValue(value.shape, value.terms, value.bias)


def _population_behind(module: OverSteps) -> NeuronEquations:
    """The population that is put behind a linear layer for a readout."""
    if isinstance(module, LeakyMean):
        return leaky_integrator(module.decay, module.gain)
    return integrator() if module.integrates else memoryless()


def leaky_integrator(decay: float, gain: float) -> NeuronEquations:
    """The input times `gain`, with a leak."""
    equations = LI(1, decay, scale_input=True).equations()
    return replace(equations, parameters={**equations.parameters, "gain": constant(gain)})


def integrator() -> NeuronEquations:
    """The sum of the input of all steps."""
    return NeuronEquations("v : 1", spiking=False, reset="none")


def _check(lowering: SpecBuilder, name: str, value: AffineInput) -> None:
    if lowering.readout is not None:
        raise CannotLower("module", name, "is a second readout; a network has one")
    passed = next((term.source for term in value.terms if lowering.is_stimulus(term.source)), None)
    if passed is not None:
        raise CannotLower("input", passed, "reaches the readout without passing a neuron; put a neuron layer between")
    if len(value.shape) != 1:
        raise CannotLower("input", value.shape, "is not flat; put nn.Flatten before the readout")


@lowers(PopulationVote)
def lower_population_vote(lowering: SpecBuilder, name: str, module: PopulationVote, value: AffineInput) -> AffineInput:
    """A population code of the answers that a readout gave."""
    if not value.terms:
        return value  # behind a refusal
    readout = lowering.readout
    if readout is None or not isinstance(value, ReadoutValue):
        raise CannotLower(
            "module", name, "stands before the readout; put it behind MeanOverSteps, SumOverSteps or the like"
        )
    if readout.neurons_per_output != 1:
        raise CannotLower("module", name, "is a second population code; use one")
    if value.shape[0] % module.group:
        raise CannotLower("group", module.group, f"does not divide the {value.shape[0]} answers")
    counts = DECODINGS[readout.decoding].group == "sum"
    if module.average == counts:
        remedy = "adds up; use average=False" if counts else "is averaged; use average=True"
        raise CannotLower(
            "average", module.average, f"does not fit: a population code of a {readout.decoding} {remedy}"
        )
    lowering.readout = replace(readout, neurons_per_output=module.group)
    return ReadoutValue((value.shape[0] // module.group,), value.terms, value.bias[: value.shape[0] // module.group])
