"""Brian2 objects with templates of their own: a layer in one pass, and the currents that flow into it.

The neurons are Brian2's: a `NeuronGroup` with its equations. The code of its state update, threshold and reset is what
Brian2 generates from them; it only runs in one pass over the group, together with the delivery of the layer's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np
from brian2.core.variables import Variables
from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject
from brian2.groups.group import CodeRunner
from brian2.parsing.statements import parse_statement

from alade_brian.simulation.code_objects import SharedCode
from alade_brian.simulation.gather import Gather, stretches, stride


@dataclass(frozen=True)
class Rows:
    """A population of `batch` images as rows of channels."""

    batch: int
    pixels: int
    channels: int

    @property
    def size(self) -> int:
        return self.pixels * self.channels

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's spikes, a bit each."""
        return -(-self.channels // 8)


@dataclass(frozen=True, eq=False)
class Input:
    """What a fused layer gathers: the spikes of a layer, `delay` steps ago, through a kernel.

    source    a `FusedLayer`, or `GivenSpikes`
    receiver  the variable that spikes add to
    degrees   synapses of every neuron of the source, where their number does not follow from the taps
    """

    source: Any
    taps: Gather
    delay: int
    receiver: str
    degrees: np.ndarray | None = None


class _WithArrays(CodeRunner):
    """A code runner that has arrays of its own beside its group's variables.

    template   the name of its template
    language   the kind of code objects that its template makes
    """

    template: str
    language: type[CPPStandaloneCodeObject] = SharedCode

    def __init__(self, group: b2.Group, when: str, clock: b2.Clock, name: str) -> None:
        template = self.template
        CodeRunner.__init__(self, group, template, clock=clock, when=when, name=name, codeobj_class=self.language)
        self.variables = Variables(self)
        self.real = b2.prefs.core.default_float_dtype

    def add_array(
        self, name: str, size: int, dtype: type, values: np.ndarray | None = None, constant: bool = False
    ) -> None:
        """An array of this object, zeros unless values are given; `constant` says that no step changes it."""
        self.variables.add_array(
            name, size=max(1, size), dtype=dtype, values=values, constant=constant, index="_idx"
        )  # fmt: skip
        self.needed_variables.append(name)

    def refer(self, name: str, owner: Any, other: str) -> None:
        """Read a variable of another object under a name of one's own."""
        self.variables.add_reference(name, owner, other, index="_idx")
        self.needed_variables.append(name)

    def add_taps(self, taps: Gather, channels: int, prefix: str, weighted: bool = True) -> None:
        """The arrays of a projection; the kernel, which a maximum has not, is given when the program runs."""
        itemsize = np.dtype(self.real).itemsize
        for name, values in vars(stretches(taps, channels)).items():
            self.add_array(f"{prefix}_{name}", len(values), np.int32, values if len(values) else None, constant=True)
        if weighted:
            size = taps.blocks * channels * stride(taps.row, itemsize)
            self.add_array(f"{prefix}_kernel", size, self.real, constant=True)


class GivenSpikes(_WithArrays):
    """Spikes of a stimulus, unpacked in every step into the lists that a layer would leave.

    images      the object whose `values` hold the bits, so many `bytes_per_image`, those of this stimulus from `start`
    """

    template = "given_spikes"

    def __init__(
        self, images: b2.Group, rows: Rows, bytes_per_image: int, start: int, clock: b2.Clock, name: str
    ) -> None:
        super().__init__(images, "start", clock, name)
        self.rows, self.slots, self.capacity, self.amplitude = rows, 1, rows.batch * rows.size + 64, None
        self.refer("in0_values", images, "values")
        self.add_array("_spikes_first", rows.batch * rows.pixels + 1, np.int32)
        self.add_array("_spikes_number", self.capacity, np.int32)
        self.template_kwds = {
            "batch": rows.batch, "pixels": rows.pixels, "channels": rows.channels, "row_bytes": rows.row_bytes,
            "from_image": bytes_per_image, "start": start,
            "words": [_word(first, rows.channels) for first in range(0, rows.channels, 64)],
        }  # fmt: skip


class FusedLayer(_WithArrays):
    """One pass over a group of neurons in each time step, in the place of its own updater, thresholder and resetter.

    group       a `NeuronGroup` in rows of channels; its own three code runners are made inactive
    rows        how it is laid out
    code        abstract code of the blocks ``rest`` (before a presentation's first step), ``update`` (after the state
                update, before the input is delivered), ``threshold`` (after it) and ``reset``
    slots       for how many steps its own spikes are kept
    records     ``(name, at the end of the step)``: where the membrane is kept in every step of a presentation
    """

    template = "fused_layer"

    def __init__(
        self,
        group: b2.NeuronGroup,
        rows: Rows,
        code: dict[str, str],
        membrane: str,
        steps: int,
        slots: int,
        records: Sequence[tuple[str, bool]],
        when: str,
        name: str,
    ) -> None:
        super().__init__(group, when, group.clock, name)
        self.rows, self.code, self.slots = rows, code, slots
        self.spiking, self.amplitude = "spike" in group.thresholder, group.variables.get("amplitude")
        self.capacity = rows.batch * rows.size + 64
        for part in (group.state_updater, *group.thresholder.values(), *group.resetter.values()):
            part.active = False
        self.variables.add_auxiliary_variable("_cond", dtype=bool)
        self.needed_variables.append(membrane)
        if self.spiking:
            self.add_array("_bits", rows.batch * steps * rows.pixels * rows.row_bytes, np.int8)
            self.add_lists()
        for record, _ in records:
            self.add_array(record, rows.batch * steps * rows.size, self.real)
        self.template_kwds = {
            "real": self.real, "batch": rows.batch, "pixels": rows.pixels, "steps": steps,
            "channels": rows.channels, "row_bytes": rows.row_bytes, "slots": slots, "capacity": self.capacity,
            "spiking": self.spiking, "written": _written(code["reset"], group),
            "membrane": membrane, "records": [{"name": record, "at_end": at_end} for record, at_end in records],
            "early": any(not at_end for _, at_end in records), "inputs": [],
            "words": [_word(first, rows.channels) for first in range(0, rows.channels, 64)],
        }  # fmt: skip

    def add_lists(self) -> None:
        """The arrays in which the layer leaves its spikes as lists."""
        self.add_array("_spikes_first", self.slots * (self.rows.batch * self.rows.pixels + 1), np.int32)
        self.add_array("_spikes_number", self.slots * self.capacity, np.int32)

    def connect(self, inputs: Sequence[Input]) -> None:
        """Say what is delivered to the layer, in this order."""
        self.inputs = tuple(inputs)
        self.template_kwds["inputs"] = [self._add_input(f"in{k}", input) for k, input in enumerate(inputs)]
        self.add_array("_events", self.rows.batch * len(inputs), np.int64)

    def _add_input(self, name: str, input: Input) -> dict[str, Any]:
        source, taps = input.source, input.taps
        self.needed_variables.append(input.receiver)
        rows = source.rows
        self.add_taps(taps, rows.channels, name)
        place = self.refer_spikes(name, source)
        amplitude, degrees = source.amplitude, input.degrees
        if degrees is not None:
            shape = rows.channels, rows.pixels
            listed = degrees.reshape(shape).T.ravel().astype(np.int32)
            self.add_array(f"{name}_degrees", rows.size, np.int32, listed, constant=True)
        if amplitude is not None:
            self.refer(f"{name}_amplitude", source.group, "amplitude")
        return place | {
            "name": name, "receiver": input.receiver, "delay": input.delay,
            "pixels": rows.pixels, "channels": rows.channels, "row": taps.row,
            "per_row": taps.per_row, "offset": taps.offset, "stride": stride(taps.row, np.dtype(self.real).itemsize),
            "whole": taps.per_row == rows.channels, "counted": degrees is not None,
            "amplitude": None if amplitude is None else "one" if amplitude.scalar else "each",
        }  # fmt: skip

    def refer_spikes(self, name: str, source: Any) -> dict[str, Any]:
        """Read the spikes of a source; returns where its template finds them."""
        self.refer(f"{name}_spikes_first", source, "_spikes_first")
        self.refer(f"{name}_spikes_number", source, "_spikes_number")
        return {"slots": source.slots, "capacity": source.capacity}

    def update_abstract_code(self, run_namespace: dict[str, Any]) -> None:
        """Put Brian2's state update, as it follows from the equations, before the layer's own update."""
        updater = self.group.state_updater
        updater.update_abstract_code(run_namespace)
        self.abstract_code = self.code | {"update": f"{updater.abstract_code}\n{self.code['update']}"}


class Current(_WithArrays):
    """The current that numbers (a stimulus, or membranes) send through a projection into a group's variable.

    values      ``(object, variable)`` that holds the numbers: ``(batch, steps or 1, numbers)``, those of this source
                from `start` on in rows of `channels`
    maximum     whether the largest number of every window is sent, not a weighted sum
    """

    template = "current"

    def __init__(
        self,
        group: b2.NeuronGroup,
        rows: Rows,
        variable: str,
        taps: Gather,
        values: tuple[b2.Group, str],
        channels: int,
        geometry: dict[str, int],
        held: bool,
        maximum: bool,
        when: str,
        name: str,
    ) -> None:
        super().__init__(group, when, group.clock, name)
        self.add_taps(taps, channels, "in0", weighted=not maximum)
        self.refer("in0_values", *values)
        self.refer("in0_current", group, variable)
        self.template_kwds = geometry | {
            "real": self.real, "held": held, "maximum": maximum, "batch": rows.batch, "target_pixels": rows.pixels,
            "target_channels": rows.channels, "channels": channels, "row": taps.row, "per_row": taps.per_row,
            "offset": taps.offset, "stride": stride(taps.row, np.dtype(self.real).itemsize),
        }  # fmt: skip


def _written(code: str, group: b2.NeuronGroup) -> list[str]:
    """The state variables that a piece of code changes."""
    names = (parse_statement(line)[0] for line in code.splitlines() if line.strip())
    return sorted({name for name in names if name in group.variables})


def _word(first: int, channels: int) -> dict[str, int]:
    """Up to 64 channels of a row, whose spikes are one word."""
    count = min(64, channels - first)
    return {"first": first, "count": count, "bytes": -(-count // 8)}
