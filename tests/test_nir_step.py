"""The time step of a NIR graph: the exporter's own where the file shows it, and never longer than a time constant unseen."""

from __future__ import annotations

import logging
from itertools import pairwise

import nir
import numpy as np
import pytest
from networks import NUMPY

from alade_brian.conversion.nir_graphs.read import read_nir
from alade_brian.errors import UserError
from alade_brian.simulation import simulate

SHOWN = np.random.default_rng(0).normal(size=(1, 40, 1)) * 0.6


def lif(tau: object, r: object) -> nir.LIF:
    tau, r = np.array(tau, np.float32, ndmin=1), np.array(r, np.float32, ndmin=1)
    return nir.LIF(tau, r, 0 * tau, np.ones_like(tau), np.zeros_like(tau))


def leaky(dt: float, *beta: float) -> nir.LIF:
    """As an exporter of discrete neurons writes it."""
    tau = dt / (1 - np.array(beta))
    return lif(tau, tau / dt)


def chain(*nodes: nir.NIRNode, **metadata: object) -> nir.NIRGraph:
    size = len(nodes[0].tau) if hasattr(nodes[0], "tau") else len(nodes[0].r)
    ends = nir.Input({"input": np.array([size])}), nir.Output({"output": np.array([size])})
    named = {"input": ends[0], **{f"n{k}": node for k, node in enumerate(nodes)}, "output": ends[1]}
    return nir.NIRGraph(named, list(pairwise(named)), metadata=metadata, type_check=False)


def cuba(dt: float, alpha: float, beta: float) -> nir.CubaLIF:
    syn, mem = (np.array([dt / (1 - x)]) for x in (alpha, beta))
    return nir.CubaLIF(syn, mem, mem / dt, np.zeros(1), np.ones(1), w_in=syn / dt)


def test_an_export_of_snntorch_runs_at_its_own_step(caplog: pytest.LogCaptureFixture) -> None:
    v, fired = 0.0, []
    for x in SHOWN[0, :, 0]:
        v = 0.5 * v + x
        fired.append(v > 1)
        v = 0.0 if v > 1 else v
    assert any(fired)
    spec = read_nir(chain(leaky(1e-4, 0.5)), 40, discretisation="euler")
    assert spec.dt == 1e-4 and "a step of 0.1 ms, the exporter's own" in caplog.text
    assert simulate(spec, SHOWN, NUMPY).spikes["n0"][0, :, 0].tolist() == fired


@pytest.mark.parametrize(
    ("nodes", "dt"),
    [
        ([leaky(1e-4, 0.9, 0.9)], 1e-4),
        ([leaky(1e-4, 0.0, 0.3)], 1e-4),
        ([leaky(2.5e-4, 0.9, 0.8)], 2.5e-4),
        ([leaky(5e-4, 0.9), leaky(5e-4, 0.5)], 5e-4),
        ([cuba(2e-4, 0.5, 0.8)], 2e-4),
        ([cuba(1e-4, 0.5, 0.5)], 1e-4),
        # Numbers that show no step: alike in all neurons, or not of one step.
        ([lif(4e-3, 2.0)], 1e-3),
        ([leaky(5e-4, 0.9), leaky(1e-4, 0.9)], 1e-3),
        ([lif([2e-2, 1e-2], [1.0, 1.0])], 1e-3),
        ([lif([4e-3, 8e-3], [0.4, 0.8])], 1e-3),
        ([lif([4e-3, 8e-3], [0.0, 0.0])], 1e-3),
        ([nir.IF(np.full(1, 50.0), np.ones(1))], 1e-3),
    ],
)
def test_the_step_that_the_constants_show(nodes: list, dt: float, caplog: pytest.LogCaptureFixture) -> None:
    assert read_nir(chain(*nodes), 4).dt == pytest.approx(dt, rel=1e-9)
    assert bool(caplog.records) == (dt != 1e-3)


def test_the_step_in_the_metadata_comes_first_and_the_callers_before_all(caplog: pytest.LogCaptureFixture) -> None:
    graph = chain(leaky(1e-4, 0.9), dt=np.array(5e-4))
    assert read_nir(graph, 4).dt == 5e-4 and "0.5 ms, as its metadata say" in caplog.text
    assert read_nir(graph, 4, dt=2e-4).dt == 2e-4
    assert read_nir(chain(leaky(1e-4, 0.9), dt="soon"), 4).dt == 1e-4


def test_a_step_longer_than_a_time_constant_is_refused_unless_it_was_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph = chain(lif(5e-3, 1.0), lif(2e-4, 1.0))
    sentence = "a step of 1 ms is longer than the time constant tau = 0.2 ms of node 'n1'"
    with pytest.raises(UserError, match=f"{sentence}, and the file does not say its step; give .*--dt"):
        read_nir(graph, 4)
    caplog.set_level(logging.WARNING)
    assert read_nir(graph, 4, dt=1e-3).dt == 1e-3
    assert sentence in caplog.text
    caplog.clear()
    read_nir(graph, 4, dt=2e-4)
    assert not caplog.records
    with pytest.raises(UserError, match="tau_syn = 0.2 ms of node 'n0'"):
        read_nir(chain(nir.CubaLIF(*(np.array([x]) for x in (2e-4, 5e-3, 1.0, 0.0, 1.0)))), 4)
