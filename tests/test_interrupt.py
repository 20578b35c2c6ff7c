"""A run that ends early is never taken for a whole one: interrupts, other early ends, and files that are cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
import pytest
from command_line import call
from networks import CPP, NUMPY, conv_net, convert, dyadic_, dyadic_images
from torch import nn

from alade_brian.conversion.nir_graphs.write import write_nir
from alade_brian.conversion.to_brian2.network import BatchLayout, BrianNetwork, build_network
from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.simulation import SimulationSettings, simulate
from alade_brian.simulation.fused import program
from alade_brian.simulation.fused.process import ProgramEnded
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.simulation.separate import runtime, standalone
from alade_brian.simulation.separate.standalone import StandaloneNetwork
from alade_brian.simulation.states import record_states
from alade_brian.verification.verify import verify

NET = dyadic_(nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))
SPEC, IMAGES = convert(NET, (6,)), dyadic_images(3, 6)
STEPS = 3 * SPEC.steps
PIXELS = IMAGES[:, None]


def interrupt(network: b2.Network) -> None:
    """A real one, as Ctrl-C sends it."""
    os.kill(os.getpid(), signal.SIGINT)


def stop(network: b2.Network) -> None:
    network.stop()


def during(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[b2.Network], None]) -> None:
    """Let something happen within a step (counted from 0) of every run in this process."""

    def build(*arguments: Any) -> BrianNetwork:
        built = build_network(*arguments)
        seen = []

        def operation() -> None:
            seen.append(1)
            if len(seen) == step + 1:
                act(built.network)

        built.network.add(b2.NetworkOperation(operation, dt=SPEC.dt * b2.second))
        return built

    monkeypatch.setattr(runtime, "build_network", build)


def test_an_operation_that_does_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = simulate(SPEC, IMAGES, NUMPY)
    during(monkeypatch, 2, lambda network: None)
    found = simulate(SPEC, IMAGES, NUMPY)
    assert all(np.array_equal(found.spikes[name], wanted.spikes[name]) for name in wanted.spikes)


# The last step too: all is done then, and who interrupted still wants no more of it.
@pytest.mark.parametrize("step", [0, 5, STEPS - 1])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("cython", marks=pytest.mark.slow)])
def test_an_interrupt_ends_a_run_as_an_interrupt(backend: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(SPEC, IMAGES, SimulationSettings(backend=backend, batch=1))


def test_no_comparison_and_no_look_inside_outlives_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        verify(NET, IMAGES, SPEC, NUMPY)
    with pytest.raises(KeyboardInterrupt):
        record_states(SPEC, IMAGES, {SPEC.spiking[0].name: ["v"]})


def test_the_run_after_an_interrupt_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        during(patch, 2, interrupt)
        with pytest.raises(KeyboardInterrupt):
            simulate(SPEC, IMAGES, NUMPY)
    assert verify(NET, IMAGES, SPEC, NUMPY).agrees
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_ends_early_for_another_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 4, stop)
    with pytest.raises(RuntimeError, match=f"after 5 of {STEPS} steps"):
        simulate(SPEC, IMAGES, SimulationSettings(backend="numpy", batch=1))


def test_the_command_writes_nothing_when_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nir(SPEC, tmp_path / "net.nir")
    np.savez(tmp_path / "in.npz", input=np.repeat(IMAGES[:, None], SPEC.steps, axis=1))
    arguments = [tmp_path / "net.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "out.npz"]
    during(monkeypatch, 2, interrupt)
    assert call("run-nir", *arguments, "--backend", "numpy") == 130 and not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("way", ["pass", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_a_script_of_its_own_writes_whole_results_or_none(way: str, tmp_path: Path) -> None:
    script = write_script(SPEC, tmp_path / "net.py").with_suffix(".py")
    np.savez(tmp_path / "images.npz", images=IMAGES)
    line = "    network.run("
    text = script.read_text()
    assert text.count(line) == 1
    acting = f"    import brian2\n    network.add(brian2.NetworkOperation(lambda: exec({way!r}), dt=DT))\n"
    script.write_text(text.replace(line, acting + line))
    done = subprocess.run(
        [sys.executable, script, "images.npz", "out.npz"], cwd=tmp_path, capture_output=True, text=True
    )
    whole = way == "pass"
    assert ((tmp_path / "out.npz").exists(), done.returncode == 0) == (whole, whole), done.stderr
    assert whole or "nothing is written" in done.stderr


def cut_short(build: Callable[..., Any]) -> Callable[..., Any]:
    """As `build`, for a program that breaks its run off after the first step."""

    def built(*arguments: Any) -> Any:
        b2.device._set_maximum_run_time(-1.0)
        return build(*arguments)

    return built


@pytest.mark.slow
def test_a_program_that_ends_its_run_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standalone, "build_network", cut_short(standalone.build_network))
    monkeypatch.setattr(program, "build_fused", cut_short(program.build_fused))
    network = StandaloneNetwork(SPEC, BatchLayout(1, 3), "explicit", "float64", tmp_path)
    with pytest.raises(UserError, match=f"did 1 of {STEPS} steps; run it again"):
        network.run(PIXELS)
    fused = FusedProgram(SPEC, 1, "float64", tmp_path)
    with pytest.raises(ProgramEnded, match="the run ended before all of its steps were done"):
        list(fused.stream([PIXELS]))


def explicit() -> StandaloneNetwork:
    """One build for all tests of the session."""
    return StandaloneNetwork(SPEC, BatchLayout(1, 3), "explicit", "float64", CPP.cache_folder)


def test_programs_take_no_interrupt_for_a_wish_to_end_early() -> None:
    for folder in (explicit().folder, FusedProgram(SPEC, 1, "float64", CPP.cache_folder).folder):
        assert "signal(SIGINT" not in (folder / "main.cpp").read_text()


def test_an_interrupt_of_a_program_is_one_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = FusedProgram(SPEC, 1, "float64", CPP.cache_folder)

    def interrupted() -> Any:
        fused._process._child.send_signal(signal.SIGINT)  # type: ignore[union-attr]
        yield PIXELS

    with pytest.raises(KeyboardInterrupt):
        list(fused.stream(interrupted()))
    network, run = explicit(), subprocess.run
    kill = ["sh", "-c", "kill -INT $$"]
    monkeypatch.setattr(standalone.subprocess, "run", lambda command, **options: run(kill, **options))
    with pytest.raises(KeyboardInterrupt):
        network.run(PIXELS)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("i", "fewer spikes"), ("t", "fewer spikes"), ("N", "fewer spikes"), ("membrane", "not those of all")],
)
def test_files_that_are_cut_off_are_no_answer(kind: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a full disk leaves them; Brian2's program does not notice."""
    network, run = explicit(), subprocess.run
    assert network.run(PIXELS).spikes[SPEC.spiking[0].name].any()
    name = network.files["membrane"] if kind == "membrane" else network.files["spikes"][SPEC.spiking[0].name][kind]

    def full(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        done = run(command, **options)
        file = Path(command[command.index("--results_dir") + 1], name)
        # Whole steps of the readout are left, and whole numbers of all others.
        file.write_bytes(file.read_bytes()[: -8 * SPEC.population(SPEC.readout.population).size])
        return done

    monkeypatch.setattr(standalone.subprocess, "run", full)
    with pytest.raises(ProgramEnded, match=f"{words}.*run it again"):
        network.run(PIXELS)


def test_convolutions_are_read_whole() -> None:
    """The sizes that files are held against are those of a network with maps, batches and empty places too."""
    spec, images = convert(conv_net(), (2, 7, 6)), dyadic_images(3, 2, 7, 6)
    network = StandaloneNetwork(spec, BatchLayout(2, 2), "explicit", "float64", CPP.cache_folder)
    found, wanted = network.run(images.reshape(3, 1, -1)), simulate(spec, images, NUMPY)
    assert all(np.array_equal(found.spikes[name], wanted.spikes[name]) for name in wanted.spikes)
