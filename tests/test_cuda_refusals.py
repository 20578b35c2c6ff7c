"""What a machine may lack for a GPU simulation: one sentence each, before anything is trained."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
from networks import CPP, conv_net

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, advice, check_machine, open_simulator, plan_simulation
from alade_brian.simulation.cuda.brian2cuda_device import check_packages
from alade_brian.simulation.cuda.explicit_network import gpu_failure
from alade_brian.simulation.cuda.toolkit import find_gpu, find_toolkit
from alade_brian.simulation.other_python.find import simulating_python
from alade_brian.simulation.planning import check_plan_memory, draft_plan
from alade_brian.simulation.separate.standalone import Processor, StandaloneNetwork

ROOT = Path(__file__).resolve().parent.parent
SPEC = convert(conv_net(), (2, 7, 6))
SHARED = SimulationSettings(backend="cuda")
EXPLICIT = SimulationSettings(backend="cuda", connectivity="explicit")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fakes.only(tmp_path, monkeypatch)


def test_a_machine_that_has_everything(tools: Path) -> None:
    fakes.nvcc(tools)
    fakes.gpu(tools, capability="8.0")
    check_machine(SHARED)
    assert find_toolkit().version == (13, 0)
    found = find_gpu()
    assert (found.architecture, found.free, found.cuda) == ("sm_80", 80000 * 2**20, (13, 0))


def test_no_nvcc(tools: Path) -> None:
    fakes.gpu(tools)
    with pytest.raises(UserError, match="nvcc, which was found neither.*apt-get install cuda-toolkit.*--backend cpp"):
        check_machine(SHARED)


def test_no_gpu(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.nvcc(tools)
    with pytest.raises(UserError, match="no GPU was found.*apt-get install nvidia-driver.*--backend cpp"):
        check_machine(SHARED)
    fakes.gpu(tools)
    for hidden in ("", "1", "-1", "GPU-9"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(UserError, match="no GPU was found"):
            check_machine(SHARED)
    for named in ("0", "GPU-1234", "0,1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        check_machine(SHARED)


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"cuda": "12.4"}, "runs CUDA 12.4, too old for the toolkit's 13.0; .*apt-get install cuda-toolkit-12-4"),
        ({"capability": "3.7"}, "sm_37, older than the sm_50"),
        (
            {"capability": "6.1"},
            "does not compile for the Fake GPU .sm_61, too old.*cuda-toolkit-12-9. and set CUDA_PATH",
        ),
        ({"capability": "12.0"}, "sm_120, too new.; install a newer toolkit .Debian: apt-get install cuda-toolkit."),
        ({"mode": "Prohibited"}, "takes no programs.*nvidia-smi -i 0 -c DEFAULT"),
    ],
)
def test_a_gpu_that_cannot_run_it(described: dict[str, str], words: str, tools: Path) -> None:
    fakes.nvcc(tools)
    fakes.gpu(tools, **described)
    with pytest.raises(UserError, match=words):
        check_machine(SHARED)


@pytest.mark.parametrize("settings", [SHARED, EXPLICIT], ids=["shared", "explicit"])
def test_too_little_memory(settings: SimulationSettings, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.gpu(tools, free="500")
    with pytest.raises(UserError, match=r"of the GPU's memory, and 500 MiB of 79.6 GiB are free.*nvidia-smi shows it"):
        check_plan_memory(draft_plan(SPEC, settings))
    fakes.gpu(tools, free="[N/A]")
    check_plan_memory(draft_plan(SPEC, settings))
    fakes.gpu(tools)
    check_plan_memory(draft_plan(SPEC, settings))
    assert "of the GPU's memory; how long it takes was never measured" in advice(SPEC, settings)


def test_more_images_take_more_of_its_memory() -> None:
    for settings in (SHARED, EXPLICIT):
        one, two, three = (draft_plan(SPEC, dataclasses.replace(settings, batch=n)).cost.gpu_memory for n in (1, 2, 3))
        assert one and two and three and three - two == two - one > 0


def installed(folder: Path, version: str, *requires: str) -> str:
    """A folder with what pip leaves of a brian2cuda."""
    info = folder / f"brian2cuda-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1",
        "Name: brian2cuda",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.mark.parametrize(
    ("version", "requires", "words"),
    [
        ("1.0a7", (), "brian2cuda 1.0a7 is installed, this version works with 1.0b1; pip install brian2cuda==1.0b1"),
        ("1.0b1", ("brian2==9.9.9",), "needs Brian2 9.9.9, and .* is installed; pip install brian2==9.9.9"),
    ],
)
def test_wrong_versions(
    version: str, requires: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, version, *requires))
    with pytest.raises(UserError, match=words):
        check_packages()


def test_no_brian2cuda_anywhere(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brian2cuda", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install brian2cuda==1.0b1.*--cuda-python cuda-python/bin/python"):
        check_machine(EXPLICIT)


def test_a_python_is_found_by_name_then_by_variable_then_on_the_path(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    has = fakes.script(tools / "python3.13", "#!/bin/sh\nexit 0\n")
    fakes.script(tools / "python3.12", "#!/bin/sh\nexit 1\n")
    assert simulating_python(True, None) == has
    monkeypatch.setenv("ALADE_BRIAN_CUDA_PYTHON", str(tools / "python3.12"))
    assert simulating_python(True, None) == tools / "python3.12"
    assert simulating_python(True, has) == has
    assert simulating_python(False, None) is None
    assert simulating_python(True, Path(sys.executable)) is None
    with pytest.raises(UserError, match="there is no Python at .*nowhere; 'python3.12 -m venv"):
        simulating_python(True, tools / "nowhere")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("all CUDA-capable devices are busy or unavailable", "the GPU is busy: another program"),
        ("out of memory", "memory does not suffice; use a smaller simulation.batch"),
        ("unspecified launch failure", "the GPU was lost"),
        ("no CUDA-capable device is detected", "the GPU is gone"),
    ],
)
def test_a_gpu_that_fails_in_mid_run_is_a_sentence(said: str, words: str, tmp_path: Path) -> None:
    class Failing(Processor):
        def compile(self, folder: Path) -> None:
            fakes.script(folder / "main", f"#!/bin/sh\necho 'ERROR: cudaX() failed : {said}' >&2\nexit 46\n")

        def failure(self, folder: Path, code: int, said: str) -> Exception:
            return gpu_failure(folder, code, said)

    network = StandaloneNetwork(SPEC, BatchLayout(1, 2), "explicit", "float64", tmp_path, (), Failing())
    with pytest.raises(UserError, match=f"{words}.*ended with code 46.*{said}"):
        network.run(np.zeros((1, 1, 84)))


def test_the_command_refuses_before_it_trains(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "experiments" / "run_cil.py"),
        "--backend",
        "cuda",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert "--backend cpp" in done.stderr and not (tmp_path / "out").exists()


def test_settings_of_a_gpu_do_not_change_the_processors() -> None:
    plan = plan_simulation(SPEC, CPP)
    assert plan.python is None and plan.target is None and plan.passes == "fused"
    assert open_simulator(SPEC, dataclasses.replace(CPP, connectivity="explicit")).images_per_run == 128
