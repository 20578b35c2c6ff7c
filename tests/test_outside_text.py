"""Names and expressions that come from a file: ordinary ones work wherever they are written, others are refused."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from networks import NUMPY

from alade_brian.analysis.report import html as report_html
from alade_brian.conversion.to_brian2.script import script, write_script
from alade_brian.simulation import simulate
from alade_brian.spec import (
    Identity,
    NetworkSpec,
    NeuronEquations,
    Population,
    Projection,
    Readout,
    SpecError,
    Stimulus,
    constant,
)
from alade_brian.spec.file import load_spec, save_spec

SPIKE = {"v_threshold": constant(0.5), "v_reset": constant(0.0)}
LIF = NeuronEquations("v : 1", SPIKE)
# Brian2's names of what it holds are joined of a group's and a variable's.
WITH_X_V = NeuronEquations("v : 1\nx_v : 1", SPIKE, update="x_v = 1")
READING = NeuronEquations("v : 1", spiking=False, reset="none")


def chain(first: str, second: str, neuron: NeuronEquations = LIF, stimulus: str = "image") -> NetworkSpec:
    """Two spiking populations in a row and a readout."""
    populations = Population(first, (2,), neuron), Population(second, (2,), LIF), Population("out", (2,), READING)
    names = (stimulus, *(p.name for p in populations))
    projections = tuple(Projection(a, b, Identity()) for a, b in pairwise(names))
    return NetworkSpec((Stimulus((2,), stimulus),), populations, projections, Readout("out"), 3)


# Pairs of valid names.
NAMES = [
    ("lif", "lif_input"), ("lif", "lif_spike_thresholder"), ("lif_stateupdater", "lif"), ("lif", "lif_x"),
    ("print", "class"), ("network", "images"), ("projection_1", "stimulus_0"), ("np", "print_2"),
    ("stages.0.lif", "stages 0 lif"), ("größe", "神经元"), ('"""', "'''"), ("\\N{x}", "{0}"), ("# -*-", "%s"),
]  # fmt: skip


@pytest.mark.parametrize("names", NAMES, ids=" and ".join)
def test_ordinary_names_work_in_brian2_and_in_the_script(names: tuple[str, str], tmp_path: Path) -> None:
    spec, images = chain(*names, WITH_X_V), np.array([[1.0, 0.0], [0.25, 2.0]])
    expected = simulate(spec, images, NUMPY)
    assert expected.spikes[names[0]].any() and expected.logits.any()
    write_script(spec, tmp_path / "model.py")
    np.savez(tmp_path / "images.npz", images=images)
    command = [sys.executable, "model.py", "images.npz", "answers.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as answers:
        np.testing.assert_array_equal(answers["logits"], expected.logits)


@pytest.mark.parametrize("name", ["", "a\nprint(1)", "a\r", "a\0", "a\u2028b", "a\x1b[2J", "a\u202eb", 3, None])
def test_a_name_that_cannot_be_printed_is_refused(name: str) -> None:
    for make in (lambda: Population(name, (1,), LIF), lambda: Stimulus((1,), name)):
        with pytest.raises(SpecError, match="printable"):
            make()


@pytest.mark.parametrize("name", ["a\nopen('marker', 'w')", "a\u2028b"])
def test_a_file_with_such_a_name_is_refused(name: str, tmp_path: Path) -> None:
    spec = chain("hidden", "second")
    object.__setattr__(spec.populations[0], "name", name)
    save_spec(spec, tmp_path / "a.npz")
    with pytest.raises(SpecError, match="printable"):
        load_spec(tmp_path / "a.npz")


def test_a_stimulus_name_cannot_leave_the_scripts_docstring() -> None:
    wild = 'x""" + open("marker", "w").write("1") + """'
    spec = chain("hidden", "second", stimulus=wild)
    other = Stimulus((2,), "\\")
    spec = dataclasses.replace(spec, stimuli=(*spec.stimuli, other))
    text = script(spec, 'mo"""del.py', 'num"""bers.npz')
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not any(isinstance(call.func, ast.Name) and call.func.id == "open" for call in calls)
    assert isinstance(ast.parse(text).body[0], ast.Expr)
    literals = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    assert wild in literals and 'num"""bers.npz' in literals


ALLOWED = {
    "threshold": [
        "v_threshold + 0.5*v",
        "-v ** 2 / (1 + abs(v))",
        "clip(v, 0, 1) * int(v > 0.5 and not v >= 2)",
        "1e-3",
    ],
    "update": ["v += 0.1*randn() - rand()", "v = v*0.5\n\n v += exp(-dt/(2*ms))", "v -= 1", "v *= 2", "v /= 2"],
    "on_spike": ["v = 0"],
    "model": ["v:1\nda/dt=-a/(10*ms):1", "  v : 1\n dx/dt = (v - x)/(3*ms) : 1 "],
}
CALL = "__import__('os').system('touch marker')"
REFUSED = {
    "threshold": [
        CALL, "v.real", "v[0]", "'v'", "lambda: 1", "(v := 1)", "v if v else 1", "v; v", "v\n+ v", "v # v", "unknown",
        "system(v)", "rand()", "v_threshold)\nimport os\n(1", "1j", "1e999", "v is 1", "f'{v}'", "[v]", "abs(x=v)", "",
        "v" * 3000, "(" * 300 + "v" + ")" * 300, "v \\", 'v"""', "ｖ", "abs", None, 1,
    ],
    "update": [
        CALL, f"v = {CALL}", "v = system()", "v = rand(1)", "v: int = 1", "import os", "v = 1; v = 2", "v_threshold = 2", "new = 1", "v.x = 1", "v **= 2",
        "v[0] = 1", "a = v = 1", "del v", "v = 1 # one", "v = 1\r", "v = (1\n)", None,
    ],
    "on_spike": [CALL, "v = system(1)", "fired = 1"],
    "model": [
        "v : 1\nx = rand() : 1", "v : 1\n" + CALL, "v : 1 # membrane", "v : volt", "v : 1 (shared)", "v : 1\ndx/dt = y : 1",
        "v : 1\nv : 1", "v : 1\nv_reset : 1", 'v : 1\n"""', "dv/dt = system('x') : 1", "v : 1\r import os", 3,
    ],
}  # fmt: skip


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in ALLOWED.items() for text in texts])
def test_brian2s_expressions_are_allowed(field: str, text: str) -> None:
    neuron = dataclasses.replace(LIF, **{field: text})
    simulate(chain("hidden", "second", neuron), np.ones((1, 2)), NUMPY)


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in REFUSED.items() for text in texts])
def test_other_code_is_refused_in_a_sentence(field: str, text: str) -> None:
    with pytest.raises(SpecError) as refused:
        dataclasses.replace(LIF, **{field: text})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["a b", "a\nb", "1a", "ä", "a;b", "_a", ""])
def test_a_parameter_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match="no name"):
        NeuronEquations("v : 1", {**SPIKE, key: constant(1)})


def test_a_file_with_code_for_an_expression_is_refused(tmp_path: Path) -> None:
    spec = chain("hidden", "second")
    object.__setattr__(spec.populations[0].neuron, "threshold", f"v_threshold + {CALL}")
    save_spec(spec, tmp_path / "a.npz")
    with pytest.raises(SpecError, match="threshold"):
        load_spec(tmp_path / "a.npz")


def test_no_text_leaves_its_place_in_a_report() -> None:
    wild = "</title></pre><script>alert(1)</script>\"'"
    parts = [
        report_html.heading(wild), report_html.paragraph(wild), report_html.verdict_box(True, wild, wild, [wild]),
        report_html.tiles([(wild, wild, wild)]), report_html.table([wild], [[wild]], wild), report_html.preformatted(wild),
        report_html.figure(b"<svg/>", wild, wild),
    ]  # fmt: skip
    page = report_html.page(wild, parts)
    assert page.count("&lt;script&gt;") >= len(parts) and "<script" not in page and "\"'" not in page
