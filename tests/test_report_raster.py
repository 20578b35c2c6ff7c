"""The raster of a report: which spikes it holds and how they are written, and what a browser makes of them."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from test_analysis_synthetic import LAYERS, make_record, make_run, make_spikes

from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.raster import Raster, spread_over_classes, varints
from alade_brian.analysis.report.report import write_report
from alade_brian.spikes.task_record import LayerRecord, TaskRecord, load_record

STEPS = 8


def places_of(coded: bytes) -> list[int]:
    """What raster.js reads, byte by byte."""
    values, value, shift = [], 0, 0
    for byte in coded:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return (np.cumsum(np.array(values, dtype=np.int64) + 1) - 1).tolist()


def random_record(images: int = 30, classes: int = 6) -> TaskRecord:
    spikes = make_spikes(np.random.default_rng(3), images, STEPS)
    return make_record(spikes, spikes, classes)


def dense(record: TaskRecord, images: np.ndarray, every: int = 1) -> np.ndarray:
    """Bool (images, steps, neurons of all layers)."""
    return np.concatenate([layer.brian2()[images][:, :, ::every] for layer in record.layers.values()], axis=2)


def test_numbers_of_any_size_are_written_and_read() -> None:
    values = np.array([0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**21, 2**35 + 5, 3])
    assert np.diff(places_of(varints(values)), prepend=-1).tolist() == (values + 1).tolist()
    assert [len(varints(np.array([value]))) for value in (127, 128, 2**14 - 1, 2**14)] == [1, 2, 2, 3]
    assert varints(np.empty(0, dtype=np.int64)) == b""


def test_the_data_are_the_spikes() -> None:
    record = random_record()
    raster = Raster.of(record)
    data = json.loads(raster.data())
    numbers = np.array([image["number"] for image in data["images"]])
    expected = dense(record, numbers)
    assert places_of(base64.b64decode(data["gaps"])) == np.flatnonzero(expected).tolist()
    assert data["spikes"] == expected.sum() == len(raster.spikes)
    assert data["neurons"] == sum(LAYERS.values()) and data["steps"] == STEPS and data["dt_ms"] == 1.0
    assert [image["label"] for image in data["images"]] == record.labels[numbers].tolist()
    assert [image["answer"] for image in data["images"]] == [str(n) for n in record.predictions_brian2[numbers]]


def test_a_limit_takes_neurons_away_before_it_takes_classes() -> None:
    record = random_record()
    raster = Raster.of(record, most=1000)
    assert raster.every > 1 and set(raster.spikes.labels) == set(range(6))
    expected = dense(record, raster.spikes.images, raster.every)
    assert len(raster.spikes) == expected.sum() < 1500
    assert f"every {raster.every}th neuron" in raster.caption(30)
    assert "10 of 30 test images" in raster.caption(30)


def test_more_images_where_there_are_few_spikes() -> None:
    spikes = {name: np.zeros((90, STEPS, 5), dtype=bool) for name in ("a", "b")}
    raster = Raster.of(make_record(spikes, spikes, classes=3))
    assert len(raster.spikes.images) == 60 and len(raster.spikes) == 0 and raster.every == 1
    assert json.loads(raster.data())["gaps"] == ""


def test_images_are_spread_over_the_classes() -> None:
    labels = np.array([5, 0, 0, 0, 5, 7, 7])
    assert spread_over_classes(labels, 3).tolist() == [0, 1, 5]
    assert spread_over_classes(labels, 5).tolist() == [0, 1, 2, 4, 5]
    assert spread_over_classes(labels, 2).tolist() == [1, 5]
    assert spread_over_classes(labels, 99).tolist() == list(range(7))


def test_no_name_ends_the_script() -> None:
    spikes = {"</script><b>": np.ones((2, 4, 3), dtype=bool)}
    text = Raster.of(make_record(spikes, spikes, classes=2)).html(2, Naming(classes=("<i>", "&")))
    assert text.count("</script>") == 2 and "<b>" not in text and "<i>" not in text
    data = re.search(r'id="raster-data">(.*?)</script>', text)
    assert data is not None and json.loads(data[1])["layers"][0]["name"] == "</script><b>"


def test_the_script_asks_for_nothing_outside() -> None:
    script = (Path(__file__).parent.parent / "alade_brian" / "analysis" / "report" / "raster.js").read_text()
    for word in ("http", "fetch(", "import ", "XMLHttpRequest", "eval(", "innerHTML", "WebSocket"):
        assert word not in script


# What follows needs a browser.

CHROMIUM = find_chromium()
browser_needed = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


class RasterPage:
    """The raster in a page: how many marks are drawn, between which limits, and where its canvas lies."""

    def __init__(self, browser: Chromium, record: TaskRecord) -> None:
        self.browser = browser
        data = json.loads(browser.evaluate("document.getElementById('raster-data').textContent"))
        self.images = np.array([image["number"] for image in data["images"]])
        self.spikes = dense(record, self.images)
        self.labels, self.tasks = record.labels[self.images], record.tasks[self.images]
        browser.evaluate("document.querySelector('#raster canvas').scrollIntoView({block: 'center'})")

    @property
    def state(self) -> dict[str, float]:
        found = json.loads(self.browser.evaluate("JSON.stringify(document.getElementById('raster').dataset)"))
        return {name: float(value) for name, value in found.items()}

    @property
    def text(self) -> str:
        return self.browser.evaluate("document.querySelector('#raster output').textContent")

    @property
    def plot(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the plot in the window, within the margins that report_raster.js leaves."""
        left, top, width, height = self.browser.evaluate(
            "(() => { const b = document.querySelector('#raster canvas').getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        return left + 190, top + 40, width - 202, height - 80

    def at(self, u: float, v: float) -> tuple[float, float]:
        left, top, width, height = self.plot
        return left + u * width, top + v * height

    def choose(self, name: str, value: str) -> None:
        self.browser.evaluate(
            f"(() => {{ const e = document.getElementById('raster-{name}'); e.value = '{value}';"
            " e.dispatchEvent(new Event('change')); })()"
        )

    def press(self, button: str) -> None:
        self.browser.evaluate(f"document.getElementById('raster-{button}').click()")

    def expected(self, spikes: np.ndarray) -> int:
        """Spikes (images, steps, neurons) whose marks, in the middle of step and row, lie within the limits."""
        state = self.state
        rows = spikes.reshape(-1, spikes.shape[2])
        step, neuron = (np.arange(size) + 0.5 for size in rows.shape)
        inside = (step >= state["x0"]) & (step <= state["x1"])
        return int(rows[inside][:, (neuron >= state["y0"]) & (neuron <= state["y1"])].sum())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raster") / "run"
    make_run(folder, tasks=3, images=60)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert CHROMIUM is not None
    chromium = Chromium(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def page(browser: Chromium, run: Path) -> RasterPage:
    browser.open(run / "report.html")
    return RasterPage(browser, load_record(run / "spikes" / "task-03.npz"))


@browser_needed
def test_everything_is_shown_at_first(page: RasterPage) -> None:
    images, steps, neurons = page.spikes.shape
    assert page.state == {"marks": page.spikes.sum(), "x0": 0, "x1": images * steps, "y0": 0, "y1": neurons}
    assert page.text == (
        f"{page.spikes.sum():,} of {page.spikes.sum():,} spikes, {neurons} neurons, {images} images, 0 to "
        f"{images * steps} ms"
    )
    assert page.browser.evaluate("document.getElementById('raster').hidden") is False
    assert page.browser.errors == []


@browser_needed
def test_marks_are_really_drawn(page: RasterPage) -> None:
    def coloured() -> int:
        return page.browser.evaluate(
            "(() => { const c = document.querySelector('#raster canvas');"
            " const d = c.getContext('2d').getImageData(195, 45, c.width - 210, c.height - 90).data; let n = 0;"
            " for (let k = 0; k < d.length; k += 4) if (d[k] - d[k + 2] > 40 || d[k + 2] - d[k] > 40) n++; return n; })()"
        )

    assert coloured() > 1000
    page.choose("layer", "0")
    page.choose("class", "0")
    assert coloured() > 100


@browser_needed
def test_dragging_zooms_to_the_rectangle(page: RasterPage) -> None:
    images, steps, neurons = page.spikes.shape
    page.browser.drag(page.at(0.25, 0.5), page.at(0.75, 0.75))
    state = page.state
    limits = [
        state["x0"] / (images * steps),
        state["x1"] / (images * steps),
        state["y0"] / neurons,
        state["y1"] / neurons,
    ]
    assert limits == pytest.approx([0.25, 0.75, 0.5, 0.75], abs=0.01)
    assert 0 < state["marks"] == page.expected(page.spikes) < page.spikes.sum()
    page.press("all")
    assert page.state["marks"] == page.spikes.sum()


@browser_needed
def test_the_wheel_zooms_around_the_pointer_once_the_raster_has_the_focus(page: RasterPage) -> None:
    images, steps, neurons = page.spikes.shape
    whole, wheel = page.state, {"deltaX": 0, "deltaY": -100}
    page.browser.evaluate("document.activeElement.blur()")
    page.browser.mouse("mouseWheel", *page.at(0.5, 0.5), **wheel)
    assert page.state == whole
    page.browser.evaluate("document.querySelector('#raster canvas').focus()")
    page.browser.evaluate("document.querySelector('#raster canvas').scrollIntoView({block: 'center'})")
    page.browser.mouse("mouseWheel", *page.at(0.25, 0.5), **wheel)
    state = page.state
    assert (state["x1"] - state["x0"]) / (images * steps) == pytest.approx(0.8)
    # The point under the pointer stays where it was.
    assert state["x0"] + 0.25 * 0.8 * images * steps == pytest.approx(0.25 * images * steps, rel=0.01)
    assert state["marks"] == page.expected(page.spikes)
    # With Shift (8) the time alone.
    page.browser.mouse("mouseWheel", *page.at(0.25, 0.5), **wheel, modifiers=8)
    now = page.state
    assert now["y1"] - now["y0"] == pytest.approx(0.8 * neurons) == pytest.approx(state["y1"] - state["y0"])


@browser_needed
def test_keys_and_buttons(page: RasterPage) -> None:
    images, steps, neurons = page.spikes.shape
    page.browser.evaluate("document.querySelector('#raster canvas').focus()")
    page.press("in")
    half = page.state
    assert (half["x0"], half["x1"]) == pytest.approx((0.25 * images * steps, 0.75 * images * steps))
    page.browser.evaluate("document.querySelector('#raster canvas').focus()")
    page.browser.key("ArrowRight")
    assert page.state["x0"] == pytest.approx(half["x0"] + 0.1 * images * steps)
    assert page.state["marks"] == page.expected(page.spikes)
    for _ in range(9):
        page.browser.key("ArrowDown")
    assert page.state["y1"] == neurons
    page.browser.key("0")
    assert page.state["marks"] == page.spikes.sum()
    page.press("out")
    assert page.state["x1"] == images * steps


@browser_needed
def test_filters_by_layer_class_and_task(page: RasterPage) -> None:
    first = page.spikes[:, :, : LAYERS["conv1"]]
    page.choose("layer", "0")
    assert page.state["marks"] == first.sum() and page.state["y1"] == LAYERS["conv1"]
    page.choose("class", "4")
    assert page.state["marks"] == first[page.labels == 4].sum()
    assert page.state["x1"] == (page.labels == 4).sum() * STEPS
    page.choose("class", "")
    page.choose("layer", "")
    page.choose("task", "2")
    assert page.state["marks"] == page.spikes[page.tasks == 2].sum() > 0
    # A class of another task: nothing is left, and that is not an error.
    page.choose("class", "0")
    assert page.state["marks"] == 0 and "0 images" in page.text
    page.press("in")
    page.browser.drag(page.at(0.2, 0.2), page.at(0.6, 0.6))
    assert page.browser.errors == []


@browser_needed
def test_without_scripts_the_figures_stay(run: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    browser = Chromium(CHROMIUM, tmp_path / "profile", script=False)
    try:
        browser.open(run / "report.html")
        seen: dict[str, Any] = browser.evaluate(
            "({raster: document.getElementById('raster').offsetHeight, images: document.images.length,"
            " said: document.body.innerText.includes('With JavaScript there is also a raster')})"
        )
        assert seen["raster"] == 0 and seen["images"] > 10 and seen["said"]
    finally:
        browser.close()


@browser_needed
def test_a_silent_network(browser: Chromium, tmp_path: Path) -> None:
    spikes = {"a": np.zeros((4, STEPS, 7), dtype=bool)}
    record = make_record(spikes, spikes, classes=2)
    assert isinstance(record.layers["a"], LayerRecord)
    file = tmp_path / "page.html"
    file.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><style>canvas {{ width: 900px; height: 400px }}</style>{Raster.of(record).html(4)}"
    )
    before = len(browser.errors)
    browser.open(file)
    assert RasterPage(browser, record).text == "0 of 0 spikes, 7 neurons, 4 images, 0 to 32 ms"
    assert len(browser.errors) == before


@browser_needed
def test_no_table_is_cut_off(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """With numbers as large as they get, in a window of an ordinary width."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    metrics = json.loads((folder / "metrics.json").read_text())
    for task in metrics["tasks"]:
        task |= {"spikes_compared": 15_318_138_880, "mismatched_spikes": 1_234_567, "images": 10_000}
        task["seconds"] = dict.fromkeys(task["seconds"], 7_000.0)
        for layer in task["layers"]:
            layer |= {key: 1_234_567_890 for key in ("neurons", "spikes_torch", "spikes_brian2", "mismatched_spikes")}
            layer["name"] = f"extractors.4.stages.{layer['name']}"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_report(folder)
    size = {"height": 900, "deviceScaleFactor": 1, "mobile": False}
    for width in (1280, 1024):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, **size)
        browser.open(folder / "report.html")
        tables = browser.evaluate("[...document.querySelectorAll('.wide')].map((e) => [e.scrollWidth, e.clientWidth])")
        assert len(tables) >= 8 and all(inside <= shown for inside, shown in tables), (width, tables)
    browser.call("Emulation.setDeviceMetricsOverride", width=1200, **size)
