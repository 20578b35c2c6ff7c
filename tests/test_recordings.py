"""Recordings that a loop fills or concatenates, and parts of layers: each network spikes, and answers, as torch's run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from test_foreign_outputs import by_hand
from test_forward_forms import STEPS, Net, assert_alike, run, with_float64_zeros
from test_frameworks import images
from torch import Tensor

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.spec import Convolution, Dense

Body = Callable[[Any, Any], Any]


def steps_of(net: Any, x: Any) -> Iterable[tuple[int, Any, Any]]:
    """The spikes and membranes of the last layer, step by step."""
    mem = net.last.init_leaky()
    for t in range(STEPS):
        spikes, mem = net.last(net.out(net.fc(x)), mem)
        yield t, spikes, mem


def spikes_of(net: Any, x: Any) -> list[Any]:
    return [spikes for _, spikes, _ in steps_of(net, x)]


def filled(begin: Callable[[Any], Any], index: Callable[[int], Any] = lambda t: t) -> Body:
    """A forward that fills a recording made before its loop."""

    def body(net: Any, x: Any) -> Any:
        rec = begin(x)
        for t, spikes, _ in steps_of(net, x):
            rec[index(t)] = spikes
        return rec

    return body


def assert_as_torch(body: Body, **how: Any) -> None:
    model, shown = Net(body), images(6, count=5)
    right = by_hand(with_float64_zeros(model), shown)
    assert_alike(model, shown, right if isinstance(right, Tensor) and right.ndim == 2 else None, **how)


# Filled in the loop -------------------------------------------------------------------------------------------------------

FILLED: dict[str, Body] = {
    "summed": lambda net, x: filled(lambda x: torch.zeros(STEPS, x.size(0), 4))(net, x).sum(0),
    "mean of empty": lambda net, x: filled(lambda x: torch.empty(STEPS, len(x), 4))(net, x).mean(dim=0),
    "returned": filled(lambda x: torch.zeros(STEPS, x.size(0), 4)),
    "last": lambda net, x: filled(lambda x: torch.zeros(STEPS, x.size(0), 4))(net, x)[-1],
    "a number of images": lambda net, x: filled(lambda x: torch.zeros(STEPS, 5, 4))(net, x).sum(0),
    "new zeros": lambda net, x: filled(lambda x: x.new_zeros(STEPS, x.shape[0], 4))(net, x).sum(0),
    "new empty, images first": lambda net, x: filled(
        lambda x: x.new_empty((x.size(0), STEPS, 4)), lambda t: (slice(None), t)
    )(net, x).sum(1),
    "images first": lambda net, x: filled(lambda x: torch.zeros(len(x), STEPS, 4), lambda t: (slice(None), t))(
        net, x
    ).sum(1),
    "steps last": lambda net, x: filled(
        lambda x: torch.zeros(len(x), 4, STEPS), lambda t: (slice(None), slice(None), t)
    )(net, x).mean(-1),
    "divided in place": lambda net, x: divided_in_place(net, x),
    "membranes": lambda net, x: membranes_too(net, x)[1].mean(0),
    "fed back": lambda net, x: fed_back(net, x),
    "read in a second loop": lambda net, x: second_loop(net, x),
}


def divided_in_place(net: Any, x: Any) -> Any:
    rec = filled(lambda x: torch.zeros(STEPS, x.size(0), 4))(net, x).sum(0)
    rec /= STEPS
    return rec


def membranes_too(net: Any, x: Any) -> Any:
    rec = torch.zeros(STEPS, x.size(0), 4)
    membranes = torch.zeros_like(rec)
    for t, spikes, mem in steps_of(net, x):
        rec[t], membranes[t] = spikes, mem
    return rec, membranes


def fed_back(net: Any, x: Any) -> Any:
    rec, mem = torch.zeros(STEPS, x.size(0), 4), net.last.init_leaky()
    for t in range(STEPS):
        back = 0.2 * rec[t - 1] if t else 0
        rec[t], mem = net.last(net.out(net.fc(x)) - back, mem)
    return rec.sum(0)


def second_loop(net: Any, x: Any) -> Any:
    rec, mem = x.new_zeros(STEPS, x.size(0), 8), net.lif.init_leaky()
    for t in range(STEPS):
        rec[t], mem = net.lif(net.fc(x), mem)
    return run(net, [net.out(spikes) for spikes in rec]).sum(0)


@pytest.mark.parametrize("form", FILLED)
def test_a_recording_that_the_loop_fills(form: str) -> None:
    assert_as_torch(FILLED[form])


def test_a_recording_is_one_of_several_outputs() -> None:
    for output in (0, 1):
        assert_as_torch(membranes_too, output=output)


def filled_by(write: Callable[[Any, int, Any], None], *sizes: int, **how: Any) -> Body:
    def body(net: Any, x: Any) -> Any:
        rec = torch.zeros(STEPS, x.size(0), *(sizes or (4,)), **how)
        for t, spikes, _ in steps_of(net, x):
            write(rec, t, spikes)
        return rec.sum(0)

    return body


def put(rec: Any, index: Any, value: Any) -> None:
    rec[index] = value


def another_view(net: Any, x: Any) -> Any:
    rec = torch.zeros(STEPS, x.size(0), 4)
    flat = rec.view(STEPS, -1)
    for t, spikes, _ in steps_of(net, x):
        rec[t] = spikes
    return flat.sum(0)


def read_before(net: Any, x: Any) -> Any:
    rec = x.new_zeros(x.size(0), STEPS, 4)
    flat = rec.flatten(1)
    for t, spikes, _ in steps_of(net, x):
        rec[:, t] = spikes
    return flat


REFUSED: dict[str, tuple[Body, str]] = {
    "a step is missing": (
        filled_by(lambda rec, t, spikes: put(rec, t, spikes) if t != 2 else None),
        "step 2 is read before it is written",
    ),
    "longer than the loop": (
        lambda net, x: filled(lambda x: torch.zeros(STEPS + 1, x.size(0), 4))(net, x).sum(0),
        f"step {STEPS} is read before it is written",
    ),
    "a step written twice": (
        filled_by(lambda rec, t, spikes: put(rec, max(t - 1, 0), spikes)),
        "step 0 is written twice",
    ),
    "written again when it is full": (
        filled_by(lambda rec, t, spikes: [put(rec, k, spikes) for k in {t, 0 if t == STEPS - 1 else t}]),
        "is written to again|written twice",
    ),
    "backwards": (
        filled_by(lambda rec, t, spikes: put(rec, STEPS - 1 - t, spikes)),
        "is not one tensor of every step in their order",
    ),
    "a part of a step": (
        filled_by(lambda rec, t, spikes: put(rec, (t, slice(None), slice(0, 2)), spikes[:, :2])),
        r"\[0, :, 0:2\] writes something other than one whole step",
    ),
    "one neuron": (
        filled_by(lambda rec, t, spikes: put(rec, (t, slice(None), 0), spikes)),
        r"\[0, :, 0\] writes something other than one whole step",
    ),
    "another shape": (filled_by(put, 1, 4), "give the recording that shape"),
    "bits": (
        filled_by(put, dtype=torch.bool),
        "rounds what is written into it",
    ),
    "another view": (another_view, "another view of it"),
    "read before": (read_before, "is read before the first step is written"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_recording_of_every_step_is_refused(form: str) -> None:
    body, said = REFUSED[form]
    with pytest.raises(RefusedLayers, match=said):
        convert(Net(body), (6,))


# Concatenated -------------------------------------------------------------------------------------------------------------


def grown(begin: Callable[[Any], Any]) -> Body:
    def body(net: Any, x: Any) -> Any:
        rec = begin(x)
        for spikes in spikes_of(net, x):
            rec = spikes.unsqueeze(0) if rec is None else torch.cat((rec, spikes.unsqueeze(0)), dim=0)
        return rec.sum(0)

    return body


JOINED: dict[str, Body] = {
    "in front": lambda net, x: torch.cat([s.unsqueeze(0) for s in spikes_of(net, x)], 0).sum(0),
    "behind the images": lambda net, x: torch.cat([s.unsqueeze(1) for s in spikes_of(net, x)], dim=1).mean(1),
    "at the end": lambda net, x: torch.cat([s[..., None] for s in spikes_of(net, x)], dim=-1).sum(-1),
    "returned": lambda net, x: torch.cat([s[None] for s in spikes_of(net, x)]),
    "viewed": lambda net, x: torch.cat([s.unsqueeze(0) for s in spikes_of(net, x)], 0).view(STEPS, -1, 4).sum(0),
    "grown from the first": grown(lambda x: None),
    "grown from nothing": grown(lambda x: torch.empty(0)),
    "grown from no steps": grown(lambda x: torch.zeros(0, x.size(0), 4)),
    "an image": lambda net, x: run(
        net, (net.out(net.fc(frame)) for frame in torch.cat([x.unsqueeze(0)] * STEPS, 0))
    ).sum(0),
}


@pytest.mark.parametrize("form", JOINED)
def test_frames_that_are_concatenated(form: str) -> None:
    assert_as_torch(JOINED[form])


def test_frames_that_are_not_every_step_are_refused() -> None:
    for part, said in ((slice(1, None), "every step"), (slice(None, None, -1), "every step")):
        body = lambda net, x, part=part: torch.cat([s[None] for s in spikes_of(net, x)[part]]).sum(0)  # noqa: E731
        with pytest.raises(RefusedLayers, match=said):
            convert(Net(body), (6,))
    with pytest.raises(RefusedLayers, match="a constant is no layer's output"):
        convert(Net(grown(lambda x: torch.zeros(1, x.size(0), 4))), (6,))


# Walks over parts of a sequence -------------------------------------------------------------------------------------------

WALKS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "chunk": (lambda x: (frame.squeeze(0) for frame in x.chunk(STEPS, dim=0)), False),
    "chunk, images first": (lambda x: (frame.squeeze(1) for frame in x.chunk(STEPS, dim=1)), True),
    "halves": (lambda x: (frame for half in x.chunk(2) for frame in half), False),
    "split": (lambda x: (frame.squeeze(0) for frame in x.split(1)), False),
    "tensor_split": (lambda x: (frame.squeeze(1) for frame in torch.tensor_split(x, STEPS, dim=1)), True),
    "narrow": (lambda x: (torch.narrow(x, 0, t, 1).squeeze(0) for t in range(STEPS)), False),
    "slice": (lambda x: (x[t : t + 1].squeeze(0) for t in range(STEPS)), False),
    "select": (lambda x: (x.select(1, t) for t in range(STEPS)), True),
    "movedim": (lambda x: iter(torch.movedim(x, 1, 0)), True),
    "swapaxes": (lambda x: iter(x.swapaxes(0, 1)), True),
    "a list of frames": (lambda x: list(x.unbind(0)), False),
}


@pytest.mark.parametrize("walk", WALKS)
def test_walks_over_parts_of_a_sequence(walk: str) -> None:
    frames, images_first = WALKS[walk]
    shown = images(STEPS, 6, count=STEPS)
    model = Net(lambda net, x: run(net, (net.out(net.fc(frame)) for frame in frames(x))).sum(0))
    right = by_hand(model, shown if images_first else shown.swapaxes(0, 1))
    assert_alike(model, shown, right, steps=STEPS, sequence=True)


# Steps last ---------------------------------------------------------------------------------------------------------------

LAST: dict[str, Callable[[Any], Any]] = {
    "ellipsis": lambda x: (x[..., t] for t in range(x.shape[-1])),
    "all of the other axes": lambda x: (x[:, :, t] for t in range(x.size(2))),
    "select": lambda x: (x.select(-1, t) for t in range(STEPS)),
    "unbind": lambda x: x.unbind(-1),
    "permuted": lambda x: iter(x.permute(2, 0, 1)),
    "images first": lambda x: (x.permute(0, 2, 1)[:, t] for t in range(STEPS)),
    "moved": lambda x: iter(x.movedim(-1, 0)),
}


@pytest.mark.parametrize("walk", LAST)
def test_sequences_with_the_steps_last(walk: str) -> None:
    shown = images(STEPS, 6, count=STEPS)
    model = Net(lambda net, x: run(net, (net.out(net.fc(frame)) for frame in LAST[walk](x))).sum(0))
    assert_alike(model, shown, by_hand(model, np.moveaxis(shown, 1, -1)), steps=STEPS, sequence=True)


def test_images_and_recordings_with_the_steps_last() -> None:
    """``(n, c, h, w, T)`` in and out; each frame of it is an image for a convolution."""

    def body(net: Any, x: Any) -> Any:
        rec, mem = torch.zeros(x.size(0), 2, 4, 6, x.shape[-1]), net.last.init_leaky()
        for t in range(x.shape[-1]):
            rec[..., t], mem = net.last(net.conv(x[..., t]), mem)
        return rec

    model, shown = Net(body), images(STEPS, 1, 4, 6, count=STEPS)
    right = by_hand(with_float64_zeros(model), np.moveaxis(shown, 1, -1)).movedim(-1, 1)
    assert_alike(model, shown, right, steps=STEPS, sequence=True, readout="every_step")


def test_one_channel_of_a_sequence_with_the_steps_last() -> None:
    """The number that takes the channel out moves the axis of the steps."""
    shown = images(STEPS, 2, 6, count=STEPS)

    def body(net: Any, x: Any) -> Any:
        return run(net, (net.out(net.fc(frame)) for frame in x[:, 0, :, :STEPS].movedim(2, 0))).sum(0)

    assert_alike(Net(body), shown, by_hand(Net(body), np.moveaxis(shown, 1, -1)), steps=STEPS, sequence=True)


def test_parts_that_are_empty_or_of_no_axis_are_refused() -> None:
    def no_step(net: Any, x: Any) -> Any:
        return torch.stack(list(spikes_of(net, x)))[STEPS:].sum(0)

    for body, said in (
        (no_step, "takes no step"),
        (between(lambda net, s: torch.tensor_split(s, 9, dim=-1)[8]), "takes an empty part"),
        (between(lambda net, s: s[:, :, 0]), "takes a part of an axis that no layer's output has"),
    ):
        with pytest.raises(RefusedLayers, match=said):
            convert(Net(body), (6,))


def test_steps_that_change_places_with_the_images_are_refused() -> None:
    model = Net(lambda net, x: run(net, [net.out(net.fc(frame)) for frame in x.transpose(0, 2)]))
    with pytest.raises(RefusedLayers, match="reorders more than the axis of steps"):
        convert(model, (6,), steps=STEPS, sequence=True)


# Parts of a layer ---------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "chunk": lambda net, s: s.chunk(2, dim=1)[0] * 1.5 - s.chunk(2, 1)[1],
    "split": lambda net, s: s.split([4, 4], 1)[1],
    "tensor_split": lambda net, s: torch.tensor_split(net.rec(s), (4,), dim=-1)[0],
    "narrow": lambda net, s: s.narrow(1, 2, 4),
    "every second": lambda net, s: net.rec(s)[..., ::2] * 0.7,
    "of a matrix": lambda net, s: net.rec(s)[:, 2:6],
    "across a concatenation": lambda net, s: torch.cat([net.rec(s)[:, 6:], s], 1)[:, 1:5],
    "with a constant": lambda net, s: (net.rec(s) + torch.linspace(-0.3, 0.3, 8))[:, 3:7],
    "a row": lambda net, s: s.view(-1, 2, 4)[:, 1],
    "a column": lambda net, s: s.view(s.size(0), 4, 2).select(2, 1),
    "an axis of one": lambda net, s: torch.cat([s.unsqueeze(1), net.rec(s).unsqueeze(1)], 1).flatten(1)[:, 6:10],
    "taken away": lambda net, s: s[:, 1:5].unsqueeze(-1).squeeze(2),
}


def between(part: Callable[[Any, Any], Any]) -> Body:
    """Two layers, and what the second takes of the first."""

    def body(net: Any, x: Any) -> Any:
        mem, currents = net.lif.init_leaky(), []
        for _ in range(STEPS):
            spikes, mem = net.lif(net.fc(x), mem)
            currents.append(part(net, spikes))
        return run(net, currents).sum(0)

    return body


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_features(part: str) -> None:
    assert_as_torch(between(PARTS[part]))


CHANNELS: dict[str, Callable[[Any], Any]] = {
    "channels": lambda s: s[:, :1] - s[:, 1:],
    "a channel": lambda s: s[:, 0],
    "a crop": lambda s: s[:, :, 1:3, 2:4],
    "rows": lambda s: sum(s.split(2, dim=2)),
}


@pytest.mark.parametrize("part", CHANNELS)
def test_parts_of_images(part: str) -> None:
    model = Net(lambda net, x: run(net, [CHANNELS[part](net.conv(x[:, 0].unsqueeze(1)))] * STEPS).flatten(2).sum(0))
    shown = images(1, 4, 6, count=5)
    assert_alike(model, shown, by_hand(model, shown))


def test_a_part_of_a_layer_keeps_its_kind() -> None:
    """Half of a matrix is a matrix, and half of a kernel's channels a kernel: no list of connections."""
    spec = convert(Net(between(lambda net, s: net.rec(s)[:, :4])), (6,))
    assert [type(p.operator) for p in spec.projections if p.source == "lif"] == [Dense]
    spec = convert(Net(lambda net, x: run(net, [net.conv(x)[:, 1:]] * STEPS)), (1, 4, 6))
    assert [p.operator.weight.shape for p in spec.projections if isinstance(p.operator, Convolution)] == [(1, 1, 3, 3)]


def test_what_depends_on_the_number_of_images_is_refused() -> None:
    for part, said in (
        (lambda s: s[:2, :4], r"\[:2, :4\] takes or changes the axis of the images"),
        (lambda s: s[:, :4].squeeze(), "name the axis, as in x.squeeze"),
        (lambda s: s[:, [0, 1, 2, 3]], "takes a part by a list or a tensor"),
        (lambda s: s.chunk(2)[0][:, :4], "takes or changes the axis of the images"),
    ):
        with pytest.raises(RefusedLayers, match=said):
            convert(Net(between(lambda net, s, part=part: part(s))), (6,))


# Changed in place ---------------------------------------------------------------------------------------------------------


def in_place(net: Any, x: Any) -> Any:
    current = net.out(net.fc(x)).view(-1, 4)
    also = current
    current *= 0.5
    current.add_(0.25)
    return run(net, [also] * STEPS).sum(0)


def test_every_name_of_a_tensor_sees_its_change() -> None:
    assert_as_torch(in_place)


def test_another_view_of_a_tensor_that_is_changed_is_refused() -> None:
    def changed_view(net: Any, x: Any) -> Any:
        current = net.out(net.fc(x))
        view = current.view(-1, 2, 2)
        view *= 0.5
        return run(net, [current] * STEPS)

    def viewed_before(net: Any, x: Any) -> Any:
        current = net.out(net.fc(x))
        half = current[:, :2]
        current.mul_(0.5)
        return run(net, [torch.cat([half, half], 1)] * STEPS)

    for body in (changed_view, viewed_before):
        with pytest.raises(RefusedLayers, match="changed in its place"):
            convert(Net(body), (6,))


def test_shapes_are_known_behind_a_recording() -> None:
    """A forward may ask a filled recording for its sizes, and walk over it."""

    def body(net: Any, x: Any) -> Any:
        rec = filled(lambda x: torch.zeros(STEPS, x.size(0), 4))(net, x)
        assert rec.ndim == 3 and len(rec) == rec.shape[0] == rec.size(0) == STEPS and rec.numel() == rec.size(1) * 24
        return torch.stack([rec[t] for t in range(rec.size(0))]).sum(0)

    assert_as_torch(body)
