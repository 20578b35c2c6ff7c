"""The raster of a report that can be zoomed and filtered: which spikes it holds, and its part of the page.

Spikes are held as places in the order of image, step, layer and neuron; what is written is the distance of each from
the one before, which takes about one byte, and base64 of that.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray

from alade_brian.analysis.report import html
from alade_brian.analysis.report.naming import Naming
from alade_brian.spikes.spike_record import SpikeRecord
from alade_brian.spikes.task_record import TaskRecord

# About one byte each, a third more in base64.
MOST_SPIKES = 100_000
MOST_IMAGES = 60
# With more spikes than that in so many images, neurons are left out before images are.
FEWEST_IMAGES = 10
UNNAMED = Naming()


@dataclass(frozen=True)
class Raster:
    """Brian2's spikes for some images, of each layer every `every`-th neuron; and the answers to these images."""

    spikes: SpikeRecord
    every: int
    answers: NDArray[np.int64]

    @classmethod
    def of(cls, record: TaskRecord, most: int = MOST_SPIKES) -> Raster:
        """So many images, spread over the classes, and neurons that about `most` spikes are held."""
        sample = spread_over_classes(record.labels, FEWEST_IMAGES)
        spikes = SpikeRecord.of(record, images=sample)
        each = max(1.0, len(spikes) / len(sample))
        count = int(np.clip(most // each, len(sample), MOST_IMAGES))
        if count > len(sample):
            spikes = SpikeRecord.of(record, images=spread_over_classes(record.labels, count))
        every = max(1, int(np.ceil(len(spikes) / most)))
        if every > 1:
            spikes = spikes.select(neurons={name: numbers[::every] for name, numbers in spikes.layers.items()})
        return cls(spikes, every, record.predictions_brian2[spikes.images])

    def caption(self, images: int, naming: Naming = UNNAMED) -> str:
        """What is shown and how it is looked at; `images`: how many the record has."""
        of = "every" if self.every == 1 else f"every {self.every}th"
        spread = ", spread over the classes," if self.spikes.has_classes else ""
        return (
            f"Brian2's spikes for {len(self.spikes.images)} of {images:,} {naming.kind} images{spread} shown"
            f" one after the other: {len(self.spikes):,} spikes, {of} neuron of each layer. Draw a rectangle to zoom"
            " into it; click into the raster, and the wheel zooms too (with Shift only the time), arrow keys move and"
            " + and - zoom; a double click, or 0, shows everything."
        )

    def data(self, naming: Naming = UNNAMED) -> Markup:
        """JSON of what raster.js reads, without a `<`, so that no layer's name can end the element it is in."""
        spikes = self.spikes
        units = sum(len(neurons) for neurons in spikes.layers.values())
        places = (spikes.presentation * spikes.steps + spikes.step) * units + spikes.unit
        gaps = base64.b64encode(varints(np.diff(places, prepend=-1) - 1)).decode("ascii")
        has_classes = spikes.has_classes
        images = zip(spikes.images, spikes.labels, spikes.tasks, self.answers, strict=True)
        content = {
            "dt_ms": spikes.dt * 1e3,
            "steps": spikes.steps,
            "neurons": units,
            "spikes": len(spikes),
            "layers": [
                {"name": name, "neurons": len(numbers), "every": self.every} for name, numbers in spikes.layers.items()
            ],
            "images": [
                {
                    "number": int(number),
                    "label": int(label),
                    "task": int(task),
                    **({"class": naming.name(label), "answer": naming.name(answer)} if has_classes else {}),
                }
                for number, label, task, answer in images
            ],
            "gaps": gaps,
        }
        return htmlsafe_json_dumps(content)

    def html(self, images: int, naming: Naming = UNNAMED) -> Markup:
        """Controls, canvas, data and script; hidden until the script runs.

        `images`: how many the record has. `naming`: of classes and images.
        """
        spikes = self.spikes
        layers = [(str(number), name) for number, name in enumerate(spikes.layers)]
        labels = np.unique(spikes.labels).tolist() if spikes.has_classes else []
        classes = [(str(label), naming.name(label)) for label in labels]
        tasks = [(str(task), str(task)) for task in np.unique(spikes.tasks)]
        script = resources.files("alade_brian.analysis.report").joinpath("raster.js").read_text(encoding="utf-8")
        return html.render(
            "raster.html",
            layers=layers,
            classes=classes,
            tasks=tasks,
            caption=self.caption(images, naming),
            data=self.data(naming),
            script=Markup(script),
        )


def spread_over_classes(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of `count` images (or all), rising: the first of each class, then the second of each, and so on.

    Where there are more classes than that, the first of evenly spaced classes.
    """
    by_class = np.argsort(labels, kind="stable")
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(first, sizes)
    order = by_class[np.argsort(rank, kind="stable")]
    if count < len(first):
        return np.sort(order[np.linspace(0, len(first) - 1, count).astype(np.int64)])
    return np.sort(order[:count])


def varints(values: NDArray[np.int64]) -> bytes:
    """Numbers from 0 up, each in groups of seven bits, the lowest first; the eighth bit says that another follows."""
    sizes = np.ones(len(values), dtype=np.int64)
    for bits in range(7, 63, 7):
        sizes += values >= 1 << bits
    starts = np.cumsum(sizes) - sizes
    coded = np.zeros(int(sizes.sum()), dtype=np.uint8)
    for group in range(int(sizes.max(initial=0))):
        here = sizes > group
        more = sizes[here] > group + 1
        coded[starts[here] + group] = (values[here] >> 7 * group) & 127 | more * 128
    return coded.tobytes()
