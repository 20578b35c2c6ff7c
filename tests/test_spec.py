"""The waist: it refuses contradictions, and comes back from a file as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import NUMPY, conv_net, convert, dyadic_images

from alade_brian.conversion.nir_graphs.neurons import NotInNIR
from alade_brian.conversion.nir_graphs.write import to_nir
from alade_brian.conversion.to_brian2.script import script
from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.errors import UserError
from alade_brian.simulation import simulate
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Parameter,
    Pooling,
    Population,
    Projection,
    Readout,
    Release,
    Sparse,
    SpecError,
    Stimulus,
    TransposedConvolution,
    constant,
)
from alade_brian.spec.file import load_spec, save_spec

SPIKING = NeuronEquations("v : 1", {"v_threshold": constant(1), "v_reset": constant(0)})
READING = NeuronEquations("v : 1", spiking=False, reset="none")


def network(**changes: object) -> NetworkSpec:
    """Three inputs, two neurons, one readout."""
    fields = {
        "stimuli": (Stimulus((3,)),),
        "populations": (Population("hidden", (2,), SPIKING), Population("answer", (1,), READING)),
        "projections": (
            Projection("image", "hidden", Dense(np.ones((2, 3)))), Projection("hidden", "answer", Dense(np.ones((1, 2)))),
        ),
        "readout": Readout("answer"),
        "steps": 4,
    }  # fmt: skip
    return NetworkSpec(**{**fields, **changes})  # type: ignore[arg-type]


REFUSED = {
    "no steps": (lambda: network(steps=0), "at least 1"),
    "no time": (lambda: network(dt=0.0), "positive"),
    "readout that spikes": (lambda: network(readout=Readout("hidden")), "must not spike"),
    "readout of nothing": (lambda: network(readout=Readout("other")), "no population"),
    "two of a name": (lambda: network(populations=(Population("answer", (1,), READING),) * 2), "used twice"),
    "unknown source": (lambda: network(projections=(Projection("other", "hidden", Identity()),)), "unknown population"),
    "unknown target": (lambda: network(projections=(Projection("image", "other", Identity()),)), "unknown population"),
    "against the order": (lambda: network(projections=(Projection("hidden", "hidden", Identity()),)), "without a delay"),
    "delayed stimulus": (
        lambda: network(projections=(Projection("image", "hidden", Dense(np.ones((2, 3))), delay=1),)), "delays a current",
    ),
    "negative delay": (lambda: Projection("a", "b", Identity(), delay=-1), "the delay of the projection a -> b is -1"),
    "a current that comes back too late": (
        lambda: network(projections=(Projection("answer", "hidden", Dense(np.ones((2, 1))), delay=2),)), "delays a current",
    ),
    "spikes of what never spikes": (lambda: network(readout=Readout("answer", "spike_count")), "never spikes"),
    "decoding": (lambda: Readout("answer", "loudest"), "unknown decoding"),
    "population code": (lambda: network(readout=Readout("answer", "last_membrane", neurons_per_output=2)), "groups of 2"),
    "two codings": (lambda: network(stimuli=(Stimulus((3,)), Stimulus((3,), "other", "sequence"))), "differ in their coding"),
    "no stimulus": (lambda: network(stimuli=()), "no stimulus"),
    "time constant": (lambda: dataclasses.replace(SPIKING, parameters={**SPIKING.parameters, "tau": constant(0.0, "step")}), "not positive"),
    "membrane": (lambda: dataclasses.replace(SPIKING, membrane="u"), "no variable of the model"),
    "method": (lambda: dataclasses.replace(SPIKING, method="rk4"), "unknown method"),
    "output padding": (lambda: TransposedConvolution(np.ones((1, 1, 3, 3)), output_padding=(1, 0)), "output padding"),
    "target of a list": (lambda: Sparse([4], [0], [1.0], (2, 2)), "beyond its shape"),
    "source of a list": (lambda: Sparse([0], [4], [1.0], (2, 2)).output_shape((3,)), "beyond the 3"),
    "wrong inputs": (lambda: network(projections=(Projection("image", "hidden", Dense(np.ones((2, 4)))),)), "reads 4 neurons"),
    "wrong outputs": (lambda: network(projections=(Projection("image", "hidden", Dense(np.ones((3, 3)))),)), "its target has"),
    "weights not finite": (lambda: Projection("a", "b", Dense(np.full((1, 1), np.nan))), "not finite"),
    "bias of another shape": (lambda: Population("a", (2,), SPIKING, np.zeros(3)), "bias of 'a'"),
    "bias not finite": (lambda: Population("a", (1,), SPIKING, np.array([np.inf])), "not finite"),
    "parameter of another shape": (
        lambda: Population("a", (2,), dataclasses.replace(SPIKING, parameters={**SPIKING.parameters, "v_reset": Parameter(np.zeros(3))})),
        "parameter 'v_reset'",
    ),
    "parameter missing": (lambda: NeuronEquations("v : 1"), "v_reset, v_threshold"),
    "comparison": (lambda: dataclasses.replace(SPIKING, comparison="<"), "unknown comparison"),
    "reset": (lambda: dataclasses.replace(SPIKING, reset="half"), "unknown reset"),
    "leak": (lambda: dataclasses.replace(SPIKING, leak="never"), "order of leak"),
    "unit": (lambda: Parameter(np.ones(1), "ms"), "unit 'ms'"),
    "shape": (lambda: Stimulus((2, 3, 4, 5)), "channels, height, width"),
    "kernel too large": (lambda: Convolution(np.ones((1, 1, 5, 5))).output_shape((1, 3, 3)), "does not fit"),
    "channels": (lambda: Convolution(np.ones((1, 2, 3, 3))).output_shape((1, 5, 5)), "reads 2 channels"),
    "window too large": (lambda: Pooling((4, 4), (4, 4)).output_shape((1, 3, 3)), "does not fit"),
    "gain": (lambda: Identity(np.ones(3)).output_shape((2, 4, 4)), "does not fit a source of 2"),
    "coding": (lambda: Stimulus((2,), coding="rate"), "unknown coding"),
    "a variable that is not there": (lambda: network(projections=(sent(target_variable="g"),)), "adds to 'g', its target has v"),
    "a current into a variable": (
        lambda: network(projections=(Projection("image", "hidden", Dense(np.ones((2, 3))), target_variable="v"),)), "is a current",
    ),
    "release without a ticket": (lambda: network(projections=(sent(release=Release(0.5, "image")),)), "draws by 'image'"),
    "release of more than all": (lambda: Release(1.5, "tickets"), "use 0 to 1"),
}  # fmt: skip


def sent(**changes: Any) -> Projection:
    return Projection("hidden", "answer", Dense(np.ones((1, 2))), **changes)


def failing() -> NetworkSpec:
    """Synapses that fail by chance, into a variable that is named."""
    stimuli = Stimulus((3,), coding="sequence"), Stimulus((1,), "tickets", "sequence")
    return network(
        stimuli=stimuli,
        projections=(network().projections[0], sent(target_variable="v", release=Release(0.5, "tickets"))),
    )


def test_chance_comes_back_from_a_file_and_is_no_word_of_nir_or_nest(tmp_path: Path) -> None:
    save_spec(failing(), tmp_path / "a.npz")
    assert load_spec(tmp_path / "a.npz").projections[1].release == Release(0.5, "tickets")
    for refuses in (to_nir, nest_plan, script):
        with pytest.raises((NotInNIR, UserError, SpecError), match="fail by chance"):
            refuses(failing())


@pytest.mark.parametrize("case", REFUSED)
def test_a_contradiction_is_refused(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(SpecError, match=words):
        make()


def test_recurrence_with_a_delay_is_allowed_and_simulated() -> None:
    base = network()
    loop = Projection("hidden", "hidden", Dense(np.array([[0.0, 2.0], [0.0, 0.0]])), delay=1)
    spec = dataclasses.replace(base, projections=(*base.projections, loop)).replace_population(
        "hidden", bias=np.array([-3.0, 0.0])
    )
    # Neuron 1 fires whenever its input of 1.5 says so; neuron 0 (net input -1.5) only what neuron 1 sent a step before.
    spikes = simulate(spec, np.full((1, 3), 0.5), NUMPY).spikes["hidden"][0]
    assert spikes[:, 1].all() and not spikes[:, 0].any()
    louder = simulate(spec.replace_population("hidden", bias=np.array([-1.75, 0.0])), np.full((1, 3), 0.5), NUMPY)
    assert louder.spikes["hidden"][0, :, 0].tolist() == [False, True, True, True]


def test_arrays_cannot_be_changed_under_a_specifications_hands() -> None:
    weight = np.ones((2, 3))
    operator = Dense(weight)
    weight[:] = 7
    assert operator.weight.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        operator.weight[0, 0] = 2


def test_file_round_trip_loses_nothing(tmp_path: Path) -> None:
    spec, images = convert(conv_net(), (2, 7, 6)), dyadic_images(3, 2, 7, 6)
    save_spec(spec, tmp_path / "a.npz")
    again = load_spec(tmp_path / "a.npz")
    save_spec(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    one, other = simulate(spec, images, NUMPY), simulate(again, images, NUMPY)
    assert all(np.array_equal(one.spikes[k], other.spikes[k]) for k in one.spikes)
    assert again.populations[0].neuron == again.populations[0].neuron and again.steps == spec.steps


def test_damaged_files_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    with pytest.raises(SpecError, match="no file"):
        load_spec(path)
    save_spec(network(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"something else"):
        path.write_bytes(content)
        with pytest.raises(SpecError, match="damaged"):
            load_spec(path)
    np.savez(path, description=np.array(json.dumps({"format": 99, "network": {}})))
    with pytest.raises(SpecError, match="format 99"):
        load_spec(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(SpecError, match="no network specification"):
        load_spec(path)


def test_a_neuron_knows_which_random_numbers_it_draws() -> None:
    given = {**SPIKING.parameters, "randn_of": constant(0.5)}
    noisy = NeuronEquations("v : 1", given, update="v += rand() + randn_of", on_spike="v -= randn()")
    assert noisy.draws == {"rand", "randn"} and dataclasses.replace(noisy, on_spike="").draws == {"rand"}
    assert dataclasses.replace(noisy, update="v += randn_of", on_spike="").draws == set()
