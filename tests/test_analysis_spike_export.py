"""Spikes in other programs' formats: nothing is lost on the way, and what is bad is said in a sentence."""

from __future__ import annotations

import json
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from test_analysis_spike_record import assert_same, small
from test_analysis_synthetic import LAYERS, flip, make_record, make_run, make_spikes

from alade_brian.errors import UserError
from alade_brian.spikes import csv_file as spike_csv
from alade_brian.spikes import neo_nwb as spike_export
from alade_brian.spikes.csv_file import COLUMNS, NAMED_COLUMNS, read_csv, sidecar, write_csv
from alade_brian.spikes.neo_nwb import from_neo, to_dataframe, to_neo, write_nwb
from alade_brian.spikes.spike_record import SpikeRecord, load_spikes, save_spikes
from alade_brian.spikes.task_record import load_record, save_record

PROGRAM = Path(__file__).resolve().parent.parent / "experiments" / "export_spikes.py"
# dt of which no multiple is a short decimal; names that a table has to quote; a silent image.
NAMES = ('=1,"2"\n', "größe")
ODD = small(dt=1e-3 / 3, layers={'a,"b"\nc': np.arange(3), "größe 2": np.array([4, 7])}, class_names=NAMES)
EMPTY = small().select(images=[5])


def whole() -> SpikeRecord:
    return SpikeRecord.of(make_record(*[make_spikes(np.random.default_rng(3), images=6, steps=8)] * 2, classes=4))


@pytest.mark.parametrize("record", [small(), ODD, EMPTY, whole()], ids=["small", "odd", "empty", "large"])
@pytest.mark.parametrize("block", [2, 100_000])
def test_csv_and_back(record: SpikeRecord, block: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(spike_csv, "_BLOCK_LINES", block)
    write_csv(tmp_path / "spikes.csv", record)
    assert_same(read_csv(tmp_path / "spikes.csv"), record)
    assert {each.name for each in tmp_path.iterdir()} == {"spikes.csv", "spikes.json"}


def test_csv_as_it_stands(tmp_path: Path) -> None:
    write_csv(tmp_path / "spikes.csv", small())
    assert (tmp_path / "spikes.csv").read_text() == (
        "image,class,task,layer,neuron,step,time_s\n2,0,1,in,2,0,0.0\n2,0,1,out,4,0,0.0\n2,0,1,in,2,1,0.001\n"
        "9,0,1,out,7,0,0.0\n9,0,1,out,7,1,0.001\n"
    )
    assert json.loads((tmp_path / "spikes.json").read_text()) == {
        "dt_s": 1e-3, "steps": 2, "spikes": 5, "layers": {"in": 3, "out": [4, 7]}, "images": [2, 5, 9],
        "labels": [0, 1, 0], "tasks": [1, 1, 1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("image,class", "image,label", "its first line must be image,class"),
        ("9,0,1,out,7,1,0.001\n", "", "holds 4 spikes, and .*spikes.json says 5"),
        ("9,0,1,out,7,1,0.001\n", "9,0,1,out,7,1\n", "line 6, has 6 columns instead of 7"),
        ("9,0,1,out,7,1,0.001", "9,0,1,out,7,1.5,0.0015", "damaged or not those.*1.5"),
        ("9,0,1,out,7,1,0.001", "9,0,1,out,7,1,soon", "damaged or not those.*soon"),
        ("9,0,1,out,7,1,0.001", "9,0,1,out,7,1,0.002", "line 6: class, task or time"),
        ("9,0,1,out,7,1,0.001", "9,1,1,out,7,1,0.001", "line 6: class, task or time"),
        ("9,0,1,out,7,1,0.001", "9,0,2,out,7,1,0.001", "line 6: class, task or time"),
        ("9,0,1,out,7,1,0.001", "9,0,1,hidden,7,1,0.001", "damaged or not those.*hidden"),
        ("9,0,1,out,7,1,0.001", "9,0,1,out,5,1,0.001", "neuron that layer out"),
        ("9,0,1,out,7,1,0.001", "8,0,1,out,7,1,0.001", "image that the spike record does not list"),
        ("9,0,1,out,7,1,0.001", "9,0,1,out,7,0,0.0", "one spike twice"),
        ("image", "\ufeffimage", "its first line must be"),
    ],
)
def test_bad_tables(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "spikes.csv"
    write_csv(path, small())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_csv(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dt_s": 0}, "time step above 0"),
        ({"dt_s": "x"}, "damaged or not those"),
        ({"steps": "two"}, "damaged or not those"),
        ({"layers": [1]}, "layers is missing"),
        ({"layers": {"in": 3, "out": 3.5}}, "list of integers"),
        ({"images": [2, 5]}, "2 entries of 'images'"),
        ({"spikes": None}, "holds 5 spikes"),
        ({"labels": [1, 1, 0]}, "line 2: class, task or time"),
    ],
)
def test_bad_descriptions(change, sentence: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "spikes.csv", small())
    file = sidecar(tmp_path / "spikes.csv")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=sentence):
        read_csv(tmp_path / "spikes.csv")


def test_a_table_without_one_of_its_files(tmp_path: Path) -> None:
    path = tmp_path / "spikes.csv"
    write_csv(path, small())
    for content, sentence in (("{", "cannot be read"), ("[]", "dt_s, .* is missing"), ("{}", "dt_s, .* is missing")):
        sidecar(path).write_text(content)
        with pytest.raises(UserError, match=sentence):
            read_csv(path)
    sidecar(path).unlink()
    with pytest.raises(UserError, match="no .*spikes.json, which belongs to"):
        read_csv(path)
    write_csv(path, small())
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_csv(path)
    path.unlink()
    with pytest.raises(UserError, match="no table of spikes"):
        read_csv(path)


def test_neo_holds_the_times_and_who_fired() -> None:
    pytest.importorskip("neo")
    block = to_neo(ODD)
    first, second, third = block.segments
    assert [segment.annotations for segment in block.segments] == [
        {"image": image, "class": label, "task": 1, "class_name": NAMES[label]} for image, label in ((2, 0), (5, 1), (9, 0))
    ]  # fmt: skip
    trains = [(t.annotations["layer"], t.annotations["neuron"], t.magnitude.tolist()) for t in first.spiketrains]
    assert trains == [('a,"b"\nc', 2, [0.0, ODD.dt]), ("größe 2", 4, [0.0])]
    assert len(second.spiketrains) == 0
    (train,) = third.spiketrains
    shown = {"image": 9, "class": 0, "task": 1, "class_name": NAMES[0]}
    assert train.annotations == {"layer": "größe 2", "neuron": 7, **shown}
    assert (str(train.units.dimensionality), float(train.t_start), float(train.t_stop)) == ("s", 0.0, 2 * ODD.dt)
    assert first.filter(layer="größe 2")[0].annotations["neuron"] == 4


def test_neo_times_are_steps_times_dt() -> None:
    pytest.importorskip("neo")
    record = whole()
    for segment, image in zip(to_neo(record).segments, record.images, strict=True):
        assert len(segment.spiketrains) > 100
        for train in segment.spiketrains:
            layer = list(record.layers).index(train.annotations["layer"])
            mine = (record.image == image) & (record.layer == layer) & (record.neuron == train.annotations["neuron"])
            np.testing.assert_array_equal(train.magnitude, record.step[mine] * record.dt)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("record", [small(), ODD, EMPTY, whole()], ids=["small", "odd", "empty", "large"])
def test_neo_and_back(record: SpikeRecord, silent: bool) -> None:
    pytest.importorskip("neo")
    block = to_neo(record, silent)
    assert_same(from_neo(block), record)
    if silent:
        assert {len(segment.spiketrains) for segment in block.segments} == {len(record.units[0])}
    segments = list(block.segments)
    block.segments.clear()
    block.segments.extend(segments[::-1])
    assert_same(from_neo(block), record)


def test_neo_in_milliseconds_and_back() -> None:
    pytest.importorskip("neo")
    block = to_neo(ODD)
    for segment in block.segments:
        trains = [train.rescale("ms") for train in segment.spiketrains]
        segment.spiketrains.clear()
        segment.spiketrains.extend(trains)
    assert_same(from_neo(block), ODD)


@pytest.mark.parametrize(
    ("where", "key", "value", "sentence"),
    [
        ("block", "dt", None, "block of Neo lacks the annotation 'dt'"),
        ("segment", "class", None, "segment of Neo lacks the annotation 'class'"),
        ("train", "neuron", None, "spike train of Neo lacks the annotation 'neuron'"),
        ("train", "layer", "hidden", "layer 'hidden', which the block lacks"),
        ("train", "neuron", 5, "neuron that layer in"),
        ("block", "dt", 0.7e-3, "not a whole number of time steps: neuron 2 of layer in, image 2"),
        ("block", "dt", 0.0, "must be above 0 s, not 0.0"),
        ("segment", "image", 5, "rising order"),
    ],
)
def test_neo_blocks_of_another_kind(where: str, key: str, value, sentence: str) -> None:
    pytest.importorskip("neo")
    block = to_neo(small())
    thing = {"block": block, "segment": block.segments[0], "train": block.segments[0].spiketrains[0]}[where]
    if value is None:
        del thing.annotations[key]
    else:
        thing.annotations[key] = value
    with pytest.raises(UserError, match=sentence):
        from_neo(block)


@pytest.mark.parametrize("gap", [0.0, 0.1])
@pytest.mark.parametrize("record", [small(), ODD, whole()], ids=["small", "odd", "large"])
def test_nwb_holds_everything(record: SpikeRecord, gap: float, tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    start = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
    write_nwb(tmp_path / "spikes.nwb", record, gap, start=start)
    assert [each.name for each in tmp_path.iterdir()] == ["spikes.nwb"]
    with pynwb.NWBHDF5IO(tmp_path / "spikes.nwb", "r") as io:
        file = io.read()
        assert file.session_start_time == start and file.units.resolution == record.dt
        trials, units = file.trials.to_dataframe(), file.units.to_dataframe()
    np.testing.assert_array_equal(trials["start_time"], record.starts(gap))
    np.testing.assert_array_equal(trials["stop_time"], record.starts(gap) + record.duration)
    for column, expected in (("image", record.images), ("class", record.labels), ("task", record.tasks)):
        np.testing.assert_array_equal(trials[column], expected)
    assert ("class_name" in trials) == bool(record.class_names)
    if record.class_names:
        assert trials["class_name"].tolist() == [NAMES[0], NAMES[1], NAMES[0]]
    assert units["layer"].tolist() == [list(record.layers)[number] for number in record.units[0]]
    assert units["neuron"].tolist() == record.units[1].tolist()
    rasters = np.concatenate([record.raster(name) for name in record.layers], axis=2)
    for unit, row in enumerate(units.itertuples()):
        image, step = np.nonzero(rasters[:, :, unit])
        np.testing.assert_array_equal(row.spike_times, record.starts(gap)[image] + step * record.dt)
        seen = row.obs_intervals
        np.testing.assert_array_equal(seen if gap else [seen[0]], trials[["start_time", "stop_time"]] if gap else [[0, trials["stop_time"].iloc[-1]]])  # fmt: skip


@pytest.mark.parametrize("gap", [0.0, 0.1])
@pytest.mark.parametrize("record", [small(), ODD, whole()], ids=["small", "odd", "large"])
def test_nwb_passes_the_inspector(record: SpikeRecord, gap: float, tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    inspector = pytest.importorskip("nwbinspector")
    write_nwb(tmp_path / "spikes.nwb", record, gap)
    threshold = inspector.Importance.BEST_PRACTICE_VIOLATION
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(inspector.inspect_nwbfile(nwbfile_path=tmp_path / "spikes.nwb", importance_threshold=threshold))
    assert [(message.check_function_name, message.message) for message in found] == []


def test_neo_reads_nwb_without_gaps(tmp_path: Path) -> None:
    neo = pytest.importorskip("neo")
    pytest.importorskip("pynwb")
    record = small()
    write_nwb(tmp_path / "spikes.nwb", record, gap=0)
    (segment,) = neo.io.NWBIO(str(tmp_path / "spikes.nwb"), "r").read_block().segments
    trains = [train.rescale("s").magnitude.tolist() for train in segment.spiketrains]
    assert trains == [record.times(0)[record.unit == unit].tolist() for unit in range(5)]


def test_nwb_that_would_be_too_large(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("pynwb")
    monkeypatch.setattr(spike_export, "_LARGEST_OBSERVATIONS", 29)
    with pytest.raises(UserError, match="5 neurons times 3 images make too many"):
        write_nwb(tmp_path / "spikes.nwb", small())
    assert list(tmp_path.iterdir()) == []
    write_nwb(tmp_path / "spikes.nwb", small(), gap=0)


def test_nwb_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    with pytest.raises(UserError, match="None of the 5 neurons spiked"):
        write_nwb(tmp_path / "spikes.nwb", EMPTY)
    with pytest.raises(UserError, match="gap between presentations"):
        write_nwb(tmp_path / "spikes.nwb", small(), gap=-1)
    assert list(tmp_path.iterdir()) == []


def test_pandas() -> None:
    pytest.importorskip("pandas")
    frame, record = to_dataframe(ODD), ODD
    assert tuple(frame.columns) == NAMED_COLUMNS and len(frame) == len(record)
    assert frame["class_name"].tolist() == [NAMES[0]] * 5 and tuple(to_dataframe(small()).columns) == COLUMNS
    assert frame["layer"].tolist() == ['a,"b"\nc', "größe 2", 'a,"b"\nc', "größe 2", "größe 2"]
    assert list(frame["layer"].cat.categories) == list(record.layers)
    for column, expected in (("image", [2, 2, 2, 9, 9]), ("class", [0] * 5), ("task", [1] * 5), ("neuron", [2, 4, 2, 7, 7]), ("step", [0, 0, 1, 0, 1])):  # fmt: skip
        assert frame[column].tolist() == expected
    np.testing.assert_array_equal(frame["time_s"], record.within)
    np.testing.assert_array_equal(to_dataframe(record, gap=0.5)["time_s"], record.times(0.5))
    assert len(to_dataframe(EMPTY)) == 0


@pytest.mark.parametrize(
    ("package", "extra", "export"),
    [
        ("neo", "neo", lambda path: to_neo(small())),
        ("pynwb", "nwb", lambda path: write_nwb(path, small())),
        ("pandas", "pandas", lambda path: to_dataframe(small())),
    ],
)
def test_a_missing_package_names_the_extra(package: str, extra: str, export, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"package {package}, .*; pip install 'alade-brian\[{extra}\]'"):
        export(tmp_path / "spikes.nwb")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", tasks=2, wrong=True, images=12, class_names=list(RUN_NAMES))
    spikes = make_spikes(np.random.default_rng(1), images=5, steps=3)
    save_record(tmp_path / "run" / "spikes" / "task-01.npz", make_record(spikes, flip(spikes, []), classes=2))
    return tmp_path / "run"


def command(*arguments: object) -> int:
    return call("export", *arguments)


RUN_NAMES = ("zebra", "yak", "wolf", "vole")


def test_the_command_writes_what_was_asked_for(run: Path, tmp_path: Path, capsys) -> None:
    last, first = (load_record(run / "spikes" / f"task-0{number}.npz") for number in (2, 1))
    assert command(run, "--to", tmp_path / "all.npz") == 0
    assert_same(load_spikes(tmp_path / "all.npz"), SpikeRecord.of(last, class_names=RUN_NAMES))
    assert (
        f"{len(SpikeRecord.of(last)):,} spikes of 480 neurons in 3 layers, 12 images of 8 ms" in capsys.readouterr().out
    )
    options = (
        "--network",
        "torch",
        "--layer",
        "features",
        "--layer",
        "conv2",
        "--images",
        9,
        "--class-names",
        "vole",
        "yak",
    )
    assert command(run, *options, "--to", tmp_path / "some.csv") == 0
    some = SpikeRecord.of(last, "torch", class_names=RUN_NAMES).select(["conv2", "features"], range(9), [1, 3])
    assert some.images.tolist() == [1, 3, 5, 7]
    assert_same(read_csv(tmp_path / "some.csv"), some)
    lines = (tmp_path / "some.csv").read_text().splitlines()[1:]
    assert {tuple(line.split(",")[1:8:6]) for line in lines} == {("1", "yak"), ("3", "vole")}
    assert command(run, *options[:-3], "--classes", 3, 1, "--to", tmp_path / "same.csv") == 0
    assert (tmp_path / "same.csv").read_text() == (tmp_path / "some.csv").read_text()
    assert len(some) != len(SpikeRecord.of(last).select(["conv2", "features"], range(9), [1, 3]))
    assert command(run, "--task", 1, "--to", tmp_path / "first.npz") == 0
    assert_same(load_spikes(tmp_path / "first.npz"), SpikeRecord.of(first, class_names=RUN_NAMES))
    assert command(run / "spikes" / "task-01.npz", "--to", tmp_path / "record.npz") == 0
    assert_same(load_spikes(tmp_path / "record.npz"), SpikeRecord.of(first, class_names=RUN_NAMES))
    assert command(tmp_path / "all.npz", "--layer", "conv1", "--images", 2, "--to", tmp_path / "less.npz") == 0
    expected = SpikeRecord.of(last, layers=["conv1"], images=[0, 1], class_names=RUN_NAMES)
    assert_same(load_spikes(tmp_path / "less.npz"), expected)


def test_the_command_writes_nwb(run: Path, tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    assert command(run, "--layer", "features", "--gap", 250, "--to", tmp_path / "spikes.nwb") == 0
    with pynwb.NWBHDF5IO(tmp_path / "spikes.nwb", "r") as io:
        file = io.read()
        assert len(file.units) == LAYERS["features"] and len(file.trials) == 12
        assert file.trials["start_time"][1] == pytest.approx(0.258)
        assert file.session_start_time.timestamp() == pytest.approx((run / "spikes" / "task-02.npz").stat().st_mtime)


BAD_USE = {
    "ending": (("{run}", "--to", "{tmp}/spikes.mat"), "use one of .csv, .nwb, .npz"),
    "no ending": (("{run}", "--to", "{tmp}/spikes"), "use one of .csv, .nwb, .npz"),
    "there already": (("{run}", "--to", "{tmp}/old.npz"), "old.npz already exists"),
    "beside it": (("{run}", "--to", "{tmp}/beside.csv"), "beside.json already exists"),
    "a folder": (("{run}", "--to", "{tmp}/folder.npz", "--force"), "folder.npz is a folder"),
    "itself": (("{run}", "--to", "{run}/spikes/task-02.npz", "--force"), "is also the input"),
    "gap": (("{run}", "--to", "{tmp}/spikes.csv", "--gap", "1"), "--gap is for an .nwb file"),
    "no run": (("{tmp}", "--to", "{tmp}/spikes.csv"), "holds no spikes/task-NN.npz"),
    "no file": (("{tmp}/none.npz", "--to", "{tmp}/spikes.csv"), "There is no spike record"),
    "no record": (("{tmp}/old.npz", "--to", "{tmp}/spikes.csv"), "damaged or of another kind"),
    "an array": (("{tmp}/array.npy", "--to", "{tmp}/spikes.csv"), "damaged or of another kind"),
    "task": (("{run}", "--task", "3", "--to", "{tmp}/spikes.csv"), "no spikes after task 3; it has those of 1 to 2"),
    "task of a file": (("{run}/spikes/task-01.npz", "--task", "1", "--to", "{tmp}/s.csv"), "--task is for a run folder"),
    "network": (("{tmp}/sparse.npz", "--network", "torch", "--to", "{tmp}/s.csv"), "--network is for a run"),
    "layer": (("{run}", "--layer", "conv9", "--to", "{tmp}/s.csv"), "no layer 'conv9'; the record has conv1, conv2, features"),
    "images": (("{run}", "--images", "13", "--to", "{tmp}/s.csv"), "the record has 12 images; give 1 to 12"),
    "no images": (("{tmp}/sparse.npz", "--images", "0", "--to", "{tmp}/s.csv"), "the record has 3 images; give 1 to 3"),
    "classes": (("{run}", "--classes", "9", "--to", "{tmp}/s.csv"), "no class 9; the record has 4, from 0 to 3"),
    "class name": (("{run}", "--class-names", "emu", "--to", "{tmp}/s.csv"), "no class of this name; it has zebra, yak"),
    "no class names": (("{tmp}/sparse.npz", "--class-names", "emu", "--to", "{tmp}/s.csv"), "does not name them; use --classes"),
    "folder is a file": (("{run}", "--to", "{tmp}/old.npz/s.csv"), "cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_sentence(case: str, run: Path, tmp_path: Path, capsys) -> None:
    for name in ("old.npz", "beside.json"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "folder.npz").mkdir()
    np.save(tmp_path / "array.npy", np.zeros(3))
    save_spikes(tmp_path / "sparse.npz", small())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    arguments, sentence = BAD_USE[case]
    assert command(*(argument.format(run=run, tmp=tmp_path) for argument in arguments)) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_file_is_replaced_when_forced(run: Path, tmp_path: Path) -> None:
    for name in ("old.csv", "old.json"):
        (tmp_path / name).write_text("old")
    assert command(run, "--to", tmp_path / "old.csv", "--force") == 0
    assert len(read_csv(tmp_path / "old.csv")) > 0
