"""The page on other frameworks' example networks is what comparing them gives."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from command_line import call
from torch import Tensor, nn

from alade_brian.commands import zoo_table
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.verification.zoo.example import MODULES, Example, examples
from alade_brian.verification.zoo.table import Row, row_of, section

PAGE = Path(__file__).resolve().parent.parent / "docs" / "example-networks.md"
TEXT = PAGE.read_text(encoding="utf-8")
TITLES = {"snntorch": "snnTorch", "spikingjelly": "SpikingJelly"}


def page_rows(framework: str) -> list[tuple[str, str, str]]:
    """Network, number of layers and finding of every row of a framework's section."""
    part = TEXT.partition(f"### {TITLES[framework]} ")[2].partition("\n### ")[0]
    return re.findall(r"^\| (?!network |---)(.*?) \| (.*?) \| (.*?) \|$", part, re.MULTILINE)


@pytest.mark.parametrize("framework", MODULES)
def test_the_page_has_every_network_and_counts_the_exact_ones(framework: str) -> None:
    pytest.importorskip(framework)
    found = page_rows(framework)
    assert [title for title, *_ in found] == [example.title for example in examples(framework)]
    exact = sum(result == "exact" for *_, result in found)
    assert re.search(rf"### {TITLES[framework]} [0-9.]+: {exact} of {len(found)} exact\n", TEXT)
    assert all(result == "exact" or result.startswith("refused: ") for *_, result in found)


@pytest.mark.parametrize(
    ("framework", "title"),
    [
        ("snntorch", "tutorial 5: dense layers, the neuron by hand"),
        ("snntorch", "regression 1: membrane learning, one decay for each neuron"),
        ("spikingjelly", "tutorial: `ann2snn`, 99.9th percentile"),
        ("spikingjelly", "SEW ResNet, ADD"),
    ],
)
def test_a_row_of_the_page_is_what_is_found(framework: str, title: str) -> None:
    pytest.importorskip(framework)
    example = next(each for each in examples(framework) if each.title == title)
    row = row_of(example)
    assert (row.title, str(row.layers), row.found) in page_rows(framework) and row.found == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("framework", MODULES)
def test_every_row_of_the_page_is_what_is_found(framework: str) -> None:
    pytest.importorskip(framework)
    found = [row_of(example) for example in examples(framework)]
    assert section(framework, found) in TEXT, "the page is old; run alade-brian zoo-table"


class Net(nn.Module):
    def __init__(self, threshold: float, last: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            HoldCurrent(3), nn.Linear(4, 8), LIF(3, threshold=threshold), last, MeanOverSteps(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_a_row_says_what_is_silent_or_refused() -> None:
    example = Example("name", lambda: Net(0.1, nn.Linear(8, 2)), (4,))
    assert row_of(example) == Row("name", 1, "exact")
    silent = dataclasses.replace(example, build=lambda: Net(1e6, nn.Linear(8, 2)))
    assert row_of(silent).found == "silent: layers.2"
    refused = row_of(dataclasses.replace(example, build=lambda: Net(0.1, nn.GELU())))
    assert refused.found == "refused: layers.3 (GELU): class = GELU has no lowering"


def test_the_command_writes_behind_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for framework in MODULES:
        pytest.importorskip(framework)
    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    monkeypatch.setattr(zoo_table, "PAGE", page)
    monkeypatch.setattr(zoo_table, "rows", lambda framework: [Row("one", 2, "exact"), Row("other", 0, "refused: why")])
    assert call("zoo-table") == 0 and "wrote" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.partition(zoo_table.MARK)[0] == TEXT.partition(zoo_table.MARK)[0]
    assert text.count(": 1 of 2 exact") == 2 and "| other |  | refused: why |" in text
