"""The benchmark command: its network, its limit program and its arithmetic. No time is asserted: machines differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import call

from alade_brian.benchmarks import field, limit, recording, tensors
from alade_brian.benchmarks.engine import rate_key, table_row
from alade_brian.benchmarks.network import calibrated, random_images, reference, specification
from alade_brian.benchmarks.ratios import crossing, crossings, ratios
from alade_brian.benchmarks.rounds import Competitor, measure, summary
from alade_brian.errors import UserError
from alade_brian.spikes.packed import PackedResponses
from alade_brian.verification.comparison import LayerAgreement, Verification

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"


IMAGES = random_images(24, seed=7)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def command(*arguments: object) -> int:
    return call("benchmark", *arguments)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return limit.compile_limit(tmp_path_factory.mktemp("limit"))


@pytest.mark.parametrize("rate", [0.02, 0.18, 0.4])
def test_calibration_reaches_the_rate_in_every_layer(rate: float) -> None:
    weights = calibrated(rate, IMAGES, seed=1)
    assert weights.rates == pytest.approx([rate] * 3, rel=0.01)
    spikes, _ = reference(weights, IMAGES)
    neurons = np.array([32 * 28 * 28, 64 * 14 * 14, 128 * 7 * 7])
    assert np.array(spikes) / (neurons * 4 * len(IMAGES)) == pytest.approx([rate] * 3, rel=0.1)
    assert all(np.array_equal(w, w.astype(np.float32)) for w in [*weights.convolutions, weights.readout])


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.5])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="firing rate"):
        calibrated(rate, IMAGES, seed=1)


@needs_compiler
@pytest.mark.parametrize("rate", [0.02, 0.18])
def test_the_limit_program_finds_the_spikes_of_torch(program: Path, tmp_path: Path, rate: float) -> None:
    weights = calibrated(rate, IMAGES, seed=2)
    spikes, logits = reference(weights, IMAGES)
    for dtype in ("float64", "float32"):
        one = limit.prepare(program, weights, IMAGES, dtype, tmp_path)
        assert limit.check(one, spikes)["spikes_torch"] == spikes
        if dtype == "float64":
            found = one.run(0.0)
            assert found["spikes"] == spikes
            assert found["sum"] == pytest.approx(logits.sum(), abs=1e-9)


@needs_compiler
def test_the_limit_program_is_refused_when_its_spikes_differ(program: Path, tmp_path: Path) -> None:
    weights = calibrated(0.1, IMAGES, seed=2)
    one = limit.prepare(program, weights, IMAGES, "float64", tmp_path)
    with pytest.raises(RuntimeError, match="spikes"):
        limit.check(one, [1, 2, 3])


@needs_compiler
def test_the_limit_program_refuses_a_file_of_another_size(program: Path, tmp_path: Path) -> None:
    file = tmp_path / "short"
    file.write_bytes(b"\0" * 64)
    with pytest.raises(RuntimeError, match="does not hold"):
        limit.Limit(program, file, "float32", 16).run(0.0)


def test_the_specification_is_the_same_network() -> None:
    spec = specification(calibrated(0.1, IMAGES, seed=3))
    assert [p.size for p in spec.spiking] == [25088, 12544, 6272]
    assert (spec.steps, spec.readout.decoding, spec.population(spec.readout.population).size) == (4, "mean_input", 10)


@pytest.mark.parametrize("layout", list(tensors.LAYOUTS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_answers_the_same_in_every_way(layout: str, dtype: str) -> None:
    weights, other = calibrated(0.1, IMAGES, seed=3), calibrated(0.1, IMAGES, seed=4)
    runner = tensors.TorchRunner(tensors.Way(dtype, 32, layout, 1), other, IMAGES)
    assert runner.show() == 32
    runner.set_weights(weights)
    answers = runner.answers(runner.parts[0]).numpy()
    assert field.agreement(answers, np.resize(reference(weights, IMAGES)[1], (32, 10)), dtype)["images"] == 32
    with pytest.raises(RuntimeError, match="logits"):
        field.agreement(answers, np.resize(reference(other, IMAGES)[1], (32, 10)), dtype)


def test_every_way_of_torch_is_tried_once() -> None:
    ways = tensors.eager_ways("float32", 2)
    assert len(set(ways)) == len(ways) == 16
    assert {w.threads for w in tensors.compiled_ways("float64", 2)} == {2}
    assert [field.dtype_of(n) for n in ("torch_eager", "explicit", "explicit_float32", "limit_float64")] == [
        "float32", "float64", "float32", "float64",
    ]  # fmt: skip


SPEEDS = {
    "torch_eager": 2000.0,
    "torch_compile": 4000.0,
    "torch_eager_float64": 500.0,
    "torch_compile_float64": None,
    "limit_float32": 5000.0,
    "limit_float64": 3000.0,
    "shared_float32": {"1": 3000.0, "2": 6000.0},
    "shared_float64": {"1": 2000.0, "2": 3500.0},
    "explicit": 40.0,
    "explicit_float32": 50.0,
}


def test_ratios_of_a_table() -> None:
    assert ratios(SPEEDS, 2) == {
        "ratio_to_limit": 0.6,
        "ratio_to_limit_float64": pytest.approx(2 / 3),
        "ratio_to_torch_eager": 3.0,
        "ratio_to_torch_compile": 1.5,
        "ratio_to_torch_eager_float64": 7.0,
        "ratio_to_torch_compile_float64": None,
        "ratio_to_explicit": 50.0,
        "ratio_to_explicit_float32": 60.0,
        "ratio_two_processes": 2.0,
        "ratio_two_processes_float64": 1.75,
    }
    assert set(ratios({}, 2).values()) == {None}


def test_a_crossing_is_found_between_two_rates() -> None:
    assert crossing([0.01, 0.04], [200.0, 50.0], [100.0, 100.0]) == pytest.approx(0.02)
    assert crossing([0.01, 0.04], [200.0, 150.0], [100.0, 100.0]) is None
    assert crossing([0.01, 0.04], [50.0, 20.0], [100.0, 100.0]) is None
    assert crossing([0.01, 0.02, 0.04], [200.0, None, 50.0], [100.0, 7.0, 100.0]) == pytest.approx(0.02)
    faster = {**SPEEDS, "torch_eager": 9000.0}
    table = {"0.02": {"images_per_second": SPEEDS}, "0.08": {"images_per_second": faster}}
    found = crossings(table, 2)
    assert found["torch_compile"] is None and 0.02 < found["torch_eager"] < 0.08


def test_competitors_take_turns_and_one_that_fails_costs_nobody() -> None:
    order: list[str] = []

    def competitor(name: str, speed: float) -> Competitor:
        def run(seconds: float) -> float:
            order.append(name)
            return 1 / 0 if name == "b" else speed + len(order)

        return Competitor(name, None, run)

    found = measure([competitor("a", 10), competitor("b", 20), competitor("c", 30)], rounds=3, seconds=0.0)
    assert [len(speeds) for speeds in found] == [3, 0, 3]
    assert "".join(order) == "abc" + "ca" + "ca"
    assert summary([3.0, 1.0, 2.0]) == (2.0, [1.0, 3.0])
    assert summary([]) == (None, None)


def test_a_row_has_a_place_for_everybody() -> None:
    def idle(seconds: float) -> float:
        return 0.0

    row = table_row([Competitor("shared_float32", 2, idle), Competitor("explicit", None, idle)], [[1.0, 3.0], []], 2)
    assert set(row["images_per_second"]) == set(row["range"]) == set(field.NAMES)
    assert row["images_per_second"]["shared_float32"] == {"1": None, "2": 2.0}
    assert row["range"]["shared_float32"] == {"1": None, "2": [1.0, 3.0]}
    assert row["images_per_second"]["explicit"] is None
    assert [rate_key(r) for r in (0.02, 0.1, 0.18, 0.005)] == ["0.02", "0.10", "0.18", "0.005"]


@needs_compiler
def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--rounds", 2, "--seconds", 0.01, "--images", 16, "--rates", 0.1, 0.02, "--only", "limit_float32")
    code = command("engine", *options, "--json", tmp_path / "a" / "r.json", "--figure", tmp_path / "r.png")
    assert code == 0
    result = json.loads((tmp_path / "a" / "r.json").read_text())
    assert list(result["rates"]) == ["0.02", "0.10"]
    assert result["machine"]["cores_used"] >= 1 and result["warnings"] == []
    low, high = result["rates"]["0.02"]["range"]["limit_float32"]
    assert 0 < low <= result["rates"]["0.02"]["images_per_second"]["limit_float32"] <= high
    assert result["rates"]["0.10"]["ratio_to_limit"] is None
    assert (tmp_path / "r.png").stat().st_size > 1000 and (tmp_path / "r.svg").stat().st_size > 1000
    assert "limit_float32" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["engine", "recording", "build", "growth", "agreement", "training"])
def test_files_that_exist_are_kept(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = [tmp_path / f"old.{ending}" for ending in ("json", "png", "svg")]
    for path in old:
        path.write_text("precious")
    assert command(name, "--json", old[0]) == 2
    assert f"{old[0]} already exists; choose another --json or remove it" in capsys.readouterr().err
    if name == "engine":
        old[1].unlink()
        assert command(name, "--figure", old[1]) == 2
        assert f"{old[2]} already exists; choose another --figure" in capsys.readouterr().err
        old.pop(1)
    assert all(path.read_text() == "precious" for path in old)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rates", 0.9), "firing rate of 0.9"),
        (("--rates", -1), "--rates: '-1' is no number of 0 or more"),
        (("--rates", "nan"), "--rates: 'nan' is no number of 0 or more"),
        (("--explicit-rates", 7), "--explicit-rates: '7' is above 1: a neuron spikes at most once in a step"),
        (("--rounds", 0), "--rounds: '0' is no whole number from 1"),
        (("--seconds", 0), "--seconds: 0 is too small; use a number above 0"),
        (("--seconds", "nan"), "--seconds: 'nan' is no number of 0 or more"),
        (("--images", 3), "3 images"),
        (("--figure", "x.pdf"), "no .png"),
        (("--json", "."), "is a folder"),
        (("--json", "/dev/null/x.json"), "cannot be written"),
        (("--only", "torch"), "invalid choice"),
        (("--dataset", "fashion-mnist", "--data-root", "/nowhere"), "nowhere"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: tuple[object, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("engine", *arguments) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_benchmark_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("nothing") == 2
    assert "engine" in capsys.readouterr().err


@needs_compiler
def test_recording_compares_what_it_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alade_brian.benchmarks.recording.IMAGES", 40)
    options = ("--rounds", 1, "--seconds", 0.01, "--rates", 0.05)
    assert command("recording", *options, "--json", tmp_path / "r.json") == 0
    found = json.loads((tmp_path / "r.json").read_text())["rates"]["0.05"]["float64"]["1"]
    assert found["ratio"] == found["recorded"] / found["answers"] > 0


@needs_compiler
@pytest.mark.slow
def test_every_task_of_a_growing_network_agrees(tmp_path: Path) -> None:
    assert command("growth", "--tasks", 2, "--images", 4, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert [task["mismatched"] for task in result["tasks"]] == [0, 0]
    assert result["ratio_simulate"] == result["tasks"][1]["simulate"] / result["tasks"][1]["simulate"]


@needs_compiler
@pytest.mark.slow
def test_a_first_build_takes_longer_than_new_weights(tmp_path: Path) -> None:
    assert command("build", "--rounds", 1, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert all(seconds["first"] > seconds["new weights"] > 0 for seconds in result["seconds"].values())


@needs_compiler
def test_agreement_counts_every_entry(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "alade_brian.benchmarks.agreement.load_dataset", lambda *_: type("Data", (), {"test_images": IMAGES})
        )
        assert command("agreement", "--images", 20, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["entries"] == 20 * 4 * (32 * 28 * 28 + 64 * 14 * 14 + 128 * 7 * 7) and result["mismatched"] == 0


def silent_comparison(*_: object, **__: object) -> Verification:
    """Of two networks in which nothing fires."""
    logits, layers = np.zeros((4, 10)), [LayerAgreement("layer", (3,))]
    seconds = dict.fromkeys(("build", "simulate", "compare"), 1.0)
    return Verification(4, 2, layers, logits, logits, spikes_compared=24, seconds=seconds)


def test_the_growth_of_a_silent_network_is_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alade_brian.benchmarks.growth.verify", silent_comparison)
    assert command("growth", "--tasks", 2, "--images", 1) == 1


@needs_compiler
def test_a_silent_network_is_no_agreement(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "alade_brian.benchmarks.agreement.load_dataset", lambda *_: type("Data", (), {"test_images": IMAGES})
    )
    monkeypatch.setattr("alade_brian.benchmarks.agreement.verify", silent_comparison)
    assert command("agreement", "--images", 20) == 1
    assert "proves nothing about spikes" in capsys.readouterr().out
    assert command("agreement", "--images", 0) == 2
    assert "--images 0: use at least 1" in capsys.readouterr().err


def test_runs_without_a_spike_are_not_held_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specification(calibrated(0.05, IMAGES, seed=1))
    found = PackedResponses(
        {p.name: np.zeros((2, spec.steps, p.size // 8), np.uint8) for p in spec.spiking},
        {p.name: p.shape for p in spec.spiking}, np.zeros((2, 10)),
    )  # fmt: skip
    simulator = SimpleNamespace(packed_chunks=lambda images: [(slice(0, 2), found)])
    with pytest.raises(UserError, match="do not agree"):
        recording._compared(spec, simulator, IMAGES[:2], [found])  # type: ignore[arg-type]


def test_a_limit_program_is_not_checked_with_a_silent_network(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = limit.Limit(Path("limit"), Path("numbers"), "float64", 4)
    monkeypatch.setattr(limit.Limit, "run", lambda self, seconds: {"spikes": [0, 0, 0]})
    with pytest.raises(RuntimeError, match="proves nothing about spikes"):
        limit.check(silent, [0, 0, 0])


@pytest.mark.parametrize("name", ["recording", "build", "growth", "agreement"])
def test_every_benchmark_refuses_no_rounds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, "--rounds", 0) == 2
    assert "--rounds: '0' is no whole number from 1" in capsys.readouterr().err
