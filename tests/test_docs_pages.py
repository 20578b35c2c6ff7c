"""What the documentation says of steps and of perturbations is so, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_grid import learnt

from alade_brian.perturbations import PERTURBATIONS, Presentation, perturbation
from alade_brian.runs.folder import read_json
from alade_brian.spec import Dense, NetworkSpec, Population, Projection, Readout, Stimulus, memoryless

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str) -> list[str]:
    """The Python programs of a page, in their order."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_a_step_is_the_equation_as_the_page_shows() -> None:
    (program,) = blocks("discrete-steps.md")
    exec(compile(program, "docs/discrete-steps.md", "exec"), {"__name__": "page"})


def test_a_perturbation_of_ones_own_is_known_by_its_name() -> None:
    (program,) = blocks("perturbations.md")
    weight = np.array([[1.0, -2.0]])
    spec = NetworkSpec(
        (Stimulus((2,)),), (Population("sum", (1,), memoryless()),), (Projection("image", "sum", Dense(weight)),),
        Readout("sum"), 1,
    )  # fmt: skip
    try:
        exec(compile(program, "docs/perturbations.md", "exec"), {"__name__": "page"})
        weaker = perturbation("weaker-synapses")(Presentation(spec, np.ones((1, 2))), 0.4).spec
        assert np.array_equal(weaker.projections[0].operator.weight, 0.6 * weight)  # type: ignore[union-attr]
    finally:
        PERTURBATIONS.remove("weaker-synapses")


@pytest.mark.slow
def test_the_tutorial_leads_to_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a smaller network under the name of the one that the page trains."""
    monkeypatch.chdir(tmp_path)
    finetuning = {"epochs": 2, "milestones": [], "align_from": 1}
    learnt(Path("runs/digits-alade-1993"), "alade", finetuning=finetuning)
    capsys.readouterr()
    program, page = "\n".join(blocks("tutorial.md")), {"__name__": "page"}
    exec(compile(program, "docs/tutorial.md", "exec"), page)
    found = page["accuracy"]
    last = read_json(Path("runs/digits-alade-1993/metrics.json"))["tasks"][-1]
    assert found.shape == (4, 2)  # type: ignore[attr-defined]
    # The run was verified on some of the test images only; the page shows all.
    assert abs(found[0].mean() - np.mean(last["accuracy_per_task_brian2"])) < 0.25  # type: ignore[index]
    said = capsys.readouterr().out
    assert "2 layers" in said and "2 steps:" in said
    assert Path("refractory.png").is_file() and Path("refractory.svg").is_file()


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")))
def test_programs_can_be_read(page: str) -> None:
    for program in blocks(page):
        compile(program, page, "exec")
