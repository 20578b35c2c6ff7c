"""The documentation's examples run, and its table is what the registries say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call
from test_analysis_synthetic import make_run

from alade_brian.analysis import figures
from alade_brian.conversion.from_torch.frameworks.registry import frameworks
from alade_brian.conversion.support_table import sections
from alade_brian.outputs import LOCK

PAGE = Path(__file__).resolve().parent.parent / "docs" / "convert-your-network.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "package"),
    [("snnTorch", "snntorch"), ("SpikingJelly", "spikingjelly"), ("Plain torch", "torch"),
     ("A network with ReLU units", "torch")],
)  # fmt: skip
def test_an_example_runs_as_it_stands(title: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    done = subprocess.run([sys.executable, "-c", EXAMPLES[title]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 mismatched; prediction agreement 1.0000" in done.stdout
    if title == "Plain torch":
        assert {f.name for f in (tmp_path / "runs").iterdir()} == {"model.py", "model.npz", "model.nir"}


def test_the_table_is_what_the_registries_say() -> None:
    for title, text in sections(frameworks()).items():
        assert text in TEXT, f"the section {title} is old; run experiments/support_table.py"


def test_the_figures_are_drawn_as_the_page_says(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "digits-alade-1993", tasks=5, images=40, every_record=True)
    page = (PAGE.parent / "figures.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", "\n".join(examples)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(float(number) < 1e-12 for number in done.stdout.split()) and len(done.stdout.split()) == 2
    names = set(re.findall(r'Path\("([a-z]+)"\)', page))
    assert len(names) == 7 and {f.name for f in tmp_path.iterdir() if f.is_file()} == {
        f"{name}.{ending}" for name in names for ending in ("png", "svg")
    }
    assert all((PAGE.parent / image).is_file() for image in re.findall(r"\]\((images/[^)]*)\)", page))
    assert {name for name in re.findall(r"`(plot_\w+)`", page)} <= set(figures.__all__)


def draw_figures(*arguments: object) -> int:
    return call("figures", *arguments)


def test_the_command_draws_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    make_run(run, tasks=2, images=20, every_record=True)
    assert draw_figures(run, "--layer", "conv1", "--images", 3, 5, "--dpi", 50) == 0
    kinds = ("spikes", "spikes-pair", "intervals", "tuning", "selectivity", "drift")
    assert {f.name for f in (run / "paper").iterdir()} - {LOCK} == {
        f"{kind}.{ending}" for kind in kinds for ending in ("png", "svg")
    }
    assert draw_figures(run) == 2 and "already" in capsys.readouterr().err
    for wrong, says in (
        (["--task", 3], "no task 3"), (["--layer", "x"], "no layer 'x'"), (["--images", 99], "no image 99"),
        (["--neurons", 0], "at least one neuron"), (["--dpi", 0], "--dpi: '0' is no whole number from 1"),
    ):  # fmt: skip
        assert draw_figures(run, *wrong, "--out", tmp_path / "other") == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
