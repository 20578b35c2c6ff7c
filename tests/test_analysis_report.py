"""The report: complete, standing alone, escaped, and written for runs that lack this or that."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_analysis_synthetic import make_run

from alade_brian.analysis.metrics.verdict import agrees
from alade_brian.analysis.report.html import duration, number, percent
from alade_brian.analysis.report.report import write_report
from alade_brian.errors import UserError
from alade_brian.runs.summary import summary
from alade_brian.spikes.task_record import load_record


class ReportPage(HTMLParser):
    """Collects text, images and table rows, and checks that every element that is opened is closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def svgs(self) -> list[str]:
        found = [str(image["src"]).split("base64,")[1] for image in self.images]
        return [base64.b64decode(data).decode("utf-8") for data in found]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert "src" not in dict(attrs) or tag == "img"
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def wrong(tmp_path_factory) -> tuple[Path, dict[str, Any], ReportPage]:
    folder = tmp_path_factory.mktemp("report") / "run"
    metrics = make_run(folder, tasks=3, wrong=True, class_names=["<script>alert(1)</script>", *"bcdef"])
    return folder, metrics, ReportPage(write_report(folder))


def test_a_page_of_its_own(wrong) -> None:
    folder, _, page = wrong
    assert page.source.startswith("<!DOCTYPE html>")
    # The raster's data and its program; nothing that a file's text brought in.
    assert page.tags.count("script") == 2 and "link" not in page.tags
    assert "http" not in page.source
    names_of_the_format = r"http://www\.w3\.org/(2000/svg|1999/xlink|Graphics/SVG/1\.1/DTD/svg11\.dtd)"
    for svg in page.svgs:
        assert "http" not in re.sub(names_of_the_format, "", svg)
    assert not [each.name for each in folder.rglob("*.tmp")]


def test_figures_stand_in_the_page_and_beside_it(wrong) -> None:
    folder, _, page = wrong
    names = "accuracy_matrix confusion energy energy_tasks incremental_accuracy isi logits raster rates time".split()
    names += ["raster_pair", "selectivity", "training", "tuning"]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("png", "svg")
    )
    assert len(page.images) == len(names)
    assert all(image["alt"] for image in page.images)


def test_names_are_escaped(wrong) -> None:
    _, _, page = wrong
    for text in page.svgs:
        assert "<script" not in text
    opened = re.findall("<script[^>]*>", page.source)
    assert opened == ['<script type="application/json" id="raster-data">', "<script>"]


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=1)
    metrics["method"] = "<script>method</script>"
    metrics["tasks"][0]["layers"][0]["name"] = "<script>layer</script>"
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "config.yaml").write_text("name: <script>config</script>")
    (tmp_path / "environment.json").write_text(json.dumps({"<script>": "<script>environment</script>"}))
    page = ReportPage(write_report(tmp_path))
    assert page.tags.count("script") == 2
    for word in ("method", "layer", "config", "environment"):
        assert f"<script>{word}</script>" in page.text


def test_disagreement_names_the_place(wrong) -> None:
    _, metrics, page = wrong
    compared = sum(task["spikes_compared"] for task in metrics["tasks"])
    assert "No agreement." in page.text
    assert f"3 of {compared:,} compared entries" in page.text
    assert "task 3, layer conv2, image 7, step 3, neuron 11" in page.text
    assert "1.0000001" in page.text and "0.9999999" in page.text
    assert "image 7 (the one with the first diverging spike" in page.text


def test_numbers_as_given(wrong) -> None:
    _, metrics, page = wrong
    assert percent(metrics["average_incremental_accuracy_brian2"]) in page.words
    assert "2.4e-06" in page.words
    for task in metrics["tasks"]:
        learnt, compared = (row for row in page.rows if row[0] == str(task["task"]) and len(row) == 7)
        assert learnt[2:4] == [str(task["classes_seen"]), str(task["images"])]
        assert learnt[4:6] == [percent(task["accuracy_torch"]), percent(task["accuracy_brian2"])]
        assert compared[2:4] == [f"{task['spikes_compared']:,}", str(task["mismatched_spikes"])]
        assert compared[4] == f"{task['seconds']['train']:.1f} s"
    for layer in metrics["tasks"][-1]["layers"]:
        (row,) = [row for row in page.rows if row[0] == layer["name"] and len(row) == 9]
        counts = [layer[key] for key in ("neurons", "spikes_torch", "spikes_brian2", "mismatched_spikes")]
        assert row[1:5] == [f"{count:,}" for count in counts]
        assert row[5:8] == [f"{layer[key]:.3g}" for key in ("mean_rate_hz", "cv_isi", "fano_factor")]
        assert row[8] == percent(layer["silent_fraction"])
    assert ["Forgetting", percent(metrics["forgetting_torch"]), percent(metrics["forgetting_brian2"])] in page.rows
    assert ["packages.numpy", "2.3.5"] in page.rows
    assert "init_cls: 2" in page.text
    energy = metrics["energy"]
    assert f"{energy['joule_per_image']:.3g} J per image" in page.text
    assert f"{percent(energy['ratio'])} of the same network with ReLU units" in page.text
    every_step = energy["joule_per_image_input_every_step"]
    relu = energy["joule_per_image_relu"]
    assert ["Spiking, in every step", f"{every_step:.3g}", percent(every_step / relu)] in page.rows
    for layer in energy["layers"]:
        # The statistics of the answers stand before the energy and are as many.
        *_, row = [row for row in page.rows if row[0] == layer["name"] and len(row) == 8]
        assert row[1] == f"{round(layer['synaptic_events_per_image']):,}"
        assert row[3] == f"{layer['macs_per_image']:,}" and row[6] == f"{layer['macs_per_image_relu']:,}"
        assert row[4] == f"{layer['joule_per_image']:.3g}"


def test_statistics_of_the_answers(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=2, every_record=True)
    page = ReportPage(write_report(tmp_path))
    keys = "cv2 lv lvr lifetime_sparseness population_sparseness class_selectivity mutual_information_bits".split()
    for layer in metrics["tasks"][-1]["layers"]:
        assert [layer["name"], *(number(layer[key]) for key in keys)] in page.rows
    assert (tmp_path / "figures" / "drift.svg").is_file()
    # Records of other tasks that cannot be read only take the drift away.
    (tmp_path / "spikes" / "task-01.npz").write_bytes(b"damaged")
    (tmp_path / "figures" / "drift.svg").unlink()
    assert "What the neurons answer to" in ReportPage(write_report(tmp_path)).text
    assert not (tmp_path / "figures" / "drift.svg").exists()


def test_classes_go_by_their_names_and_images_by_what_they_are(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=2, class_names=["zebra", "yak", "wolf", "vole"])
    record = load_record(tmp_path / "spikes" / "task-02.npz")
    page = ReportPage(write_report(tmp_path))
    answer = metrics["class_names"][record.predictions_torch[0]]
    assert f"class zebra, PyTorch's answer {answer}," in page.text and "validation images" not in page.text
    learnt = {row[0]: row[1] for row in page.rows if row[1:] and row[1] in ("zebra, yak", "wolf, vole")}
    assert learnt == {"1": "zebra, yak", "2": "wolf, vole"}
    for name in ("tuning", "confusion"):
        assert "zebra" in (tmp_path / "figures" / f"{name}.svg").read_text()
    metrics["config"]["validation"] = 0.1
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = ReportPage(write_report(tmp_path))
    assert "validation images" in page.text and "test images" not in page.text
    assert summary(metrics, tmp_path).splitlines()[0].split("  ")[2] == "validation images"


def test_agreement(tmp_path: Path) -> None:
    make_run(tmp_path, tasks=2)
    page = ReportPage(write_report(tmp_path))
    assert "Agreement." in page.words and "No agreement." not in page.text
    assert "First departure" not in page.text


def test_equal_spikes_with_other_predictions_are_no_agreement(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=2)
    metrics["tasks"][0]["prediction_agreement"] = 0.5
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = ReportPage(write_report(tmp_path))
    assert "No agreement." in page.text and "75.00 % of the predictions" in page.text


def test_nothing_compared_is_no_agreement(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=1)
    metrics["tasks"][0]["spikes_compared"] = 0
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert "Agreement not shown" in ReportPage(write_report(tmp_path)).text


def test_one_task_of_which_nothing_was_compared_is_no_agreement(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=3)
    assert agrees(metrics) and not agrees({"tasks": []})
    metrics["tasks"][1]["spikes_compared"] = 0
    assert not agrees(metrics) and "NOT PROVEN: no spike" in summary(metrics, tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert (
        "Agreement not shown. No spike of the two networks was compared (task 2)."
        in ReportPage(write_report(tmp_path)).text
    )


@pytest.mark.parametrize("said", [{}, {"agrees": True}, {"agrees": False}])
def test_tasks_in_which_nothing_fired_prove_nothing(tmp_path: Path, said: dict[str, bool]) -> None:
    """Whatever was written down of them; a silent layer beside one that fires is no doubt."""
    metrics = make_run(tmp_path, tasks=3)
    silent = {"spikes_torch": 0, "spikes_brian2": 0}
    metrics["tasks"][0]["layers"][-1] |= silent
    assert agrees(metrics)
    for task in metrics["tasks"][1:]:
        task |= said
        for layer in task["layers"]:
            layer |= silent
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    sentence = "o neuron fired in either network (tasks 2, 3): this comparison proves nothing about spikes"
    assert not agrees(metrics) and f"NOT PROVEN: n{sentence}; report:" in summary(metrics, tmp_path)
    assert f"Agreement not shown. N{sentence}." in ReportPage(write_report(tmp_path)).text
    metrics["tasks"][0]["mismatched_spikes"] = 1
    assert f"DIFFERS from the trained one: n{sentence}" in summary(metrics, tmp_path)


def test_one_task_without_alignment_environment_and_record(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=1, aligned=False)
    contract_only = {key: metrics[key] for key in ("format", "config", "tasks")}
    for key in ("training", "first_divergence", "confusion_torch", "confusion_brian2"):
        del contract_only["tasks"][0][key]
    contract_only["energy"] = {}
    (tmp_path / "metrics.json").write_text(json.dumps(contract_only))
    (tmp_path / "spikes" / "task-01.npz").unlink()
    (tmp_path / "environment.json").unlink()
    page = ReportPage(write_report(tmp_path))
    assert "recorded nothing of its training epochs" in page.text
    assert "No spikes were recorded" in page.text
    assert "holds no environment.json" in page.text
    assert "energy" not in page.text
    assert len(page.images) == 3


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, tasks=2, planned=5)
    assert "2 of 5 tasks learnt" in ReportPage(write_report(tmp_path)).text


def test_a_damaged_record_is_reported_and_the_rest_is_there(tmp_path: Path) -> None:
    make_run(tmp_path, tasks=2)
    (tmp_path / "spikes" / "task-02.npz").write_bytes(b"damaged")
    page = ReportPage(write_report(tmp_path))
    assert "damaged or of another kind" in page.text
    assert len(page.images) == 9


def test_a_silent_network(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=1)
    for layer in metrics["tasks"][0]["layers"]:
        layer |= {"mean_rate_hz": 0.0, "cv_isi": None, "fano_factor": None, "silent_fraction": 1.0}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = ReportPage(write_report(tmp_path))
    assert ["0", "–", "–", "100.00 %"] in [row[5:] for row in page.rows]
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"tasks": []}', '{"tasks": [{"task": 1}]}'])
def test_metrics_that_cannot_be_reported(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_writing_numbers() -> None:
    assert [percent(0.12345), percent(None), percent(float("nan"))] == ["12.35 %", "–", "–"]
    assert [number(1234567), number(2.4e-6), number(None)] == ["1,234,567", "2.4e-06", "–"]
    assert [duration(3.21), duration(245), duration(7620), duration(None)] == ["3.2 s", "4 min 05 s", "2 h 07 min", "–"]


def test_the_summary_of_a_run(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=2)
    lines = summary(metrics, tmp_path).splitlines()
    assert lines[-2] == (
        f"energy of one image: {1e9 * metrics['energy']['joule_per_image']:.4g} nJ, "
        f"{metrics['energy']['ratio']:.3f} of that of the same network with ReLU units"
    )
    assert lines[-3] == "backward transfer: -0.0200 in PyTorch, -0.0200 in Brian2"
    del metrics["energy"]
    assert "energy" not in summary(metrics, tmp_path)
