"""A plan: the same decisions as ever, made once, and for every backend in one table."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from emulated_cuda import Emulation
from networks import CPP, NUMPY, conv_net, dyadic_images
from test_growing import grown
from test_needs import dense

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import BACKENDS, SimulationSettings, open_simulator, plan_simulation, simulate
from alade_brian.simulation.cuda.toolkit import Gpu
from alade_brian.simulation.engines import TABLE
from alade_brian.simulation.engines.compiled import CompiledBackend
from alade_brian.simulation.planning import draft_plan
from alade_brian.spec.parts import split

SPEC = convert(conv_net(), (2, 7, 6))
NETWORKS = {"conv": SPEC, "dense": dense(300), "wide": dense(3000), "grown": grown(2)}
SETTINGS: dict[str, dict[str, Any]] = {
    "cpp": {},
    "workers": {"workers": None},
    "separate": {"passes": "separate", "workers": None},
    "explicit": {"connectivity": "explicit"},
    "numpy": {"backend": "numpy", "workers": None},
    "cython": {"backend": "cython"},
    "cuda": {"backend": "cuda", "workers": None},
    "cuda explicit": {"backend": "cuda", "connectivity": "explicit"},
    "batch": {"batch": 5, "dtype": "float32"},
}
# connectivity, passes, images side by side, processes on three cores, bytes of a process, bytes of a GPU
DECIDED = {
    ("cpp", "conv"): ("shared", "fused", 8, 1, 50436000, None),
    ("cpp", "dense"): ("shared", "fused", 8, 1, 51262856, None),
    ("cpp", "wide"): ("shared", "fused", 1, 1, 122595656, None),
    ("cpp", "grown"): ("shared", "fused", 8, 1, 50484320, None),
    ("workers", "conv"): ("shared", "fused", 8, 3, 50436000, None),
    ("workers", "dense"): ("shared", "fused", 8, 3, 51262856, None),
    ("workers", "wide"): ("shared", "fused", 1, 3, 122595656, None),
    ("workers", "grown"): ("shared", "fused", 8, 3, 50484320, None),
    ("separate", "conv"): ("shared", "separate", 8, 1, 50436000, None),
    ("separate", "dense"): ("shared", "separate", 8, 1, 51262856, None),
    ("separate", "wide"): ("shared", "separate", 1, 1, 122595656, None),
    ("separate", "grown"): ("shared", "separate", 8, 1, 50484320, None),
    ("explicit", "conv"): ("explicit", "separate", 8, 1, 1077664, None),
    ("explicit", "dense"): ("explicit", "separate", 8, 1, 14812800, None),
    ("explicit", "wide"): ("explicit", "separate", 1, 1, 180516000, None),
    ("explicit", "grown"): ("explicit", "separate", 8, 1, 1018944, None),
    ("numpy", "conv"): ("shared", "separate", 8, 1, 50436000, None),
    ("numpy", "dense"): ("shared", "separate", 8, 1, 51262856, None),
    ("numpy", "wide"): ("shared", "separate", 1, 1, 122595656, None),
    ("numpy", "grown"): ("shared", "separate", 8, 1, 50484320, None),
    ("cython", "conv"): ("explicit", "separate", 8, 1, 1077664, None),
    ("cython", "dense"): ("explicit", "separate", 8, 1, 14812800, None),
    ("cython", "wide"): ("explicit", "separate", 1, 1, 180516000, None),
    ("cython", "grown"): ("explicit", "separate", 8, 1, 1018944, None),
    ("cuda", "conv"): ("shared", "fused", 1024, 1, 63103488, 642605568),
    ("cuda", "dense"): ("shared", "fused", 1024, 1, 78085256, 659356808),
    ("cuda", "wide"): ("shared", "fused", 1024, 1, 392667656, 996057608),
    ("cuda", "grown"): ("shared", "fused", 1024, 1, 68666656, 647726368),
    ("cuda explicit", "conv"): ("explicit", "separate", 256, 1, 34485248, 663146086),
    ("cuda explicit", "dense"): ("explicit", "separate", 256, 1, 474009600, 1102417920),
    ("cuda explicit", "wide"): ("explicit", "separate", 3, 1, 541548000, 1199752800),
    ("cuda explicit", "grown"): ("explicit", "separate", 256, 1, 32606208, 661033779),
    ("batch", "conv"): ("shared", "fused", 5, 1, 50367972, None),
    ("batch", "dense"): ("shared", "fused", 5, 1, 50763652, None),
    ("batch", "wide"): ("shared", "fused", 5, 1, 87051652, None),
    ("batch", "grown"): ("shared", "fused", 5, 1, 50384600, None),
}


@pytest.mark.parametrize(("settings", "network"), DECIDED)
def test_what_is_decided(settings: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    plan = draft_plan(NETWORKS[network], SimulationSettings(**SETTINGS[settings]))
    found = (*dataclasses.astuple(plan.way), plan.cost.memory, plan.cost.gpu_memory)
    assert found == DECIDED[settings, network]


def test_a_plan_is_not_changed() -> None:
    plan = draft_plan(SPEC, CPP)
    for part in (plan, plan.way, plan.cost):
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)


def test_every_backend_stands_in_the_table() -> None:
    assert BACKENDS == ("auto", *TABLE) and all(TABLE[name].name == name for name in TABLE)
    with pytest.raises(TypeError):
        TABLE["another"] = TABLE["cpp"]  # type: ignore[index]


def test_settings_that_mean_nothing_are_refused_at_once() -> None:
    for wrong in ({"passes": "none"}, {"dtype": "float16"}, {"connectivity": "sparse"}, {"batch": 0}, {"workers": 0}):
        with pytest.raises(UserError):
            SimulationSettings(**wrong)  # type: ignore[arg-type]


def test_a_worker_is_alone() -> None:
    plan = draft_plan(SPEC, dataclasses.replace(CPP, workers=3, cluster="tcp://host:8786"))
    assert (plan.workers, plan.cluster) == (3, "tcp://host:8786") and plan.seconds(10) is None
    alone = plan.alone()
    assert (alone.workers, alone.cluster, alone.way.batch) == (1, None, plan.batch)
    again = pickle.loads(pickle.dumps(alone.settings))
    assert draft_plan(SPEC, again) == alone


@pytest.mark.parametrize(("backend", "same"), [("cpp", False), ("cuda", True)])
def test_parts_of_a_growing_network_are_planned_from_the_whole(backend: str, same: bool) -> None:
    """On a processor each has the batch that suits itself, so that its program stays when the network grows; on a GPU
    one answers to the other, with the same number of images side by side."""
    spec = grown(4)
    settings = SimulationSettings(backend=backend, reuse=True)
    whole, table, parts = draft_plan(spec, settings), TABLE[backend], split(spec)
    assert isinstance(table, CompiledBackend) and parts is not None
    whole = dataclasses.replace(whole, way=dataclasses.replace(whole.way, batch=3))
    part = table.part(whole, parts.extractors[0])
    assert part.spec is parts.extractors[0] and not part.reuse and part.cache == whole.cache
    assert part.batch == (3 if same else draft_plan(part.spec, settings).batch)
    assert part.cost.memory < draft_plan(spec, settings).cost.memory


def counted(
    calls: Counter[str], monkeypatch: pytest.MonkeyPatch, place: str, instead: Callable[..., Any] | None = None
) -> None:
    """Count the calls of a function where it is looked up."""
    module, name = place.rsplit(".", 1)
    function = instead or getattr(importlib.import_module(module), name)

    def counting(*arguments: Any, **named: Any) -> Any:
        calls[name] += 1
        return function(*arguments, **named)

    monkeypatch.setattr(place, counting)


@pytest.mark.parametrize("settings", [NUMPY, CPP, dataclasses.replace(CPP, workers=2)], ids=["numpy", "cpp", "workers"])
def test_opening_a_simulator_decides_once(settings: SimulationSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    for name in ("check_machine", "draft_plan", "simulating_python"):
        counted(calls, monkeypatch, f"alade_brian.simulation.planning.{name}")
    counted(calls, monkeypatch, "alade_brian.simulation.engines.backend.compiler")
    counted(calls, monkeypatch, "alade_brian.simulation.resources.available_bytes")
    images = dyadic_images(9, 2, 7, 6)
    assert len(simulate(SPEC, images, settings).logits) == 9
    once = {"check_machine": 1, "draft_plan": 1, "simulating_python": 1, "available_bytes": 1}
    assert calls == once | ({} if settings is NUMPY else {"compiler": 1})


def test_a_gpu_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    gpu = Gpu(0, "a stand-in", "sm_90", 2**34, 2**33, "580", (13, 0))
    counted(calls, monkeypatch, "alade_brian.simulation.engines.cuda.this_machine", lambda: Emulation(gpu=gpu))
    counted(calls, monkeypatch, "alade_brian.simulation.planning.find_gpu", lambda: gpu)
    cuda = SimulationSettings(backend="cuda", batch=4)
    images = dyadic_images(3, 2, 7, 6)
    assert np.array_equal(simulate(SPEC, images, cuda).logits, simulate(SPEC, images, NUMPY).logits)
    assert calls == {"this_machine": 1}


def test_a_machine_without_the_tools_still_has_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Advice is given anywhere; a plan only where the machine can keep it."""
    fakes.only(tmp_path, monkeypatch)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert draft_plan(SPEC, CPP).advice().startswith(f"{sum(p.size for p in SPEC.populations):,} neurons")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        plan_simulation(SPEC, CPP)
    with pytest.raises(UserError, match="nvcc, which was found neither"):
        open_simulator(SPEC, SimulationSettings(backend="cuda"))


def test_a_network_that_fused_passes_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor it runs in separate passes unless fused ones were asked for; on a GPU it is refused."""
    for module in ("engines.backend", "cuda.fused_limits"):
        monkeypatch.setattr(f"alade_brian.simulation.{module}.can_gather", lambda spec: False)
    assert draft_plan(SPEC, CPP).passes == "separate"
    with pytest.raises(UserError, match="too long for fused passes.*leave simulation.passes out"):
        draft_plan(SPEC, dataclasses.replace(CPP, passes="fused"))
    with pytest.raises(UserError, match="too long for shared connectivity on a GPU"):
        draft_plan(SPEC, dataclasses.replace(CPP, backend="cuda"))
    assert draft_plan(SPEC, dataclasses.replace(CPP, backend="cuda", connectivity="explicit")).passes == "separate"
