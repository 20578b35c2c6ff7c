"""Networks written in other frameworks, as their users write them, against those frameworks' own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import NUMPY
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.verification.verify import Verification, verify

STEPS = 8


def random_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that let every layer spike; not dyadic, so that no membrane meets its threshold exactly."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * 1.5 / fan**0.5
            if module.bias is not None:
                module.bias.data = torch.rand(module.bias.shape, generator=generator) * 0.4
    return model


def images(*shape: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *shape)) * 1.5


def assert_spikes_agree(model: nn.Module, shown: np.ndarray, silent: tuple[str, ...] = (), **how: Any) -> Verification:
    shape = shown.shape[2:] if how.get("sequence") else shown.shape[1:]
    found = verify(model, shown, convert(model, shape, **how), NUMPY)
    assert found.mismatched_spikes == 0, str(found)
    assert all(layer.spikes_reference > 0 for layer in found.layers if layer.name not in silent), str(found)
    assert found.logit_max_abs_difference < 1e-9
    return found


# snnTorch -----------------------------------------------------------------------------------------------------------


def snntorch_neurons() -> dict[str, Callable[[], nn.Module]]:
    snn = pytest.importorskip("snntorch")
    generator = torch.Generator().manual_seed(3)

    def many() -> Tensor:
        return torch.rand(30, generator=generator) * 0.5 + 0.4

    def bounds() -> Tensor:
        """As training leaves them: some neurons without a leak, some without memory, leaky ones between them."""
        return torch.linspace(-0.4, 1.4, 30)

    return {
        "Leaky": lambda: snn.Leaky(0.9),
        "Leaky zero, per neuron, learned": lambda: snn.Leaky(
            many(), many(), reset_mechanism="zero", learn_beta=True, learn_threshold=True
        ),
        "Leaky none": lambda: snn.Leaky(0.6, reset_mechanism="none"),
        "Leaky at once": lambda: snn.Leaky(0.9, reset_delay=False, threshold=0.3),
        "Leaky zero at once": lambda: snn.Leaky(0.9, reset_delay=False, reset_mechanism="zero"),
        "Leaky graded": lambda: snn.Leaky(0.9, graded_spikes_factor=1.7),
        "Leaky without leak": lambda: snn.Leaky(1.0),
        "Leaky clamped": lambda: snn.Leaky(1.5),
        "Leaky at its bounds": lambda: snn.Leaky(bounds()),
        "Leaky zero at its bounds": lambda: snn.Leaky(bounds(), reset_mechanism="zero"),
        "Leaky memoryless": lambda: snn.Leaky(0.0),
        "Synaptic at its bounds": lambda: snn.Synaptic(bounds().flip(0), bounds(), threshold=2.0),
        "Synaptic": lambda: snn.Synaptic(0.8, 0.7),
        "Synaptic zero": lambda: snn.Synaptic(0.8, 0.7, reset_mechanism="zero"),
        "Alpha": lambda: snn.Alpha(0.9, 0.7, threshold=0.3),
        "Alpha subtract": lambda: snn.Alpha(0.9, 0.7, threshold=0.3, reset_mechanism="subtract"),
        "Alpha none": lambda: snn.Alpha(0.9, 0.7, threshold=0.3, reset_mechanism="none"),
        "Lapicque": lambda: snn.Lapicque(0.6, threshold=0.3),
        "Lapicque zero": lambda: snn.Lapicque(beta=0.8, R=2.0, reset_mechanism="zero", threshold=0.3),
        "RLeaky": lambda: snn.RLeaky(0.9, linear_features=30),
        "RLeaky zero": lambda: snn.RLeaky(0.9, linear_features=30, reset_mechanism="zero"),
        "RLeaky one to one": lambda: snn.RLeaky(0.9, all_to_all=False, V=many() - 0.6),
        "RLeaky at once": lambda: snn.RLeaky(0.9, all_to_all=False, V=0.3, reset_delay=False),
        "RSynaptic": lambda: snn.RSynaptic(0.8, 0.7, linear_features=30),
        "RSynaptic zero": lambda: snn.RSynaptic(0.8, 0.7, all_to_all=False, V=0.2, reset_mechanism="zero"),
    }


class SnnTorchNet(nn.Module):
    """A forward that loops over time and passes the states on."""

    def __init__(self, hidden: nn.Module, output: nn.Module, answer: str = "spikes") -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(20, 30), hidden, nn.Linear(30, 5), output
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        begin1, begin2 = self.lif1.reset_mem(), self.lif2.reset_mem()  # type: ignore[operator]
        states1 = begin1 if isinstance(begin1, tuple) else (begin1,)
        states2 = begin2 if isinstance(begin2, tuple) else (begin2,)
        spikes, membranes = [], []
        for _ in range(STEPS):
            spk1, *rest1 = self.lif1(self.fc1(x), *states1)
            states1 = (spk1, *rest1) if hasattr(self.lif1, "recurrent") else rest1
            spk2, *states2 = self.lif2(self.fc2(spk1), *states2)
            spikes.append(spk2)
            membranes.append(states2[-1])
        return {
            "spikes": lambda: torch.stack(spikes, dim=0),
            "both": lambda: (torch.stack(spikes), torch.stack(membranes)),
            "count": lambda: torch.stack(spikes).sum(0),
            "rate": lambda: torch.stack(spikes).mean(dim=0),
            "membrane": lambda: torch.stack(membranes).mean(0),
            "last": lambda: torch.stack(membranes)[-1],
            "max": lambda: torch.stack(membranes).max(0)[0],
            "added": lambda: sum(spikes[1:], spikes[0]) / STEPS,
        }[self.answer]()


@pytest.mark.parametrize(
    "name",
    [
        "Leaky", "Leaky zero, per neuron, learned", "Leaky none", "Leaky at once", "Leaky zero at once", "Leaky graded",
        "Leaky without leak", "Leaky clamped", "Leaky at its bounds", "Leaky zero at its bounds", "Leaky memoryless",
        "Synaptic at its bounds", "Synaptic", "Synaptic zero", "Alpha", "Alpha subtract", "Alpha none",
        "Lapicque", "Lapicque zero", "RLeaky", "RLeaky zero", "RLeaky one to one", "RLeaky at once", "RSynaptic",
        "RSynaptic zero",
    ],
)  # fmt: skip
def test_snntorch_neurons(name: str) -> None:
    snn = pytest.importorskip("snntorch")
    found = snntorch_neurons()
    assert_spikes_agree(random_(SnnTorchNet(found[name](), snn.Leaky(0.9, threshold=0.5))), images(20))


@pytest.mark.parametrize("answer", ["both", "count", "rate", "membrane", "last", "max", "added"])
def test_snntorch_answers(answer: str) -> None:
    snn = pytest.importorskip("snntorch")
    assert_spikes_agree(random_(SnnTorchNet(snn.Leaky(0.9), snn.Leaky(0.8, threshold=0.5), answer)), images(20))


def test_snntorch_convolutional_with_hidden_states_and_a_loop_outside() -> None:
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), snn.Leaky(0.9, init_hidden=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 2), snn.RLeaky(0.8, conv2d_channels=4, kernel_size=3, init_hidden=True), nn.Flatten(),
        nn.Linear(16, 3), snn.Leaky(0.5, init_hidden=True, output=True),
    )  # fmt: skip
    assert_spikes_agree(random_(net), images(1, 8, 8), steps=6)


class OverASequence(nn.Module):
    """A forward that takes one input per step."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 10), neuron

    def forward(self, x: Tensor) -> Tensor:
        mem, spikes = self.lif.reset_mem(), []  # type: ignore[operator]
        for step in range(x.size(0)):
            spk, mem = self.lif(self.fc(x[step]), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def test_snntorch_sequence_of_inputs() -> None:
    snn = pytest.importorskip("snntorch")
    assert_spikes_agree(random_(OverASequence(snn.Leaky(0.8))), images(7, 6), steps=7, sequence=True)


def test_what_snntorch_does_that_no_equation_says_is_refused() -> None:
    snn = pytest.importorskip("snntorch")
    with pytest.warns(UserWarning, match="unstable"):
        inhibited = snn.Leaky(0.9, inhibition=True)
    for neuron, words in (
        (inhibited, "inhibition = True"),
        (snn.Synaptic(0.8, 0.7, reset_delay=False), "reset_delay = False"),
        (snn.Leaky(0.9, state_quant=lambda x: x), "state_quant"),
        (snn.Leaky(float("nan")), "beta, alpha"),
        (snn.Leaky(0.9, threshold=-0.1), "threshold = -0.1"),
        (snn.Leaky(0.9, spike_grad=torch.sigmoid), "spike_grad"),
        (snn.Leaky(0.9, spike_grad=lambda x: (x > 0.2).float()), "no step from 0 to 1 at the threshold"),
    ):
        with pytest.raises(RefusedLayers, match=words):
            convert(SnnTorchNet(neuron, snn.Leaky(0.9)), (20,))


def test_snntorch_steps_by_the_rule_that_it_was_made_with() -> None:
    """Whatever a state dict brought since."""
    snn = pytest.importorskip("snntorch")
    net = random_(SnnTorchNet(snn.Leaky(0.9, reset_mechanism="zero"), snn.Leaky(0.8, threshold=0.5)))
    other = SnnTorchNet(snn.Leaky(0.9), snn.Leaky(0.8, threshold=0.5))
    net.load_state_dict(
        {**net.state_dict(), "lif1.reset_mechanism_val": other.state_dict()["lif1.reset_mechanism_val"]}
    )
    assert_spikes_agree(net, images(20))


def test_a_surrogate_that_fires_at_the_threshold_is_seen() -> None:
    snn = pytest.importorskip("snntorch")
    neuron = snn.Leaky(0.5, spike_grad=lambda x: (x >= 0).float())
    assert convert(SnnTorchNet(neuron, snn.Leaky(0.9)), (20,)).population("lif1").neuron.comparison == ">="


class Faulty(nn.Module):
    """Forwards whose steps differ from each other."""

    def __init__(self, neuron: nn.Module, fault: str) -> None:
        super().__init__()
        self.fc, self.other, self.lif, self.fault = nn.Linear(6, 10), nn.Linear(6, 10), neuron, fault

    def forward(self, x: Tensor) -> Tensor:
        mem, spikes = self.lif.reset_mem(), []  # type: ignore[operator]
        for step in range(STEPS):
            layer = self.other if self.fault == "layer" and step == 3 else self.fc
            spk, new = self.lif(layer(x), mem)
            mem = mem if self.fault == "state" else new
            spikes.append(spk)
        return torch.stack(spikes[1:] if self.fault == "stack" else spikes)


@pytest.mark.parametrize(
    ("fault", "words"), [("layer", "differs from the last step"), ("state", "state"), ("stack", "every step")]
)
def test_steps_that_differ_are_refused(fault: str, words: str) -> None:
    snn = pytest.importorskip("snntorch")
    with pytest.raises(RefusedLayers, match=words):
        convert(Faulty(snn.Leaky(0.9), fault), (6,))


# SpikingJelly -------------------------------------------------------------------------------------------------------


def spikingjelly_neurons() -> dict[str, Callable[[], nn.Module]]:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    return {
        "IF": lambda: neuron.IFNode(),
        "IF subtract": lambda: neuron.IFNode(v_reset=None, v_threshold=0.8),
        "LIF": lambda: neuron.LIFNode(2.0),
        "LIF plain input, reset to a value": lambda: neuron.LIFNode(3.0, decay_input=False, v_reset=0.1),
        "LIF subtract": lambda: neuron.LIFNode(2.5, v_reset=None, v_threshold=0.5),
        "PLIF": lambda: neuron.ParametricLIFNode(2.3),
        "PLIF plain input, reset to a value": lambda: neuron.ParametricLIFNode(2.3, decay_input=False, v_reset=-0.1),
    }


SPIKINGJELLY = [
    "IF", "IF subtract", "LIF", "LIF plain input, reset to a value", "LIF subtract", "PLIF",
    "PLIF plain input, reset to a value",
]  # fmt: skip


class MultiStep(nn.Module):
    """Time as the first axis."""

    def __init__(self, hidden: nn.Module) -> None:
        from spikingjelly.activation_based import functional, layer, neuron

        super().__init__()
        self.net = nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), hidden, layer.MaxPool2d(2),
            layer.Flatten(), layer.Linear(36, 10), neuron.LIFNode(v_threshold=0.3), layer.VotingLayer(2),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)).mean(0)


class SingleStep(nn.Module):
    """A loop over modules that keep their state."""

    def __init__(self, hidden: nn.Module) -> None:
        from spikingjelly.activation_based import layer, neuron

        super().__init__()
        self.conv = nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), hidden)
        self.fc = nn.Sequential(layer.Flatten(), layer.Linear(4 * 36, 5), neuron.IFNode(v_threshold=0.5))

    def forward(self, x: Tensor) -> Tensor:
        fired = self.fc(self.conv(x))
        for _ in range(STEPS - 1):
            fired = fired + self.fc(self.conv(x))
        return fired / STEPS


class Containers(nn.Module):
    """Stateless layers in containers, and a recurrent container."""

    def __init__(self, hidden: nn.Module) -> None:
        from spikingjelly.activation_based import functional, layer, neuron

        super().__init__()
        self.stem = layer.SeqToANNContainer(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
        self.hidden = hidden
        functional.set_step_mode(self.hidden, "m")
        self.flat = layer.SeqToANNContainer(nn.Flatten(), nn.Linear(64, 12))
        self.recurrent = layer.LinearRecurrentContainer(neuron.LIFNode(v_threshold=0.2), 12, 12, step_mode="m")
        self.answer = layer.Linear(12, 4, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.recurrent(self.flat(self.hidden(self.stem(torch.stack([x] * STEPS)))))).mean(0)


@pytest.mark.parametrize("form", [MultiStep, SingleStep, Containers])
@pytest.mark.parametrize("name", SPIKINGJELLY)
def test_spikingjelly(name: str, form: Callable[[nn.Module], nn.Module]) -> None:
    assert_spikes_agree(random_(form(spikingjelly_neurons()[name]())), images(2, 6, 6))


class DeepContainer(nn.Module):
    """A recurrent container whose neuron stands behind a linear layer."""

    def __init__(self) -> None:
        layer = pytest.importorskip("spikingjelly.activation_based.layer")
        neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
        super().__init__()
        inside = nn.Sequential(nn.Linear(6, 8), neuron.LIFNode(v_threshold=0.3))
        self.net = layer.LinearRecurrentContainer(inside, 6, 8, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(STEPS, 1, 1)).mean(0)


def test_spikingjelly_recurrent_container_around_several_layers() -> None:
    assert_spikes_agree(random_(DeepContainer()), images(6))


def test_spikingjelly_refusals() -> None:
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    for function in (
        surrogate.MultiLevelSpikeCount(max_spike_count=4),
        surrogate.PoissonPass(),
        lambda v: (v > 0.3) * 1.0,
    ):
        node = pytest.importorskip("spikingjelly.activation_based.neuron").IFNode(surrogate_function=function)
        with pytest.raises(RefusedLayers, match="surrogate_function"):
            convert(nn.Sequential(nn.Linear(4, 3), node), (4,), steps=3)
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    with pytest.raises(RefusedLayers, match="carries no steps"):
        convert(nn.Sequential(nn.Linear(4, 3), neuron.IFNode(step_mode="m")), (4,), steps=3)
    with pytest.raises(RefusedLayers, match="differs from step to step"):
        convert(nn.Sequential(nn.Conv2d(1, 2, 3), layer.NeuNorm(2, 4, 4, 0.9), neuron.IFNode()), (1, 6, 6), steps=3)


def test_a_refused_class_takes_a_function_of_the_users_own() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    from alade_brian.conversion.lowering import AffineInput, SpecBuilder
    from alade_brian.models import HoldCurrent, MeanOverSteps
    from alade_brian.spec import NeuronEquations, constant

    own = NeuronEquations("v : 1", {"v_threshold": constant(2.0), "v_reset": constant(2.0)}, reset="subtract")

    def lower(lowering: SpecBuilder, name: str, module: nn.Module, value: AffineInput) -> AffineInput:
        return lowering.add_population(name, value, own, module.steps)

    node = neuron.ILIFNode()
    node.steps = 3
    net = nn.Sequential(HoldCurrent(3), nn.Linear(4, 5), node, nn.Linear(5, 2), MeanOverSteps(3))
    with pytest.raises(RefusedLayers, match=r"2 \(ILIFNode\): class = ILIFNode sends up to several spikes in one step"):
        convert(net, (4,))
    population = next(p for p in convert(net, (4,), extra={neuron.ILIFNode: lower}).populations if p.name == "2")
    assert population.neuron is own and population.shape == (5,)


class Looped(nn.Module):
    """A network that keeps its states, called in a loop."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        total = self.net(x)
        for _ in range(STEPS - 1):
            total = total + self.net(x)
        return total


def test_spikingjelly_network_made_of_one_with_relu_units() -> None:
    ann2snn = pytest.importorskip("spikingjelly.activation_based.ann2snn")
    units = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3))
    shown = images(1, 6, 6)
    loader = [(torch.from_numpy(shown).float(), torch.zeros(len(shown)))]
    recipe = ann2snn.RateCodingRecipe(dataloader=loader, mode="max")
    assert_spikes_agree(Looped(ann2snn.Converter(recipe).convert(random_(units).eval())), shown)


def test_spikingjelly_gains_of_channels() -> None:
    modules = pytest.importorskip("spikingjelly.activation_based.ann2snn.modules")
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    gains = torch.tensor([0.5, 1.0, 2.0])
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), modules.ChannelVoltageScaler(gains), neuron.IFNode(), modules.ChannelVoltageScaler(gains, -3),
        nn.Flatten(), nn.Linear(27, 4), modules.ChannelVoltageScaler(2.0), neuron.IFNode(),
    )  # fmt: skip
    assert_spikes_agree(Looped(random_(net)), images(1, 5, 5))


# Norse --------------------------------------------------------------------------------------------------------------


def norse_cells() -> dict[str, Callable[[], nn.Module]]:
    norse = pytest.importorskip("norse.torch")
    from norse.torch.functional.reset import reset_subtract

    low, fast = torch.tensor(0.4), torch.tensor(200.0)
    box = norse.LIFBoxParameters
    return {
        "LIF": lambda: norse.LIFCell(norse.LIFParameters(v_th=low)),
        "LIF, all parameters": lambda: norse.LIFCell(
            norse.LIFParameters(
                v_th=low, v_leak=torch.tensor(0.1), v_reset=torch.tensor(-0.1), tau_mem_inv=fast, method="triangle"
            ),
            dt=0.002,
        ),
        "LIFBox": lambda: norse.LIFBoxCell(box(v_th=low)),
        "LIFBox subtract": lambda: norse.LIFBoxCell(box(v_th=low, tau_mem_inv=fast, reset_method=reset_subtract)),
    }


class NorseNet(nn.Module):
    """A state that is passed through a loop."""

    def __init__(self, cell: nn.Module, answer: str) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        self.net = norse.SequentialState(nn.Conv2d(2, 4, 3), cell, nn.Flatten(), nn.Linear(64, 5), norse.LICell())
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        state, voltages = None, []
        for _ in range(STEPS):
            voltage, state = self.net(x, state)
            voltages.append(voltage)
        whole = torch.stack(voltages)
        return {"last": lambda: whole[-1], "max": lambda: whole.max(0)[0], "mean": lambda: whole.mean(0)}[self.answer]()


@pytest.mark.parametrize("answer", ["last", "max", "mean"])
@pytest.mark.parametrize("name", ["LIF", "LIF, all parameters", "LIFBox", "LIFBox subtract"])
def test_norse(name: str, answer: str) -> None:
    assert_spikes_agree(random_(NorseNet(norse_cells()[name](), answer)), images(2, 6, 6))


class NorseRecurrent(nn.Module):
    """A recurrent cell and a leaky integrator without a synaptic current."""

    def __init__(self) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        self.cell = norse.LIFRecurrentCell(6, 8, norse.LIFParameters(v_th=torch.tensor(0.3)))
        self.fc, self.answer = nn.Linear(8, 3), norse.LIBoxCell()

    def forward(self, x: Tensor) -> Tensor:
        state = voltage_state = None
        voltages = []
        for _ in range(STEPS):
            spikes, state = self.cell(x, state)
            voltage, voltage_state = self.answer(self.fc(spikes), voltage_state)
            voltages.append(voltage)
        return torch.stack(voltages).mean(0)


def test_norse_recurrent_cell() -> None:
    torch.manual_seed(0)
    assert_spikes_agree(NorseRecurrent(), images(6))


class NorseOverTime(nn.Module):
    """Layers that take a whole sequence, one by one or in a container."""

    def __init__(self, form: str) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        low = norse.LIFParameters(v_th=torch.tensor(0.3))
        self.recurrent, self.form = norse.LIFRecurrent(6, 8, p=low), form
        lifted = norse.Lift(nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 3, 3), nn.Flatten()))
        self.net = norse.SequentialState(lifted, norse.LIF(p=low), norse.Lift(nn.Linear(6, 3)), norse.LI())

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.recurrent(x if self.form == "sequence" else x.unsqueeze(0).repeat(STEPS, 1, 1))
        return spikes.mean(0) if self.form == "recurrent" else self.net(spikes)[0].mean(0)


@pytest.mark.parametrize("form", ["recurrent", "container", "sequence"])
def test_norse_layers_over_time(form: str) -> None:
    torch.manual_seed(0)
    how = {"steps": STEPS, "sequence": True} if form == "sequence" else {}
    shape = (STEPS, 6) if how else (6,)
    assert_spikes_agree(random_(NorseOverTime(form)), images(*shape) * 20, **how)


def test_a_cell_lifted_with_its_state_is_refused_with_the_layer_to_use() -> None:
    norse = pytest.importorskip("norse.torch")
    with pytest.raises(RefusedLayers, match=r"net.0 \(Lift\): module = LIFCell .* use Norse's LIF instead"):
        convert(Looped(norse.SequentialState(norse.Lift(norse.LIFCell()))), (6,))


class Forgetful(nn.Module):
    def __init__(self) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        self.fc, self.lif = nn.Linear(4, 3), norse.LIFCell()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.lif(self.fc(x))[0] for _ in range(STEPS)])


def test_a_state_that_is_not_passed_on_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="pass it on"):
        convert(Forgetful(), (4,))


# Any -----------------------------------------------------------------------------------------------------------------


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_layer_with_a_forward_of_its_own_is_not_taken_for_its_base() -> None:
    from alade_brian.models import LIF, HoldCurrent, MeanOverSteps

    net = nn.Sequential(HoldCurrent(2), Doubled(3, 4), LIF(2), nn.Linear(4, 2), MeanOverSteps(2))
    with pytest.raises(RefusedLayers, match=r"1 \(Doubled\): class = Doubled has a forward of its own"):
        convert(net, (3,))
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    net[1] = layer.WSLinear(3, 4)
    with pytest.raises(RefusedLayers, match="WSLinear steps otherwise than SpikingJelly's Linear"):
        convert(net, (3,))


@pytest.mark.parametrize("framework", ["snntorch", "spikingjelly"])
def test_a_model_fresh_from_training_is_copied(framework: str) -> None:
    """A forward with gradients leaves states behind that no plain copy takes; the model itself is not changed."""
    pytest.importorskip(framework)
    if framework == "snntorch":
        snn = pytest.importorskip("snntorch")
        model, shown = random_(SnnTorchNet(snn.Leaky(0.9), snn.Leaky(0.8, threshold=0.5))), images(20)
    else:
        model, shown = random_(MultiStep(spikingjelly_neurons()["LIF"]())), images(2, 6, 6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(torch.from_numpy(shown).float()).sum()
    after = {key: value.clone() for key, value in model.state_dict().items()}
    assert_spikes_agree(model, shown)
    assert all(torch.equal(value, after[key]) for key, value in model.state_dict().items())
    assert before.keys() == after.keys()


def test_another_version_of_a_framework_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    snn = pytest.importorskip("snntorch")
    monkeypatch.setattr("alade_brian.conversion.from_torch.frameworks.registry.version", lambda package: "0.9.4")
    with pytest.raises(RefusedLayers, match=r"version of snntorch = 0.9.4 .*install snntorch==1.0"):
        convert(SnnTorchNet(snn.Leaky(0.9), snn.Leaky(0.8)), (20,))
