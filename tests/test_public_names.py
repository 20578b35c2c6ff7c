"""The public names of the package: lazy, typed, each with an example that runs; and a live network to experiment with."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import brian2 as b2
import numpy as np
import pytest
from networks import NUMPY, conv_net, convert, dyadic_, dyadic_images
from nir_specs import assert_specs_equal
from test_job import finished, quick
from torch import nn

import alade_brian
from alade_brian import load, perturb, simulate, to_brian2, write_nir
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.perturbations import Presentation, perturbation
from alade_brian.spec import SpecError
from alade_brian.spec.file import save_spec

__all__ = ["finished", "quick"]  # fixtures


def test_the_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, alade_brian\n"
        "heavy = {'torch', 'brian2', 'scipy', 'matplotlib', 'numpy', 'nir', 'yaml', 'joblib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert sum(name.startswith('alade_brian') for name in sys.modules) == 2, 'the package and its ground'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_specifications_are_read_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from alade_brian import load, simulate, perturb, to_brian2, read_nir"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_public_do_not_exist() -> None:
    assert {*alade_brian.__all__, "__version__"} <= set(dir(alade_brian))
    with pytest.raises(AttributeError, match="no attribute 'simulte'"):
        alade_brian.simulte  # noqa: B018


@pytest.mark.parametrize("name", alade_brian.__all__)
def test_an_example_says_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = b2.prefs.codegen.target
    (example,) = (test for test in doctest.DocTestFinder(recurse=False).find(getattr(alade_brian, name), name))
    assert f"import {name}" in example.docstring or f", {name}" in example.docstring
    said: list[str] = []
    try:
        result = doctest.DocTestRunner().run(example, out=said.append)
    finally:
        b2.prefs.codegen.target = target
    assert result.attempted > 3 and result.failed == 0, "".join(said)


def test_a_type_checker_sees_the_names(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")

    (tmp_path / "own.py").write_text(
        "from alade_brian import NetworkSpec, load\nreveal_type(load)\nwrong: int = load('x.npz')\n"
        "right: NetworkSpec = load('x.npz')\n"
    )
    shown, _, _ = api.run([
        "--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={tmp_path}", str(tmp_path / "own.py"),
    ])  # fmt: skip
    assert shown.count("error:") == 1 and 'has type "NetworkSpec", variable has type "int"' in shown, shown


NET = dyadic_(nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))
SPEC, IMAGES = convert(NET, (6,)), dyadic_images(3, 6)


@pytest.fixture
def numpy_target() -> Iterator[None]:
    """The live network follows Brian2's own preferences; no test leaves others behind."""
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = before


@pytest.mark.usefixtures("numpy_target")
@pytest.mark.parametrize("which", ["dense", "convolutions", "delays"])
def test_a_live_network_without_additions_is_the_simulation(which: str) -> None:
    spec = {"dense": SPEC, "convolutions": convert(conv_net(), (2, 7, 6)), "delays": perturb(SPEC, "delay", 2)}[which]
    images = dyadic_images(3, *spec.stimulus.shape)
    live = to_brian2(spec, images)
    live.network.run(live.duration, namespace={})
    wanted, found = simulate(spec, images, NUMPY), live.responses()
    assert live.duration == 3 * live.period and live.dt == 1 * b2.ms
    assert set(found.spikes) == set(wanted.spikes) == set(live.spikes)
    for name, spikes in wanted.spikes.items():
        assert spikes.any() and np.array_equal(found.spikes[name], spikes)
    assert np.array_equal(found.logits, wanted.logits)


@pytest.mark.usefixtures("numpy_target")
def test_monitors_synapses_and_populations_can_be_added() -> None:
    live = to_brian2(SPEC, IMAGES)
    layer = live.groups["2"]
    fired = b2.SpikeMonitor(layer)
    inhibitory = b2.NeuronGroup(1, "u : 1", threshold="u >= 1", reset="u = 0", dt=live.dt, name="inhibitory")
    excite = b2.Synapses(layer, inhibitory, on_pre="u_post += 1", name="excite")
    inhibit = b2.Synapses(inhibitory, layer, on_pre="v_post -= 64", name="inhibit")
    excite.connect()
    inhibit.connect()
    quiet = b2.SpikeMonitor(inhibitory)
    live.network.add(fired, inhibitory, excite, inhibit, quiet)
    live.network.run(live.duration, namespace={})
    before, after = simulate(SPEC, IMAGES, NUMPY).spikes["2"], live.responses().spikes["2"]
    assert fired.num_spikes == after.sum() and quiet.num_spikes > 0
    # A spike reaches the added population in the next step, and its spike the layer in the one after that.
    for free, held in zip(before, after, strict=True):
        first = int(np.flatnonzero(free.any(1))[0])
        assert np.array_equal(free[: first + 2], held[: first + 2]) and not held[first + 2 :].any()
    assert before.sum() > after.sum()


@pytest.mark.usefixtures("numpy_target")
def test_half_a_run_has_no_responses() -> None:
    live = to_brian2(SPEC, IMAGES)
    live.network.run(live.duration / 2, namespace={})
    with pytest.raises(RuntimeError, match="has run 6 of 12 steps: run it for its duration"):
        live.responses()
    with pytest.raises(UserError):
        to_brian2(SPEC, IMAGES[:, :5])


def test_a_perturbed_network_is_that_of_the_perturbation() -> None:
    shown = Presentation(SPEC, IMAGES)
    for name, strength in (("weight-noise", 0.5), ("delay", 1)):
        wanted = perturbation(name)(shown, strength, 3)
        assert_specs_equal(perturb(SPEC, name, strength, 3), wanted.spec)
    noisy, wanted = (
        perturb(SPEC, "membrane-noise", 0.5, 3, images=IMAGES),
        perturbation("membrane-noise")(shown, 0.5, 3),
    )
    assert_specs_equal(noisy.spec, wanted.spec)
    assert all(np.array_equal(noisy.images[key], wanted.images[key]) for key in wanted.images)
    with pytest.raises(UserError, match="'membrane-noise' changes what the network is shown, too; give images="):
        perturb(SPEC, "membrane-noise", 0.5)
    with pytest.raises(UserError, match="'delay' has no strength -1"):
        perturb(SPEC, "delay", -1)


def test_every_kind_of_file_is_read(finished: Path, tmp_path: Path) -> None:
    save_spec(SPEC, tmp_path / "net.npz")
    write_nir(SPEC, tmp_path / "net.nir")
    assert_specs_equal(load(tmp_path / "net.npz"), SPEC)
    assert_specs_equal(load(str(tmp_path / "net.nir")), SPEC)
    assert load(finished / "checkpoints" / "task-03.safetensors").steps == 3
    with pytest.raises(UserError, match=r"dt is for a NIR graph, and .*net.npz is none; leave it out"):
        load(tmp_path / "net.npz", dt=1e-3)
    with pytest.raises(SpecError, match="there is no file"):
        load(tmp_path / "other.npz")
