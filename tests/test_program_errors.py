"""What a compiled program complains of is an error: nothing that it computed is used, and nothing waits for ever."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import fakes
import numpy as np
import pytest
from networks import CPP, NUMPY, conv_net, dyadic_images

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, open_simulator, simulate
from alade_brian.simulation.cache.builds import PROGRAM, check_numbers
from alade_brian.simulation.fused import program as programs
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.simulation.separate import shared_synapses, standalone
from alade_brian.simulation.separate.standalone import StandaloneNetwork
from alade_brian.simulation.workers.shards import ShardedEngine

SPEC = convert(conv_net(), (2, 7, 6))
IMAGES = dyadic_images(9, 2, 7, 6)
SEPARATE = dataclasses.replace(CPP, passes="separate")


def shortened(values: Callable[..., dict]) -> Callable[..., dict]:  # type: ignore[type-arg]
    """The same numbers, but of every bias the first alone."""

    def short(*arguments: object) -> dict:  # type: ignore[type-arg]
        return {key: v[:1] if "bias" in str(key) else v for key, v in values(*arguments).items()}

    return short


@pytest.mark.parametrize(
    "settings", [CPP, dataclasses.replace(CPP, workers=2), SEPARATE], ids=["fused", "two", "separate"]
)
def test_numbers_that_do_not_fill_their_array_are_refused(
    settings: SimulationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "fused_values", shortened(programs.fused_values))
    monkeypatch.setattr(standalone, "separate_values", shortened(shared_synapses.separate_values))
    with pytest.raises(RuntimeError, match=r"numbers of type float64 into \S+\.bias, and 1 of type float64 are handed"):
        simulate(SPEC, IMAGES, settings)


def test_numbers_of_another_type_or_name_are_refused() -> None:
    arrays = {"layer.bias": [2, "float32"]}
    check_numbers({"layer.bias": np.zeros(2, np.float32)}, arrays)
    with pytest.raises(RuntimeError, match="reads 2 numbers of type float32 into layer.bias, and 2 of type float64"):
        check_numbers({"layer.bias": np.zeros(2)}, arrays)
    with pytest.raises(RuntimeError, match="has no array layer.tau"):
        check_numbers({"layer.tau": np.zeros(2, np.float32)}, arrays)


# A line; and more than a pipe holds.
COMPLAINTS = ["echo 'file size 8 does not match' >&2", "yes 'file size 8 does not match' | head -c 300000 >&2"]


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize(
    "settings", [CPP, dataclasses.replace(CPP, workers=2), SEPARATE], ids=["fused", "two", "separate"]
)
def test_a_program_that_complains_is_an_error(
    settings: SimulationSettings, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers all the same; nobody sees these answers."""
    simulator = open_simulator(SPEC, settings)
    engine = simulator.engine
    network = engine._here._idle[0] if isinstance(engine, ShardedEngine) else getattr(engine, "run", engine)
    network = getattr(network, "__self__", network)
    assert isinstance(network, FusedProgram | StandaloneNetwork)
    fakes.script(tmp_path / PROGRAM, f'#!/bin/sh\n{complaint}\nexec {network.folder / PROGRAM} "$@"\n')
    network.folder = tmp_path
    if isinstance(engine, ShardedEngine):
        # The second process is started when it is needed: it complains, too.
        make = engine._here._make

        def complaining() -> FusedProgram:
            program = make()
            assert isinstance(program, FusedProgram)
            program.folder = tmp_path
            return program

        monkeypatch.setattr(engine._here, "_make", complaining)
    with pytest.raises(
        UserError, match="the simulation in .* reported: .*file size 8 does not match.*discarded"
    ) as error:
        for _ in simulator.chunks(IMAGES):
            pytest.fail("an answer of a program that complained")
    assert "\n" not in str(error.value)


def test_another_python_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Libraries warn there of this and that: its answers are used."""
    python = fakes.python(tmp_path / "python", "echo 'an old library' >&2")
    with caplog.at_level(logging.WARNING):
        found = simulate(SPEC, IMAGES, dataclasses.replace(NUMPY, python=python))
    assert np.array_equal(found.logits, simulate(SPEC, IMAGES, NUMPY).logits)
    assert [message for message in caplog.messages if "an old library" in message], caplog.messages


@pytest.mark.slow
def test_what_a_program_of_another_python_complains_of_is_an_error_here(tmp_path: Path) -> None:
    """The program that the other Python starts finds a damaged file of numbers."""
    python = fakes.python(tmp_path / "python")
    settings = dataclasses.replace(SEPARATE, python=python, cache=tmp_path / "cache")
    simulator = open_simulator(SPEC, settings)
    (program,) = (tmp_path / "cache").glob(f"*/{PROGRAM}")
    program.rename(program.with_name("whole"))
    fakes.script(program, f"#!/bin/sh\necho 'a damaged file' >&2\nexec {program.with_name('whole')} \"$@\"\n")
    with pytest.raises(UserError, match="reported: a damaged file; its results are discarded"):
        list(simulator.chunks(IMAGES))
