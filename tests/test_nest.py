"""NEST as a witness: neurons worked out by hand, random networks against Brian2, ties that are seen, the command."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import fakes
import numpy as np
import pytest
from command_line import call
from nest_specs import DT, INTEGRATOR, SCALED, each_alone, lif, random_spec
from networks import NUMPY, conv_net, convert, dyadic_images

from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.conversion.to_nest.rounding import margins
from alade_brian.simulation import simulate
from alade_brian.simulation.nest import simulate_in_nest
from alade_brian.simulation.simulator import arrays, pixels
from alade_brian.spec import Dense, Identity, NetworkSpec, Population, Projection, Readout, Stimulus
from alade_brian.spikes.responses import Responses
from alade_brian.verification.second_simulator import ComparedNetwork, compare

# Not by importorskip: NEST is imported in processes of its own alone.
if importlib.util.find_spec("nest") is None:
    pytest.skip("NEST is not installed", allow_module_level=True)

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"


ABOVE, BELOW = math.nextafter(1, 2), math.nextafter(1, 0)
# Neuron, its input in four steps, the steps in which it fires, its membrane at the end of each.
BY_HAND = {
    "strict, at the threshold": (lif(), [1, 0, 0, 0], [], [1, 0.5, 0.25, 0.125]),
    "strict, one bit above": (lif(), [ABOVE, 0, 0, 0], [0], [0, 0, 0, 0]),
    "reached, at the threshold": (lif(comparison=">="), [1, 0, 0, 0], [0], [0, 0, 0, 0]),
    "reached, one bit below": (lif(comparison=">="), [BELOW, 0, 0, 0], [], [BELOW, BELOW / 2, BELOW / 4, BELOW / 8]),
    "input is whole in its step": (lif(), [0, 0.75, 0, 0.5], [], [0, 0.75, 0.375, 0.6875]),
    "leak, then input": (lif(v_initial=0.75), [0.5, 0, 0, 0], [], [0.875, 0.4375, 0.21875, 0.109375]),
    "reset, then leak": (lif(v_reset=-0.5), [2, 0, 0.25, 0], [0], [-0.5, -0.25, 0.125, 0.0625]),
    "reset at the threshold": (lif(v_reset=1.0), [2, 0.5, 0.75, 0], [0, 2], [1, 1, 1, 0.5]),
    "not refractory": (lif(), [2, 2, 0.5, 2], [0, 1, 3], [0, 0, 0.5, 0]),
    "subtraction at once": (
        lif(comparison=">=", reset="subtract", v_reset=1.0),
        [2.5, 0.25, 0.5, 0.5],
        [0, 1],
        [1.5, 0, 0.5, 0.75],
    ),
    "late reset to zero": (lif(leak="before_reset"), [2, 0.5, 0, 0], [0], [None, 0.5, 0.25, 0.125]),
    "no leak": (lif(model="v : 1"), [0.5, 0.5, 0.5, 0.5], [2], [0.5, 1, 0, 0.5]),
    "gain": (lif(model=SCALED, gain=0.25), [2, 2, 4, 0], [2], [0.5, 0.75, 0, 0]),
    "forward Euler": (lif(method="euler", tau=4.0), [1, 0, 0, 1], [3], [1, 0.75, 0.5625, 0]),
    "inhibition is unbounded": (lif(), [-8, 0, 0, 0], [], [-8, -4, -2, -1]),
}


def raster(steps: list[int]) -> np.ndarray:
    found = np.zeros(4, bool)
    found[steps] = True
    return found


def test_neurons_by_hand_in_both_simulators() -> None:
    """Shown twice: a presentation begins as the one before it did."""
    spec = each_alone({name: case[0] for name, case in BY_HAND.items()}, steps=4)
    shown = np.array([case[1] for case in BY_HAND.values()], float).T
    images = np.stack([shown, shown])
    for found in (simulate_in_nest(spec, images, list(BY_HAND)), simulate(spec, images, NUMPY, list(BY_HAND))):
        for name, (_, _, fires, membrane) in BY_HAND.items():
            for image in (0, 1):
                assert np.array_equal(found.spikes[name][image, :, 0], raster(fires)), name
                # What a late reset leaves at the end of its step is Brian2's own matter.
                known = [k for k, v in enumerate(membrane) if v is not None]
                assert [found.traces[name][image, k, 0] for k in known] == [membrane[k] for k in known], name


def chain(delay: int, loop: int | None = None) -> NetworkSpec:
    """One pixel, three neurons in a row; the middle one may excite itself."""
    one, ends = Identity(), ("image", "a", "b", "c")
    links = [Projection(s, t, one, delay if s == "a" else 0) for s, t in pairwise(ends)]
    links += [Projection("b", "b", one, loop)] if loop else []
    strong = lif(threshold=0.5)
    populations = [Population(name, (1,), strong) for name in "abc"]
    return NetworkSpec(
        (Stimulus((1,), coding="spikes"),), tuple(populations), tuple(links), Readout("c", "spike_count"), steps=4
    )


@pytest.mark.parametrize(("delay", "late"), [(0, [1, 2, 3]), (1, [1, 1, 2]), (2, [1, 1, 2])])
def test_a_layer_lives_so_many_steps_later(delay: int, late: list[int]) -> None:
    plan = nest_plan(chain(delay))
    assert list(plan.lead.values()) == late
    assert [plan.delay(p) for p in chain(delay).projections] == [1, max(1, delay), 1]


def test_delays_and_loops_act_in_their_step_and_never_in_the_next_presentation() -> None:
    images = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], float)[:, :, None]
    found = simulate_in_nest(chain(2, loop=1), images)
    assert found.spikes["a"][:, :, 0].astype(int).tolist() == images[:, :, 0].tolist()
    # Two steps after a, and then in every step, since it excites itself.
    assert found.spikes["b"][:, :, 0].astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert np.array_equal(found.spikes["c"], found.spikes["b"])
    assert found.logits.ravel().tolist() == [2, 0, 0, 0]


def shown_to(spec: NetworkSpec, count: int, seed: int, dyadic: bool = True) -> np.ndarray:
    steps = () if spec.stimulus.coding == "direct" else (spec.steps,)
    shape = (count, *steps, *spec.stimulus.shape)
    draw = np.random.default_rng(seed)
    return draw.integers(-20, 33, shape) / 16 if dyadic else draw.normal(0.3, 1, shape)


def assert_same(spec: NetworkSpec, images: np.ndarray, tolerance: float) -> Responses:
    """The same spikes, membranes and logits, and no layer that is silent or always fires."""
    names = [p.name for p in spec.populations if p.neuron.leak == "after_reset"]
    nest, brian2 = simulate_in_nest(spec, images, names), simulate(spec, images, NUMPY, names)
    for name, fired in brian2.spikes.items():
        assert np.array_equal(nest.spikes[name], fired), name
        assert 0 < fired.mean() < 1, name
    for name in names:
        np.testing.assert_allclose(nest.traces[name], brian2.traces[name], rtol=0, atol=tolerance)
    np.testing.assert_allclose(nest.logits, brian2.logits, rtol=0, atol=tolerance)
    return nest


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_with_exact_sums_agree_to_the_last_bit(seed: int) -> None:
    spec = random_spec(seed)
    assert_same(spec, shown_to(spec, 5, seed), tolerance=0)


def test_networks_with_rounded_sums_agree_too_where_no_tie_is_near() -> None:
    for seed in (5, 8):
        spec = random_spec(seed, dyadic=False)
        images = shown_to(spec, 8, seed, dyadic=False)
        found = assert_same(spec, images, tolerance=1e-13)
        near = margins(spec, nest_plan(spec), found.spikes, pixels(spec, arrays(spec, images)))
        for name, margin in near.items():
            assert (margin.ties, margin.wrong) == (0, 0), name
            assert 0 < margin.bound < 1e-12 < margin.smallest < 0.1, name


def test_a_network_from_torch() -> None:
    images = dyadic_images(6, 2, 7, 6)
    assert_same(convert(conv_net(), (2, 7, 6), dt=DT), images, tolerance=1e-13)


def test_other_processes_hold_nest_not_this_one() -> None:
    simulate_in_nest(chain(0), np.ones((1, 4, 1)))
    assert "nest" not in sys.modules


def tie() -> ComparedNetwork:
    """In step 1 a neuron with 0.1 left of its membrane takes 0.2 and 0.3; its threshold is 0.6. From left to right the
    sum lies above, and 0.2 + 0.3 first makes 0.6 of it."""
    spec = NetworkSpec(
        (Stimulus((3,), coding="sequence"),),
        (Population("two", (2,), lif(0.5)), Population("one", (1,), lif(0.6)), Population("read", (2,), INTEGRATOR)),
        (
            Projection("image", "two", Dense([[1, 0, 0], [0, 1, 0]])),  # type: ignore[arg-type]
            Projection("image", "one", Dense([[0, 0, 1]])),  # type: ignore[arg-type]
            Projection("two", "one", Dense([[0.2, 0.3]])),  # type: ignore[arg-type]
            Projection("one", "read", Dense([[0.0], [1.0]])),  # type: ignore[arg-type]
        ),
        Readout("read"),
        steps=2,
        dt=DT,
    )
    assert (0.1 + 0.2) + 0.3 > 0.6 >= 0.1 + (0.2 + 0.3)
    images = np.array([[[0, 0, 0.2], [1, 1, 0]], [[0, 0, 0], [1, 1, 0]]])
    return ComparedNetwork("tie", spec, images, np.array([1, 0]))


def test_a_spike_that_rounding_decides_is_counted_and_told() -> None:
    found = compare(tie(), NUMPY)
    assert not found.agrees and found.found.mismatched_spikes == 1
    assert found.margins["one"].ties == 1 and found.margins["one"].wrong == 0
    assert found.margins["one"].smallest < 2 * found.margins["one"].bound < 1e-14
    assert found.margins["two"].ties == 0
    assert "first differing spike: layer one, image 0, step 1, neuron 0" in found.table()
    record = found.record()
    assert record["differing_spikes"] == 1 and record["accuracy"] == {"brian2": 1.0, "nest": 0.5}
    json.dumps(record, allow_nan=False)


def test_two_simulators_in_which_nothing_fires_prove_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = tie()
    silent = ComparedNetwork("silent", subject.spec, subject.images * 0, subject.labels)
    monkeypatch.setattr("alade_brian.commands.witness.dense", lambda arguments: silent)
    assert witness("--dense", "digits", "--backend", "numpy") == 1
    printed = capsys.readouterr().out
    assert " 0 differ;" in printed and "this comparison proves nothing about spikes" in printed


def witness(*arguments: object) -> int:
    return call("witness", *arguments)


def test_the_command_says_by_its_exit_code_that_a_spike_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alade_brian.commands.witness.dense", lambda arguments: tie())
    assert witness("--dense", "digits", "--backend", "numpy") == 1
    assert "1 differ;" in capsys.readouterr().out


def test_the_command_trains_compares_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    command = ["--dense", "digits", "--images", 40, "--backend", "numpy", "--out", out]
    assert witness(*command) == 0
    assert f"{40 * 4 * 384:,} entries compared, 0 differ;" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["images"] == 40 and record["differing_spikes"] == 0 and record["entries_compared"] == 40 * 4 * 384
    assert record["test_accuracy_in_torch"] > 0.9 and record["accuracy"]["nest"] == record["accuracy"]["brian2"]
    assert [layer["steps_late_in_nest"] for layer in record["layers"]] == [1, 2]
    assert witness(*command) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name either a CHECKPOINT or --dense"),
        (["some.safetensors", "--dense", "digits"], "name either a CHECKPOINT or --dense"),
        (["nowhere.safetensors"], "nowhere.safetensors"),
        (["--dense", "nothing"], "nothing"),
        (["--dense", "digits", "--images", 0], "--images 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert witness("--backend", "numpy", *arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_what_nest_reports_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec, images = each_alone({"one": lif()}, steps=2), np.ones((1, 2, 1))
    simulate_in_nest(spec, images)
    assert not [message for message in caplog.messages if "NEST" in message]
    monkeypatch.setattr(sys, "executable", str(fakes.python(tmp_path / "python", "echo 'an old library' >&2")))
    simulate_in_nest(spec, images)
    assert "NEST reports: an old library" in caplog.messages
