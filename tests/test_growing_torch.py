"""The reference of a network that grows: what a frozen extractor answered in torch is kept, and only that."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import CPP, NUMPY
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.models import LIF, ExpandableNetwork, MeanOverSteps, make_backbone
from alade_brian.simulation import SimulationSettings
from alade_brian.simulation.cache.kept_answers import KeptAnswers, keys_of
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses
from alade_brian.verification import torch_reference
from alade_brian.verification.kept_reference import KeptReference, Undigestable, digest, with_kept_answers
from alade_brian.verification.torch_reference import TorchReference
from alade_brian.verification.verify import verify

STEPS = 3


class Folder:
    """Answers in a folder; how many images were asked for that were not there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.computed = folder, 0

    def keys(self, images: np.ndarray) -> list[bytes]:
        return keys_of(images)

    def records(self, name: str, size: int) -> KeptAnswers:
        kept, keep = KeptAnswers(self.folder / name, size), KeptAnswers.keep

        def counting(records) -> None:  # type: ignore[no-untyped-def]
            self.computed += len(records)
            keep(kept, records)

        kept.keep = counting  # type: ignore[method-assign]
        return kept


def grown(tasks: int, **changes: float) -> ExpandableNetwork:
    """Extractors whose numbers depend on their task alone; `changes` are constants of the first neurons of the first."""
    network = ExpandableNetwork(
        lambda: make_backbone("small", (1, 6, 6), channels=(3, 4), strides=(1, 2), steps=STEPS, threshold=0.4), STEPS
    )
    for task in range(tasks):
        torch.manual_seed(task)
        network.add_extractor(inherit=False)
    network.set_classifier(2 * tasks)
    for name, value in changes.items():
        setattr(network.extractors[0].stages[0].lif, name, value)
    return network.eval()


def images(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, 6, 6)) * 3


def lowered(network: nn.Module) -> NetworkSpec:
    return convert(network, (1, 6, 6))


def assert_as_computed(network: nn.Module, shown: np.ndarray, folder: Path) -> int:
    """With kept answers as without; how many answers of extractors had to be computed."""
    reference = TorchReference(network, lowered(network))
    wanted, answers = reference.packed(shown), Folder(folder)
    assert all(bits.any() for bits in wanted.spikes.values())
    found = with_kept_answers(reference, shown[:1], answers).packed(shown)
    assert list(found.spikes) == list(wanted.spikes)
    assert all(np.array_equal(found.spikes[name], wanted.spikes[name]) for name in wanted.spikes)
    np.testing.assert_allclose(found.logits, wanted.logits, rtol=1e-13, atol=1e-15)
    return answers.computed


@pytest.mark.parametrize("batches", [(8, 256), (3, 3)])
def test_kept_as_computed_while_it_grows(
    batches: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task brings images and an extractor; of what is known nothing is computed again. Also in small batches."""
    monkeypatch.setattr(torch_reference, "BATCHES", batches)
    for task, (shown, fresh) in enumerate([(5, 5), (8, 3 + 8), (8, 8)], start=1):
        assert assert_as_computed(grown(task), images(shown), tmp_path) == fresh


def test_another_pixel_is_another_answer(tmp_path: Path) -> None:
    shown = images(4)
    assert_as_computed(grown(2), shown, tmp_path)
    shown[1, 0, 3, 3] += 1
    assert assert_as_computed(grown(2), shown, tmp_path) == 2


@pytest.mark.parametrize("name", ["threshold", "decay", "v_reset"])
def test_another_constant_is_another_answer(name: str, tmp_path: Path) -> None:
    """It stands in no state dict."""
    assert_as_computed(grown(2), images(4), tmp_path)
    assert assert_as_computed(grown(2, **{name: 0.25}), images(4), tmp_path) == 4


def _one_weight(network: ExpandableNetwork) -> None:
    network.extractors[1].stages[1].conv.weight.data[0, 0, 0, 0] += 1e-7


def _statistics(network: ExpandableNetwork) -> None:
    network.extractors[1].stages[0].norm.running_mean += 0.5


@pytest.mark.parametrize("change", [_one_weight, _statistics])
def test_another_number_is_another_answer(change: Callable[[ExpandableNetwork], None], tmp_path: Path) -> None:
    assert_as_computed(grown(2), images(4), tmp_path)
    network = grown(2)
    change(network)
    assert assert_as_computed(network, images(4), tmp_path) == 4


def test_what_is_behind_the_extractors_is_computed_anew(tmp_path: Path) -> None:
    network = grown(2)
    assert_as_computed(network, images(4), tmp_path)
    network.classifier.weight.data *= -2
    assert assert_as_computed(network, images(4), tmp_path) == 0


def test_names_tell_code_and_settings_but_not_whether_a_network_still_learns() -> None:
    def backbone(**other: int) -> nn.Module:
        torch.manual_seed(0)
        return make_backbone("small", (1, 6, 6), channels=(3,), strides=(1,), **({"pool": 2, "steps": STEPS} | other))

    class Louder(LIF):
        pass

    frozen = backbone().requires_grad_(False)
    assert digest(frozen) == digest(backbone()) != digest(backbone(pool=3))
    other = backbone()
    other.stages[0].lif = Louder(STEPS)
    assert digest(other) != digest(backbone())
    assert digest(backbone().train()) != digest(backbone().eval())


def test_what_has_no_name_is_computed_every_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = grown(2)
    network.extractors[1].stages[0].conv.register_forward_hook(lambda module, inputs, output: output * 2)
    with caplog.at_level(logging.INFO, "alade_brian"):
        assert [assert_as_computed(network, images(4), tmp_path) for _ in range(2)] == [4, 0]
    assert "extractors.1 answers is not kept: a Conv2d in it has hooks" in caplog.text
    with pytest.raises(Undigestable, match="holds a function"):
        network.extractors[0].stages[0].lif.rule = images
        digest(network.extractors[0])


class TwoLooks(ExpandableNetwork):
    """The second extractor is asked twice, and answers the images turned round as well."""

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.extractors
        features = torch.cat([first(images), second(images)], 1)
        _ = second(images.flip(-1))
        return self.decision(self.classifier(features))


def test_a_module_that_is_not_shown_the_images_once_is_no_part() -> None:
    """A module called twice, and one that sees something made of the images."""
    plain = grown(2)
    twice = TwoLooks(plain._make_extractor, STEPS)
    twice.extractors, twice.classifier = plain.extractors, plain.classifier
    reference = TorchReference(twice.eval(), lowered(plain))
    found = with_kept_answers(reference, images(1), Folder(Path("never")))
    assert isinstance(found, KeptReference) and [part.path for part in found.parts] == ["extractors.0"]

    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.readout, self.decision = (
                plain.extractors[0],
                nn.Linear(plain.widths[0], 2),
                MeanOverSteps(STEPS),
            )

        def forward(self, images: Tensor) -> Tensor:
            return self.decision(self.readout(self.inner(images * 1.5)))

    changed = Changed().eval()
    assert lowered(changed).spiking
    reference = TorchReference(changed, lowered(changed))
    assert with_kept_answers(reference, images(1), Folder(Path("never"))) is reference


def test_verification_with_kept_answers_says_the_same(tmp_path: Path) -> None:
    """Where the answers are those of other weights, every difference is still found."""
    settings = dataclasses.replace(NUMPY, reuse=True, cache=tmp_path)
    wrong = lowered(grown(2, threshold=0.5))
    for spec in (lowered(grown(2)), wrong):
        wanted = verify(grown(2), images(5), spec, NUMPY)
        for _ in range(2):
            found = verify(grown(2), images(5), spec, settings)
            assert found.mismatched_spikes == wanted.mismatched_spikes
            assert found.spikes_compared == wanted.spikes_compared
            assert str(found) == str(wanted)
    assert found.mismatched_spikes and len(list((tmp_path / "answers").glob("torch-*"))) == 2


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    verify(grown(1), images(2), settings=dataclasses.replace(NUMPY, cache=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_both_sides_keep_their_answers_side_by_side(tmp_path: Path) -> None:
    settings = dataclasses.replace(CPP, reuse=True, cache=tmp_path)
    for _ in range(2):
        found = verify(grown(2), images(6), settings=settings)
        assert found.agrees and found.synaptic_events > 0
    kept = {folder.name.startswith("torch-") for folder in (tmp_path / "answers").iterdir()}
    assert kept == {True, False}


def test_what_is_packed_is_what_was_recorded() -> None:
    """`record` and the reference are one thing."""
    network = grown(2)
    spec, shown = lowered(network), images(5)
    found: PackedResponses = TorchReference(network, spec).packed(shown, batch=2)
    whole = torch_reference.record(network, shown, spec)
    assert all(np.array_equal(found.unpacked().spikes[name], whole.spikes[name]) for name in whole.spikes)


@pytest.mark.parametrize("change", [lambda raw: bytes(len(raw)), lambda raw: bytes([raw[0] ^ 255]) + raw[1:]])
@pytest.mark.parametrize("settings", [NUMPY, pytest.param(CPP, marks=pytest.mark.slow)])
def test_damaged_answers_change_no_verification(
    settings: SimulationSettings, change: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files zeroed by a power loss, or with one byte changed: neither fewer spikes nor a difference is found."""
    settings = dataclasses.replace(settings, reuse=True, cache=tmp_path)

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("alade_brian")]

    caplog.set_level(logging.WARNING)
    wanted = verify(grown(2), images(5), settings=settings)
    assert wanted.agrees and all(layer.spikes_reference for layer in wanted.layers)
    for file in (tmp_path / "answers").rglob("*.answers"):
        file.write_bytes(change(file.read_bytes()))
    found = verify(grown(2), images(5), settings=settings)
    assert str(found) == str(wanted) and "are damaged; what they held is computed anew" in warnings()[0]
    caplog.clear()
    assert str(verify(grown(2), images(5), settings=settings)) == str(wanted) and not warnings()
