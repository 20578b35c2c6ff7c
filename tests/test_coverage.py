"""The table of other packages' neurons is what the registries say, and what its rows say is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import call

from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS
from alade_brian.verification.coverage import table
from alade_brian.verification.coverage.network import Example
from alade_brian.verification.coverage.table import (
    PLACES,
    Row,
    markdown,
    public_classes,
    registered_rows,
    tried_rows,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coverage.md"
# Of all public classes so many are exact, at least.
WANTED = {"snntorch": (11, 16), "spikingjelly": (29, 49), "norse": (35, 53)}
# Of the many that are exact, those with nonlinear membranes and those that the torch face alone does not show enough of.
SIMULATED = {"EIFNode", "IzhikevichNode", "GatedLIFNode", "LIFAdExRefracCell", "IzhikevichCell", "DeltaLeaky"}

each_framework = pytest.mark.parametrize("name", list(PLACES))


@each_framework
def test_the_page_is_what_the_registries_say(name: str) -> None:
    pytest.importorskip(name)
    section = markdown({name: registered_rows(name)})
    assert section in PAGE.read_text(encoding="utf-8"), "docs/coverage.md is old; run alade-brian coverage --write"


@each_framework
def test_every_class_is_exact_or_has_a_reason(name: str) -> None:
    pytest.importorskip(name)
    rows, made = registered_rows(name), PLACES[name][1]()
    exact = [row.name for row in rows if row.path == "exact"]
    reasons = {row.how for row in rows if row.path == "refused"}
    at_least, classes = WANTED[name]
    assert len(rows) == classes and len(exact) >= at_least and set(exact) <= set(made)
    assert all("; " in reason or "use " in reason for reason in reasons) and "has no lowering" not in reasons


@each_framework
def test_a_refusal_gives_its_reason_and_some_exact_classes_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    wanted = [cls for cls in public_classes(name) if cls in FRAMEWORKS[name]().refused or cls.__name__ in SIMULATED]
    monkeypatch.setattr(table, "public_classes", lambda name: iter(wanted))
    found = list(tried_rows(name))
    assert len(found) == len(wanted) and [row for row in found if row.path == "differs"] == []


@pytest.mark.slow
@each_framework
def test_every_row_is_so(name: str) -> None:
    pytest.importorskip(name)
    assert [row for row in tried_rows(name) if row.path == "differs"] == []


def test_every_simulated_class_exists() -> None:
    for name in PLACES:
        pytest.importorskip(name)
    assert {cls.__name__ for name in PLACES for cls in public_classes(name)} >= SIMULATED


def test_a_wrong_row_is_noticed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A class without an example, one whose equations are not its step, and one that is refused without cause."""
    snn = pytest.importorskip("snntorch")
    rows = [Row("SLSTM", "exact", ""), Row("Leaky", "exact", ""), Row("LIF", "refused", "fails")]
    monkeypatch.setattr(table, "public_classes", lambda name: iter((snn.SLSTM, snn.Leaky, snn.LIF)))
    monkeypatch.setattr(table, "registered_rows", lambda name: rows)
    faulty = Example(lambda: snn.Leaky(0.5, threshold=1e9, init_hidden=True))
    made = {"Leaky": (faulty,)}
    monkeypatch.setattr(table, "PLACES", {"snntorch": ("snntorch", lambda: made)})
    found = list(tried_rows("snntorch"))
    assert [row.path for row in found] == ["differs"] * 3
    assert found[0].how == "has no example" and "never fires" in found[1].how and "base class" in found[2].how
    assert call("coverage", "snntorch") == 1 and "0 exact, 0 refused, 3 differs" in capsys.readouterr().out
    assert call("coverage", "nothing") == 2 and "there is no framework 'nothing'" in capsys.readouterr().err
