"""The page on parts of one's own: each example, taken from the page, is added from outside the package and used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import NUMPY, assert_same, check, dyadic_, dyadic_images
from test_export import run_alone
from test_learning_synthetic import learn, make_config, make_learner
from test_neurons import run_both_faces
from torch import Tensor, nn

from alade_brian import plugins
from alade_brian.analysis.report.sections import response_table
from alade_brian.analysis.statistics.summary import STATISTICS, layer_summary
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS
from alade_brian.conversion.from_torch.lowerings import LOWERINGS
from alade_brian.conversion.nir_graphs.read import read_nir
from alade_brian.conversion.nir_graphs.write import write_nir
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.conversion.support_table import framework_rows, torch_rows
from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.models import (
    LI,
    LIF,
    NEURONS,
    ExpandableNetwork,
    Frames,
    HoldCurrent,
    MeanOverSteps,
    PopulationVote,
    make_backbone,
)
from alade_brian.perturbations import Presentation, perturbation
from alade_brian.simulation import SimulationSettings, plan_simulation, simulate
from alade_brian.simulation.engines import TABLE
from alade_brian.simulation.separate.runtime import RuntimeNetwork
from alade_brian.spec import DECODINGS, SpecError
from alade_brian.spec.file import load_spec, save_spec
from alade_brian.spikes.responses import Responses

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
EXAMPLES = dict(
    re.findall(
        r"^## ([^\n]+)\n(?:(?!^## )[^\n]*\n)*?```python\n(.*?)^```",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)
TOY = """
from torch import nn


class Cell(nn.Module):
    def __init__(self, beta):
        super().__init__()
        self.beta, self.v = beta, None

    def rest(self):
        self.v = None

    def forward(self, x):
        v = x if self.v is None else self.beta * self.v + x
        spikes = (v > 1).to(v)
        self.v = v * (1 - spikes)
        return spikes
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], str]:
    """A plug-in's name for something of an example."""

    def write(title: str, name: str) -> str:
        (tmp_path / "own.py").write_text(EXAMPLES[title], encoding="utf-8")
        return f"{tmp_path / 'own.py'}:{name}"

    return write


def test_every_example_is_short_and_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 10
    for title, text in EXAMPLES.items():
        assert len(text.splitlines()) <= 25, title
        assert f'("{title}", ' in source, title


def test_a_neuron(own: Callable[[str, str], str]) -> None:
    name = own("A neuron", "SaturatingLIF")
    try:
        cls = plugins.load(name, "neuron")
        assert NEURONS["SaturatingLIF"] is cls
        run_both_faces(cls, {"reset": "subtract", "v_reset": 1.0})
        strong = torch.tensor([[5.0]], dtype=torch.float64)
        assert cls(1).trace(strong)[1].item() == 1 != LIF(1).trace(strong)[1].item()
    finally:
        NEURONS.remove("SaturatingLIF")


def test_a_readout(own: Callable[[str, str], str], tmp_path: Path) -> None:
    cls = plugins.load(own("A readout", "RangeOverSteps"), "readout")
    images = dyadic_images(3, 6)
    try:
        for last, group in (((LI(4),), 1), ((), 2)):
            vote = (PopulationVote(group, average=True),) if group > 1 else ()
            layers = (HoldCurrent(4), nn.Linear(6, 8), LIF(4, threshold=1.0), nn.Linear(8, 4), *last, cls(4), *vote)
            net = dyadic_(nn.Sequential(*layers))
            found = assert_same(net, images)
            assert len(np.unique(found.logits_reference)) > 1
            spec = convert(net, (6,))
            assert spec.readout.decoding == "membrane_range"
            write_script(spec, tmp_path / "model.py")
            answers = run_alone(tmp_path / "model.py", images)["logits"]
            np.testing.assert_allclose(answers, found.logits_reference, atol=1e-12)
            save_spec(spec, tmp_path / "spec.npz")
            assert load_spec(tmp_path / "spec.npz").readout == spec.readout
            write_nir(spec, tmp_path / "net.nir")
            assert read_nir(tmp_path / "net.nir").readout.decoding == "membrane_range"
    finally:
        DECODINGS.remove("membrane_range")
    with pytest.raises(SpecError, match="unknown decoding 'membrane_range'"):
        load_spec(tmp_path / "spec.npz")


def test_a_lowering(own: Callable[[str, str], str]) -> None:
    cls = plugins.load(own("A lowering", "LayerScale"), "layer")

    def net(**options: Any) -> nn.Module:
        last = (nn.Flatten(), nn.Linear(2 * 3 * 3, 2), MeanOverSteps(4))
        return dyadic_(nn.Sequential(HoldCurrent(4), cls(2, **options), LIF(4, threshold=0.25), *last))

    try:
        check(net(), dyadic_images(3, 2, 3, 3))
        with pytest.raises(RefusedLayers, match="inplace = True"):
            convert(net(inplace=True), (2, 3, 3))
        assert any(row[0].endswith(".LayerScale") and row[2] == "inplace False" for row in torch_rows())
    finally:
        LOWERINGS.remove(cls)


def test_a_framework(own: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toyspikes.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        plugins.load(own("A framework", "adapter"), "framework")
        framework = FRAMEWORKS["toyspikes"]()
        (kind,) = framework.neurons

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inputs, self.cell = nn.Linear(4, 6), kind(0.5)

            def forward(self, x: Tensor) -> Tensor:
                return torch.stack([self.cell(self.inputs(x)) for _ in range(5)]).sum(0)

        net = dyadic_(Net())
        found = check(net, dyadic_images(4, 4))
        assert found.layers[0].spikes_reference > 0
        assert framework_rows(framework) == [("Cell", "faithful", "as equations")]
    finally:
        FRAMEWORKS.remove("toyspikes")


def test_a_backend(own: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    net = dyadic_(nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))
    spec, images = convert(net, (6,)), dyadic_images(5, 6)
    expected = simulate(spec, images, NUMPY)
    assert expected.spikes["2"].any()
    runs: list[int] = []
    original = RuntimeNetwork.run

    def run(network: RuntimeNetwork, block: np.ndarray) -> Responses:
        runs.append(len(block))
        found = original(network, block)
        return found if len(runs) <= 2 else Responses({"2": found.spikes["2"] ^ (len(runs) == 3)}, found.logits)

    monkeypatch.setattr(RuntimeNetwork, "run", run)
    plugins.load(own("A backend", "Repeated"), "backend")
    try:
        settings = SimulationSettings(backend="repeated")
        assert plan_simulation(spec, settings).cost == plan_simulation(spec, NUMPY).cost
        found = simulate(spec, images, settings)
        assert len(runs) == 2 and np.array_equal(found.spikes["2"], expected.spikes["2"])
        with pytest.raises(UserError, match="the same images gave other spikes"):
            simulate(spec, images, settings)
    finally:
        TABLE.remove("repeated")
    with pytest.raises(UserError, match="unknown backend 'repeated'"):
        simulate(spec, images, settings)


def test_a_method(own: Callable[[str, str], str]) -> None:
    learner = make_learner(make_config(own("A method", "FrozenFeatures")))
    learn(learner, 1)
    (extractor,) = learner.network.extractors
    before = [p.detach().clone() for p in extractor.parameters()]
    learn(learner, 2)
    assert learner.network.classes == 3 and learner.rehearses
    assert all(torch.equal(a, b) for a, b in zip(before, extractor.parameters(), strict=True))


def test_a_backbone(own: Callable[[str, str], str]) -> None:
    name = own("A backbone", "OneLayer")
    net = ExpandableNetwork(lambda: make_backbone(name, (1, 3, 4), width=0.2, steps=3, threshold=0.25), 3)
    net.add_extractor()
    net.set_classifier(2)
    assert net.widths == (8,)
    check(dyadic_(net), dyadic_images(3, 1, 3, 4))


def test_a_data_set(own: Callable[[str, str], str]) -> None:
    dataset = load_dataset(own("A data set", "bars"), image_size=5)
    assert dataset.classes == 10 and dataset.image_shape == (1, 5, 5)
    image = dataset.train_images[list(dataset.train_labels).index(7)][0]
    assert image.mean(0).argmax() == 2, "class 7 of 5 + 5 is column 2"


def test_a_perturbation(own: Callable[[str, str], str]) -> None:
    lost = perturbation(own("A perturbation", "LostSynapses"))
    net = nn.Sequential(Frames(), nn.Flatten(), nn.Linear(9, 200), LIF(2), nn.Linear(200, 3), MeanOverSteps(2))
    spec = convert(net, (9,), steps=2, sequence=True)
    changed = [
        lost(Presentation(spec, np.zeros((1, 2, 9))), s, seed=1).spec.projections[0].operator for s in (0, 0.3, 1)
    ]
    weights = [operator.weight for operator in changed]  # type: ignore[union-attr]
    assert np.array_equal(weights[0], spec.projections[0].operator.weight)  # type: ignore[union-attr]
    assert 0.25 < np.mean(weights[1] == 0) < 0.35 and not weights[2].any()


def test_a_statistic(own: Callable[[str, str], str]) -> None:
    try:
        plugins.load(own("A statistic", "synchrony"), "statistic")
        random = np.random.default_rng(0).random((50, 20, 10)) < 0.3
        alone = layer_summary(random, np.arange(50) % 2, 1e-3)["synchrony"]
        together = layer_summary(np.repeat(random[:, :, :1], 10, axis=2), np.arange(50) % 2, 1e-3)["synchrony"]
        assert alone == pytest.approx(1, abs=0.2) and together == pytest.approx(10)
        assert layer_summary(np.zeros((2, 3, 4), dtype=bool), np.arange(2), 1e-3)["synchrony"] is None
        layer = {"name": "hidden", "synchrony": 1.25}
        table = response_table({"tasks": [{"task": 1, "images": 50, "layers": [layer]}]})
        assert "<th" in table and "Synchrony: 1 where neurons fire independently" in table and "1.25" in table
    finally:
        STATISTICS.remove("synchrony")
