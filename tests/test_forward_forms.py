"""Forwards as users write them: each spikes, and answers, as torch itself does when it is called as its user calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from reference import reference
from test_foreign_outputs import by_hand
from test_frameworks import images, random_
from torch import Tensor, nn
from torch.nn import functional as F

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.spec import NetworkSpec
from alade_brian.verification.torch_reference import TorchReference, record

STEPS = 6
Body = Callable[[Any, Any], Any]


class Net(nn.Module):
    """Some layers, and a forward given as a function of them and the images."""

    def __init__(self, body: Body, seed: int = 0) -> None:
        snn = pytest.importorskip("snntorch")
        super().__init__()
        self.fc, self.rec, self.out, self.wide = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(48, 8)
        self.lif, self.last, self.other = snn.Leaky(0.9, threshold=0.4), snn.Leaky(0.8, threshold=0.3), snn.Leaky(0.7)
        self.drop, self.decide, self.body = nn.Dropout(0.5), nn.LogSoftmax(1), body
        self.conv, self.pool = nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)
        random_(self, seed).eval()

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def assert_alike(model: nn.Module, shown: np.ndarray, right: Any = None, **how: Any) -> NetworkSpec:
    """Spikes of every layer as the specification's own in plain numpy, and the answer, which is returned."""
    spec = convert(model, shown.shape[2:] if how.get("sequence") else shown.shape[1:], **how)
    found = record(model, shown, spec, output=how.get("output", 0))
    spikes, _ = reference(spec, {spec.stimulus.name: shown})
    assert spec.spiking
    for population in spec.spiking:
        ours, theirs = spikes[population.name], found.spikes[population.name]
        assert np.array_equal(ours.reshape(theirs.shape), theirs), population.name
        assert 0 < theirs.mean() < 1, population.name
    if right is not None:
        np.testing.assert_allclose(found.logits, np.asarray(right).reshape(found.logits.shape), atol=1e-9)
    return spec


def run(net: Any, currents: Iterator[Any] | Sequence[Any], mem: Any = None) -> Tensor:
    """The spikes of a loop over currents."""
    mem, seen = net.last.init_leaky() if mem is None else mem, []
    for current in currents:
        spikes, mem = net.last(current, mem)
        seen.append(spikes)
    return torch.stack(seen)


# Recordings: a sequence of frames, in front or behind the images ------------------------------------------------------------

WALKS: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "numbers": (lambda net, x: (x[t] for t in range(x.size(0))), False),
    "itself": (lambda net, x: iter(x), False),
    "numbered": (lambda net, x: (frame for _, frame in enumerate(x)), False),
    "beside others": (lambda net, x: (frame for frame, _ in zip(x, range(STEPS), strict=True)), False),
    "unbind": (lambda net, x: x.unbind(0), False),
    "select": (lambda net, x: (x.select(0, t) for t in range(len(x))), False),
    "all of the other axes": (lambda net, x: (x[t, :, :] for t in range(x.shape[0])), False),
    "ellipsis": (lambda net, x: (x[t, ...] for t in range(x.shape[0])), False),
    "batch first": (lambda net, x: (x[:, t] for t in range(x.size(1))), True),
    "batch first, number given": (lambda net, x: (x[:, t, :] for t in range(STEPS)), True),
    "batch first, unbind": (lambda net, x: x.unbind(dim=1), True),
    "turned": (lambda net, x: iter(x.transpose(0, 1)), True),
    "permuted": (lambda net, x: (x.permute(1, 0, 2)[t] for t in range(x.shape[1])), True),
    "moved": (lambda net, x: x.movedim(1, 0).unbind(), True),
}


@pytest.mark.parametrize("walk", WALKS)
def test_walks_over_frames(walk: str) -> None:
    frames, images_first = WALKS[walk]
    # As many images as steps: nothing but the forward says which is which.
    shown = images(STEPS, 6, count=STEPS)
    model = Net(lambda net, x: run(net, (net.out(net.rec(net.fc(f))) for f in frames(net, x))))
    right = by_hand(model, shown if images_first else shown.swapaxes(0, 1)).sum(0)
    assert_alike(model, shown, right, steps=STEPS, sequence=True)


def test_a_layer_over_a_recording_that_has_the_images_first() -> None:
    model = Net(lambda net, x: run(net, (net.out(net.fc(x) * 2 - 0.5)[:, t] for t in range(STEPS))))
    shown = images(STEPS, 6, count=4)
    assert_alike(model, shown, by_hand(model, shown).sum(0), steps=STEPS, sequence=True)


def test_a_forward_that_is_understood_is_not_tried_in_other_ways() -> None:
    """One step of a recording: taken as all steps it is not understood, and is not tried with the images first."""
    axes: list[int] = []

    def body(net: Any, x: Any) -> Tensor:
        axes.append(x.ndim)
        return net.last(net.out(net.fc(x)))

    net = Net(body)
    net.last.init_hidden = True
    convert(net, (6,), steps=STEPS, sequence=True)
    assert axes.count(3) == 1


def test_images_walked_over_are_refused() -> None:
    with pytest.raises(RefusedLayers, match="image by image"):
        convert(Net(lambda net, x: run(net, [net.fc(one) for one in x])), (6,))


# States begun by hand -----------------------------------------------------------------------------------------------------

BEGUN: dict[str, Callable[[Any, Any], Any]] = {
    "zeros of two sizes": lambda net, x: torch.zeros(x.size(0), 4),
    "zeros of a tuple, on its device": lambda net, x: torch.zeros((x.shape[0], 4), device=x.device, dtype=x.dtype),
    "zeros like": lambda net, x: torch.zeros_like(net.out(net.fc(x))),
    "new zeros": lambda net, x: x.new_zeros(len(x), 4),
    "a product of sizes": lambda net, x: torch.zeros(x.shape[0] * 4).view(x.shape[0], 4),
    "expanded": lambda net, x: torch.zeros(1, 4).expand(x.size(0), -1),
}


@pytest.mark.parametrize("begin", BEGUN)
def test_states_made_of_sizes(begin: str) -> None:
    model, shown = Net(lambda net, x: run(net, [net.out(net.fc(x))] * STEPS, BEGUN[begin](net, x))), images(6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))


def recurrent(net: Any, x: Any, begin: Callable[[Any], Any], at: Callable[[Any, int], Any] = lambda x, t: x) -> Tensor:
    """Spikes that come back through a layer of the user's own, bias included."""
    mem, spikes, seen = net.lif.init_leaky(), begin(at(x, 0)), []
    for t in range(STEPS):
        spikes, mem = net.lif(net.fc(at(x, t)) + net.rec(spikes) * 0.5, mem)
        seen.append(spikes)
    return torch.stack(seen)


@pytest.mark.parametrize("sequence", [False, True])
def test_recurrence_written_by_hand(sequence: bool) -> None:
    at = (lambda x, t: x[t]) if sequence else (lambda x, t: x)
    model = Net(lambda net, x: recurrent(net, x, lambda now: torch.zeros(now.shape[0], 8), at))
    shown = images(STEPS, 6, count=5) if sequence else images(6, count=5)
    right = by_hand(with_float64_zeros(model), shown.swapaxes(0, 1) if sequence else shown).sum(0)
    spec = assert_alike(model, shown, right, **({"steps": STEPS, "sequence": True} if sequence else {}))
    assert sorted(p.delay for p in spec.projections) == [0, 1]


def with_float64_zeros(model: nn.Module) -> nn.Module:
    """The model as its user would call it in float64, whose zeros must be float64 too."""
    inner = model.body  # type: ignore[attr-defined]

    def body(net: Any, x: Any) -> Any:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return inner(net, x)
        finally:
            torch.set_default_dtype(before)

    return Net(body)


def test_a_state_that_differs_from_image_to_image_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="differs from image to image"):
        convert(Net(lambda net, x: recurrent(net, x, lambda now: torch.rand(now.shape[0], 8))), (6,))
    with pytest.raises(RefusedLayers, match="must not depend on how many are shown"):
        convert(Net(lambda net, x: run(net, [net.fc(x) / x.size(0)] * STEPS)), (6,))


# Sizes --------------------------------------------------------------------------------------------------------------------


def by_shape(net: Any, x: Any) -> Tensor:
    if x.ndim != 4 or x.dim() != 4 or len(x.shape) != 4 or tuple(x.shape[2:]) != (4, 6):
        raise ValueError(f"no images: {x.shape}")
    batch, *_ = x.shape
    mem, seen = net.lif.init_leaky(), []
    for _ in range(STEPS):
        spikes, mem = net.lif(net.conv(x), mem)
        assert spikes.ndim == 4 and spikes.shape[1] == 2 and spikes.numel() == batch * 48
        seen.append(net.out(net.wide(spikes.view(batch, spikes.shape[1], -1).flatten(1)[:, :])))
    return run(net, seen)


def test_a_forward_that_asks_for_shapes() -> None:
    model, shown = Net(by_shape), images(1, 4, 6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))


@pytest.mark.parametrize("count", [4, 6, 2])
def test_a_number_of_images_that_is_written_as_a_number(count: int) -> None:
    """The forward takes four at once; more, and fewer, are shown to it in fours."""
    model = Net(lambda net, x: run(net, [net.out(net.fc(x.view(4, -1)))] * STEPS))
    free = Net(lambda net, x: run(net, [net.out(net.fc(x))] * STEPS))
    shown = images(6, count=count)
    assert_alike(model, shown, by_hand(free, shown).sum(0))
    with pytest.raises(RefusedLayers, match="is not the number of images before, 4"):
        convert(Net(lambda net, x: run(net, [net.out(net.fc(x.view(4, -1)).view(5, -1))] * STEPS)), (6,))


def test_a_number_of_images_of_a_sequence() -> None:
    """A first call with another number fails, but a later one takes all steps nevertheless."""
    model = Net(lambda net, x: run(net, [net.out(net.fc(frame.view(4, -1))) for frame in x]))
    free = Net(lambda net, x: run(net, [net.out(net.fc(frame)) for frame in x]))
    shown = images(STEPS, 6, count=6)
    right = by_hand(free, shown.swapaxes(0, 1)).sum(0)
    assert_alike(model, shown, right, steps=STEPS, sequence=True)


def test_a_number_of_images_is_found_once() -> None:
    """A first call with another number fails; every later one has the right one, and is listened to as the first."""
    model = Net(lambda net, x: run(net, [net.out(net.fc(x.view(4, -1)))] * STEPS))
    reference, calls = TorchReference(model, convert(model, (6,))), list[tuple[int, int]]()

    def called(net: Any, given: Any) -> None:
        calls.append((len(given[0]), len(net.last._forward_hooks)))

    reference.model.register_forward_pre_hook(called)
    reference.packed(images(6, count=15), batch=5)
    assert [size for size, _ in calls] == [5, *[4] * 6] and len({hooks for _, hooks in calls}) == 1


def test_weights_and_constants_without_a_module() -> None:
    def body(net: Any, x: Any) -> Tensor:
        current = F.linear(x, net.fc.weight, net.fc.bias) @ net.out.weight.t()
        return run(net, [current * torch.sigmoid(net.out.bias) + 0.2] * STEPS)

    model, shown = Net(body), images(6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))


# By name: two products of spikes with numbers whose printed text is the same, and a part of the neurons that they reach.
ALIKE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gains": lambda net, spikes: (spikes * net.gain - spikes * net.near_gain) * 4e4,
    "weights by name": lambda net, spikes: F.linear(spikes, weight=net.many) - F.linear(spikes, weight=net.near_many),
}


@pytest.mark.parametrize("numbers", ALIKE)
def test_numbers_that_are_printed_alike_are_kept_apart(numbers: str) -> None:
    """torch prints four decimals, and of more than 1000 elements only those at the edges."""

    def body(net: Any, x: Any) -> Tensor:
        currents, mem = [], net.lif.init_leaky()
        for _ in range(STEPS):
            spikes, mem = net.lif(net.fc(x), mem)
            currents.append(ALIKE[numbers](net, spikes))
        return run(net, currents)

    model, many = Net(body), torch.zeros(150, 8)
    near = many.clone()
    near[70, 3:5] = -0.5
    held = {"gain": torch.tensor(0.12342), "near_gain": torch.tensor(0.12341), "many": many, "near_many": near}
    assert str(near) == str(many) and f"{held['gain']:.4f}" == f"{held['near_gain']:.4f}"
    for name, tensor in held.items():
        model.register_buffer(name, tensor)
    shown = images(6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))


def test_none_in_a_call_means_what_torch_takes_it_for() -> None:
    model = Net(lambda net, x: run(net, [net.out(F.linear(x, net.fc.weight, None)).double()] * STEPS))
    shown = images(6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))
    with pytest.raises(RefusedLayers, match="dim = None must be the steps'; use dim=0"):
        convert(Net(lambda net, x: run(net, [net.out(net.fc(x))] * STEPS).sum(None)), (6,))
    with pytest.raises(RefusedLayers, match=r"fc \(Linear\): input = none is no layer's output"):
        convert(Net(lambda net, x: run(net, [net.out(net.fc(x) + net.fc(None))] * STEPS)), (6,))
    named = Net(lambda net, x: run(net, [net.out(net.fc(input=x))] * STEPS))
    assert_alike(named, shown, by_hand(named, shown).sum(0))


# Answers ------------------------------------------------------------------------------------------------------------------


def with_membranes(net: Any, x: Any) -> dict[str, Any]:
    mem1, mem2, spikes, inner, outer = net.lif.init_leaky(), net.last.init_leaky(), [], [], []
    for _ in range(STEPS):
        spk, mem1 = net.lif(net.fc(x), mem1)
        spk2, mem2 = net.last(net.out(spk), mem2)
        spikes.append(spk2)
        inner.append(mem1)
        outer.append(mem2)
    return {"spikes": torch.stack(spikes), "code": torch.stack(inner), "listed": outer}


def test_an_answer_by_its_key() -> None:
    model, shown = Net(with_membranes), images(6, count=STEPS)
    right = by_hand(model, shown)
    for key, answer, decoding in (
        ("spikes", right["spikes"].sum(0), "spike_count"),
        ("code", right["code"].mean(0), "mean_membrane"),
        ("listed", torch.stack(right["listed"]).mean(0), "mean_membrane"),
    ):
        assert assert_alike(model, shown, answer, output=key).readout.decoding == decoding
    with pytest.raises(RefusedLayers, match="output='spikes' or output='code' or output='listed'"):
        convert(model, (6,), output="spike")


def test_every_step_behind_the_images() -> None:
    """With as many images as steps, the shape alone would not say which axis is which."""
    shown = images(6, count=STEPS)
    for axis in (0, 1):
        model = Net(lambda net, x, axis=axis: torch.stack(list(run(net, [net.out(net.fc(x))] * STEPS)), dim=axis))
        right = by_hand(model, shown).movedim(axis, 1)
        assert_alike(model, shown, right, readout="every_step")


DECISIONS: dict[str, Body] = {
    "softmax": lambda net, x: F.softmax(x, dim=1),
    "logarithm": lambda net, x: x.log_softmax(dim=-1),
    "place of the largest": lambda net, x: torch.argmax(x, 1),
    "module": lambda net, x: net.decide(x),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_logits_are_read_before_a_decision(decision: str) -> None:
    logits = Net(lambda net, x: run(net, [net.out(net.fc(x))] * STEPS).sum(0))
    model = Net(lambda net, x: DECISIONS[decision](net, run(net, [net.out(net.fc(x))] * STEPS).sum(0)))
    shown = images(6, count=5)
    assert_alike(model, shown, by_hand(logits, shown))


def test_a_softmax_module_behind_a_readout() -> None:
    net = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4, threshold=0.3), nn.Linear(8, 3), MeanOverSteps(4))
    model, shown = nn.Sequential(*random_(net), nn.Softmax(1)), images(6, count=5)
    assert_alike(model, shown, by_hand(net, shown))


# Layers at several places -------------------------------------------------------------------------------------------------


def three_loops(net: Any, x: Any) -> Tensor:
    """An encoder, something between, and a decoder, each with a loop of its own; a dropout at every place."""
    mem, code = net.lif.init_leaky(), []
    for _ in range(STEPS):
        spikes, mem = net.lif(net.drop(net.fc(x)), mem)
        code.append(net.drop(spikes))
    mem, middle = net.other.init_leaky(), []
    for spikes in code:
        spikes, mem = net.other(net.drop(net.rec(net.rec(spikes))), mem)
        middle.append(spikes)
    return run(net, [net.drop(net.out(spikes)) for spikes in middle])


def test_three_loops_and_reused_layers() -> None:
    model, shown = Net(three_loops), images(6, count=5)
    assert_alike(model, shown, by_hand(model, shown).sum(0))


def pooled_twice(net: Any, x: Any) -> Tensor:
    mem1, mem2, seen = net.lif.init_leaky(), net.last.init_leaky(), []
    for _ in range(STEPS):
        spk1, mem1 = net.lif(net.conv(x) - 1.5, mem1)
        spk2, mem2 = net.last(net.pool(spk1) * 0.2, mem2)
        seen.append(torch.flatten(net.pool(spk2), 1))
    return torch.stack(seen)


def test_a_pool_at_two_places() -> None:
    model, shown = Net(pooled_twice), images(1, 4, 8, count=5)
    spec = assert_alike(model, shown, by_hand(model, shown).sum(0))
    assert [p.name for p in spec.populations] == ["lif", "pool", "last", "pool#2"]


def test_a_neuron_at_two_places_of_a_step_is_refused() -> None:
    def body(net: Any, x: Any) -> Tensor:
        mem, seen = net.lif.init_leaky(), []
        for _ in range(STEPS):
            spikes, mem = net.lif(net.fc(x), mem)
            spikes, mem = net.lif(net.rec(spikes), mem)
            seen.append(spikes)
        return torch.stack(seen)

    with pytest.raises(RefusedLayers, match="is called at 2 places of a step"):
        convert(Net(body), (6,))


# Products of spikes -------------------------------------------------------------------------------------------------------

PRODUCTS: dict[str, Callable[[Any, Any], Any]] = {
    "both": lambda a, b: a * b,
    "not the other": lambda a, b: a * (1.0 - b),
    "neither, scaled": lambda a, b: (1 - a).mul(2 - 2 * b),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_of_spikes(product: str) -> None:
    def body(net: Any, x: Any) -> Tensor:
        mem1, mem2, seen = net.lif.init_leaky(), net.other.init_leaky(), []
        for _ in range(STEPS):
            spk1, mem1 = net.lif(net.fc(x), mem1)
            spk2, mem2 = net.other(net.rec(spk1), mem2)
            seen.append(net.out(PRODUCTS[product](spk1, spk2)))
        return run(net, seen)

    model, shown = Net(body), images(6, count=8)
    spec = assert_alike(model, shown, by_hand(model, shown).sum(0))
    assert "product#1" in [p.name for p in spec.populations]


def test_products_of_anything_else_are_refused() -> None:
    for other in (lambda net, spikes, x: net.fc(x), lambda net, spikes, x: spikes + 1):
        body = lambda net, x, other=other: run(  # noqa: E731
            net, [s * other(net, s, x) for s in recurrent(net, x, lambda now: torch.zeros_like(net.fc(now)))]
        )
        with pytest.raises(RefusedLayers, match="multiplies what is no spikes"):
            convert(Net(body), (6,))


# SpikingJelly's functions of time -----------------------------------------------------------------------------------------


class Functional(nn.Module):
    """Stateless layers over all steps at once, in SpikingJelly's ways of writing it."""

    def __init__(self, how: str) -> None:
        neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
        super().__init__()
        self.how, self.fc, self.flat = how, nn.Linear(12, 4), nn.Flatten()
        self.conv = nn.Conv2d(1, 2, 3)
        self.lif = neuron.LIFNode(v_threshold=0.3, step_mode="s" if how == "multi_step_forward" else "m")
        random_(self)

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        layers = [self.conv, self.flat, self.fc]
        if x.ndim == 4:
            x = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
        if self.how == "multi_step_forward":
            return functional.multi_step_forward(x, [*layers, self.lif]).mean(0)
        if self.how == "seq_to_ann_forward":
            return self.lif(functional.seq_to_ann_forward(x, layers)).mean(0)
        steps, batch = x.shape[:2]
        current = self.fc(self.flat(self.conv(x.flatten(0, 1))))
        return self.lif(
            current.view(steps, batch, -1) if self.how == "view" else current.unflatten(0, (steps, -1))
        ).mean(0)


@pytest.mark.parametrize("how", ["seq_to_ann_forward", "multi_step_forward", "view", "unflatten"])
def test_spikingjelly_functions_of_time(how: str) -> None:
    assert_alike(Functional(how), images(1, 4, 5, count=4), by_hand(Functional(how), images(1, 4, 5, count=4)))


# A network that is one layer ----------------------------------------------------------------------------------------------


def test_a_neuron_or_container_is_a_whole_network() -> None:
    snn, norse = pytest.importorskip("snntorch"), pytest.importorskip("norse.torch")
    shown = images(5, count=4)
    alone = assert_alike(snn.Leaky(0.9, init_hidden=True), shown, steps=STEPS)
    assert [p.name for p in alone.populations] == ["Leaky"]
    cell = norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3)))
    whole = norse.SequentialState(nn.Linear(5, 6), cell, nn.Linear(6, 3), norse.LICell())
    inside = nn.Sequential(whole)
    names = [p.name for p in assert_alike(random_(whole), shown, steps=STEPS).populations]
    assert names == ["1", "3"]
    with pytest.raises(RefusedLayers, match="state"):
        convert(inside, (5,), steps=STEPS)  # its state does not go from call to call


def test_batch_norm_without_a_bias() -> None:
    norm = nn.BatchNorm1d(8)
    norm.running_mean, norm.running_var = torch.linspace(-1, 1, 8), torch.linspace(0.5, 2, 8)
    norm.bias = None
    net = nn.Sequential(
        HoldCurrent(4), nn.Linear(6, 8), norm, LIF(4, threshold=0.3), nn.Linear(8, 3), MeanOverSteps(4)
    ).eval()
    assert_alike(random_(net), images(6, count=5), by_hand(net, images(6, count=5)))


def test_snntorch_rsynaptic_without_reset_delay_is_refused() -> None:
    snn = pytest.importorskip("snntorch")
    neuron = snn.RSynaptic(0.7, 0.8, linear_features=8, reset_mechanism="none", reset_delay=False)
    with pytest.raises(RefusedLayers, match="reset_delay = False fails in snnTorch"):
        convert(nn.Sequential(nn.Linear(6, 8), neuron), (6,), steps=STEPS)


def test_images_may_be_a_tensor() -> None:
    from networks import NUMPY

    from alade_brian.verification.verify import verify

    net = random_(nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))
    shown = images(6, count=3)
    found, again = (verify(net, x, None, NUMPY) for x in (torch.from_numpy(shown).requires_grad_(), shown))
    assert found.agrees and np.array_equal(found.logits_brian2, again.logits_brian2)
