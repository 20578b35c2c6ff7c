"""One layout of images with one input per step, ``(n, steps, ...)``, and a sentence for the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NUMPY, dyadic_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.errors import UserError
from alade_brian.models import IF, LIF, EveryStep, HoldCurrent, MeanOverSteps
from alade_brian.simulation import simulate
from alade_brian.verification.torch_reference import record
from alade_brian.verification.verify import verify

STEPS, COUNT, PIXELS = 7, 3, 6
SHOWN = np.random.default_rng(0).integers(-8, 17, (COUNT, STEPS, PIXELS)) / 8
TRANSPOSED = SHOWN.swapaxes(0, 1)
SENTENCE = r"\(7, 3, 6\), which is 7 images of 3 steps, and {}: .* transpose them: images.swapaxes\(0, 1\)"


class Loop(nn.Module):
    """A loop over a fixed number of steps, or over those of the input."""

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        snn = pytest.importorskip("snntorch")
        self.fc, self.lif, self.steps = nn.Linear(PIXELS, 4), snn.Leaky(0.8), steps

    def forward(self, x: Tensor) -> Tensor:
        mem, spikes = self.lif.init_leaky(), []
        for step in range(self.steps or x.size(0)):
            spk, mem = self.lif(self.fc(x[step]), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def of_this_package() -> nn.Module:
    return dyadic_(nn.Sequential(nn.Linear(PIXELS, 4), LIF(STEPS), MeanOverSteps(STEPS)))


@pytest.mark.parametrize(
    ("model", "how", "says"),
    [
        (lambda: Loop(STEPS), {}, "the module runs for 7"),
        (of_this_package, {}, "this network runs for 7"),
        (lambda: Loop(None), {"steps": STEPS}, "steps is 7"),
    ],
    ids=["a fixed loop", "layers with steps", "steps given"],
)
def test_the_steps_first_are_refused_where_the_network_shows_it(model, how, says) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = model()
    with pytest.raises(UserError, match=SENTENCE.format(says)):
        verify(net, TRANSPOSED, settings=NUMPY, sequence=True, **how)
    found = verify(net, SHOWN, settings=NUMPY, sequence=True, **how)
    assert found.agrees and (found.images, found.steps) == (COUNT, STEPS)
    assert str(found).startswith("3 images of 7 steps, ")
    assert sum(layer.spikes_reference for layer in found.layers) > 0


def test_nothing_is_guessed_where_both_readings_fit() -> None:
    torch.manual_seed(0)
    found = verify(Loop(None), TRANSPOSED, settings=NUMPY, sequence=True)
    assert str(found).startswith("7 images of 3 steps, ")
    square = np.zeros((STEPS, STEPS, PIXELS))
    assert verify(Loop(STEPS), square, settings=NUMPY, sequence=True).images == STEPS


def test_other_numbers_of_steps_are_refused_by_the_names_of_the_axes() -> None:
    with pytest.raises(UserError, match=r"3 images of 7 steps, and steps is 5: give the steps that the images have"):
        verify(Loop(None), SHOWN, settings=NUMPY, sequence=True, steps=5)
    with pytest.raises(UserError, match=r"\(3, 7\) are no sequence: give \(n, steps, \.\.\.\)"):
        verify(Loop(None), SHOWN[:, :, 0], settings=NUMPY, sequence=True)


def test_images_with_the_steps_last_are_refused_with_the_remedy() -> None:
    last = np.moveaxis(SHOWN, 1, -1)
    with pytest.raises(UserError, match=r"steps is 7: .* move them: np\.moveaxis\(images, -1, 1\)"):
        verify(Loop(None), last, settings=NUMPY, sequence=True, steps=STEPS)
    spec = convert(Loop(STEPS), (PIXELS,), steps=STEPS, sequence=True)
    with pytest.raises(UserError, match=r"\(3, 6, 7\), and this network runs for 7: .* move them"):
        simulate(spec, last, NUMPY)


def test_every_way_in_names_the_axes() -> None:
    model = dyadic_(nn.Sequential(nn.Linear(PIXELS, 4), IF(STEPS), EveryStep(STEPS)))
    spec = convert(model, (PIXELS,), steps=STEPS, sequence=True)
    for show in (lambda x: simulate(spec, x, NUMPY), lambda x: record(model, x, spec)):
        assert show(SHOWN).spikes["1"].any()
        with pytest.raises(UserError, match=SENTENCE.format("this network runs for 7")):
            show(TRANSPOSED)
        with pytest.raises(UserError, match=r"3 images of 5 steps; this network takes \(n, 7 steps, 6\)"):
            show(SHOWN[:, :5])
        with pytest.raises(UserError, match=r"shape \(3, 7, 2, 3\); this network takes \(n, 7 steps, 6\)"):
            show(SHOWN.reshape(COUNT, STEPS, 2, 3))
    held = convert(nn.Sequential(HoldCurrent(STEPS), nn.Linear(PIXELS, 4), IF(STEPS), MeanOverSteps(STEPS)), (PIXELS,))
    with pytest.raises(UserError, match=r"takes \(n, 6\), n at least 1, and holds each image for 7 steps"):
        simulate(held, SHOWN, NUMPY)


def test_a_written_script_takes_the_same_layout(tmp_path: Path) -> None:
    model = dyadic_(nn.Sequential(nn.Linear(PIXELS, 4), IF(STEPS), EveryStep(STEPS)))
    write_script(convert(model, (PIXELS,), steps=STEPS, sequence=True), tmp_path / "model.py")
    np.savez(tmp_path / "in.npz", images=TRANSPOSED)
    ran = subprocess.run(
        [sys.executable, "model.py", "in.npz", "out.npz"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1 and not (tmp_path / "out.npz").exists()
    assert "images has the shape (7, 3, 6); give (images, 7 steps, ...)" in ran.stderr
