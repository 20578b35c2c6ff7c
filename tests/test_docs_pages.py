"""What the documentation says of steps and of perturbations is so, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from alade_brian.conversion.neuron_equations import memoryless
from alade_brian.conversion.spec import Dense, NetworkSpec, Population, Projection, Readout, Stimulus
from alade_brian.perturbations import Shown, perturbation
from alade_brian.perturbations.base import _REGISTRY

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
        weaker = perturbation("weaker-synapses")(Shown(spec, np.ones((1, 2))), 0.4).spec
        assert np.array_equal(weaker.projections[0].operator.weight, 0.6 * weight)  # type: ignore[union-attr]
    finally:
        _REGISTRY.pop("weaker-synapses", None)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md")))
def test_programs_can_be_read(page: str) -> None:
    for program in blocks(page):
        compile(program, page, "exec")
