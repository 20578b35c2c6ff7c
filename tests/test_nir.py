"""NIR files: valid for a reader that knows nothing of us, and with the numbers of the network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nir
import numpy as np
import pytest
from networks import conv_net, convert, dyadic_images

from alade_brian.conversion.nir_write import NotInNIR, to_nir, write_nir
from alade_brian.conversion.torch_record import record
from alade_brian.models import LIF


def step_lif(node: nir.LIF, v: np.ndarray, current: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact solution over one step of NIR's `tau dv/dt = (v_leak - v) + r I`, then threshold and reset."""
    decay = np.exp(-dt / node.tau)
    v = v * decay + (1 - decay) * (node.v_leak + node.r * current)
    spikes = v > node.v_threshold
    return np.where(spikes, node.v_reset, v), spikes


def test_a_written_graph_is_read_back_and_its_equations_give_our_spikes(tmp_path: Path) -> None:
    import torch
    from torch.nn import functional

    net, steps = conv_net(), 4
    spec, image = convert(net, (2, 7, 6)), dyadic_images(1, 2, 7, 6)
    write_nir(spec, tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    expected = record(net, image, spec)
    conv1, conv2 = graph.nodes["3.in0.0"], graph.nodes["6.in0.0"]
    v1, v2 = np.zeros((5, 7, 6)), np.zeros((6, 4, 3))
    for t in range(steps):
        for conv in (conv1, conv2):
            assert isinstance(conv, nir.Conv2d)

        def apply(conv: nir.Conv2d, x: np.ndarray) -> np.ndarray:
            weight, bias = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
            return functional.conv2d(torch.from_numpy(x)[None], weight, bias, tuple(conv.stride), tuple(conv.padding))[
                0
            ].numpy()

        v1, s1 = step_lif(graph.nodes["3"], v1, apply(conv1, image[0]), spec.dt)
        v2, s2 = step_lif(graph.nodes["6"], v2, apply(conv2, s1.astype(float)), spec.dt)
        assert np.array_equal(s1.ravel(), expected.spikes["3"][0, t])
        assert np.array_equal(s2.ravel(), expected.spikes["6"][0, t])


def test_the_graph_is_connected_and_says_what_nir_cannot(tmp_path: Path) -> None:
    spec = convert(conv_net(LIF(4, reset="subtract", v_reset=1.0, comparison=">=")), (2, 7, 6))
    graph = to_nir(spec)
    assert {a for a, _ in graph.edges} | {b for _, b in graph.edges} == set(graph.nodes)
    said = json.loads(graph.metadata["alade_brian"])
    assert (
        said["steps"] == 4
        and said["neurons"]["3"]["comparison"] == ">="
        and said["neurons"]["3"]["reset"] == "subtract"
    )
    assert said["readout"]["population"] == "10"


def test_what_nir_has_no_words_for_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    spec = convert(conv_net(), (2, 7, 6))
    delayed = dataclasses.replace(
        spec, projections=tuple(dataclasses.replace(p, delay=int(p.target == "6")) for p in spec.projections)
    )
    with pytest.raises(NotInNIR, match="delay"):
        write_nir(delayed, tmp_path / "net.nir")
    uneven = np.arange(float(spec.population("3").size)).reshape(spec.population("3").shape)
    with pytest.raises(NotInNIR, match="within a channel"):
        write_nir(spec.replace_population("3", bias=uneven), tmp_path / "net.nir")
    assert list(tmp_path.iterdir()) == []
