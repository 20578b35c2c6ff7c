"""Synapses without a list of synapses: one kernel for all positions and all images, whatever `on_pre` says.

They stand where plain `Synapses` would, beside Brian2's own passes for state update, threshold and reset; any code that
Brian2 can generate may be their `on_pre`. For C++ and, as a plain reference, numpy.
"""

from __future__ import annotations

import brian2 as b2
import numpy as np
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject
from brian2.core.variables import Variables
from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
from brian2.groups.group import CodeRunner
from brian2.parsing.statements import parse_statement
from brian2.utils.stringtools import get_identifiers

from alade_brian.conversion.to_brian2.network import Connect
from alade_brian.conversion.to_brian2.text import network_values, projection_name, synapses_text
from alade_brian.simulation.code_objects import SharedCode
from alade_brian.simulation.gather import Gather, gather, gathers, kernel, pixels
from alade_brian.spec import NetworkSpec, Projection, Shape
from alade_brian.spec.synapses import live_projections


class SharedNumpyCode(NumpyCodeObject):
    """Brian2's numpy code with the templates of this package beside its own."""

    templater = NumpyCodeObject.templater.derive("alade_brian.simulation")


class SharedSynapses(b2.Group, CodeRunner):
    """Deliver every spike of `source` to `target` through a kernel that all positions and all copies share.

    source, target   groups of so many copies of populations of these shapes, copy by copy
    taps             where target pixels look, see `Gather`
    weights          ``(blocks, source channels, row)``, the values of `w`
    on_pre           what a spike does, e.g. ``v_post += w``: `w`, variables of the target (``_post``) and of the source
                     (``_pre``)
    delay            in steps; 0 delivers what the last threshold test left
    """

    def __init__(
        self,
        source: b2.NeuronGroup,
        target: b2.NeuronGroup,
        shapes: tuple[Shape, Shape],
        taps: Gather,
        weights: np.ndarray,
        on_pre: str,
        when: str,
        delay: int = 0,
        name: str = "sharedsynapses*",
    ) -> None:
        self.source, self.target, self.codeobj_class = source, target, None
        standalone = isinstance(b2.get_device(), CPPStandaloneDevice)
        CodeRunner.__init__(
            self, self, "scatter", on_pre, clock=source.clock, when=when, name=name,
            codeobj_class=SharedCode if standalone else SharedNumpyCode,
        )  # fmt: skip
        self.variables = Variables(self)
        # What Brian2 asks of an object whose variables may be given on the command line.
        self.start, self.stop = 0, weights.size
        self.variables.add_constant("N", weights.size)
        in_turn = not _adds_only(on_pre)
        self._add_ends(source, target, unique=in_turn and not standalone)
        real = b2.prefs.core.default_float_dtype
        self.variables.add_array("w", size=weights.size, dtype=real, values=weights.ravel().astype(real), constant=True)
        order = np.lexsort((_target_pixels(taps), taps.source))
        first = np.searchsorted(taps.source[order], np.arange(pixels(shapes[0]) + 1))
        for key, values in (("first", first), ("pixel", _target_pixels(taps)[order]), ("block", taps.block[order])):
            self._add_table(f"_{key}", values)
        if delay:
            self._add_table("_past", np.zeros(delay * (len(source) + 1), np.int32))
            self._add_table("_turn", np.zeros(1, np.int32))
        self.template_kwds = {
            "channels": shapes[0][0], "pixels": pixels(shapes[0]), "target_channels": shapes[1][0],
            "target_pixels": pixels(shapes[1]), "row": taps.row, "per_row": taps.per_row, "offset": taps.offset,
            "delay": delay, "neurons": len(source), "in_turn": in_turn,
        }  # fmt: skip
        self._enable_group_attributes()

    def _add_ends(self, source: b2.NeuronGroup, target: b2.NeuronGroup, unique: bool) -> None:
        self.add_dependency(source)
        self.add_dependency(target)
        for end, group in (("pre", source), ("post", target)):
            index = f"_{end}synaptic_idx"
            self.variables.add_auxiliary_variable(index, dtype=np.int32)
            # Whether a neuron may be reached twice in what is done at once; Brian2's generators want to know.
            self.variables[index].unique = unique
            for variable in group.equations.names:
                whole = "0" if group.variables[variable].scalar else index
                self.variables.add_reference(f"{variable}_{end}", group, variable, index=whole)
        self.variables.add_reference("_spikespace", source)
        self.needed_variables.append("_spikespace")

    def _add_table(self, name: str, values: np.ndarray) -> None:
        self.variables.add_array(name, size=max(1, len(values)), dtype=np.int32, index="_idx",
                                 values=values.astype(np.int32) if len(values) else None)  # fmt: skip
        self.needed_variables.append(name)


def _adds_only(code: str) -> bool:
    """Whether the order of spikes cannot matter: code that only adds to variables which it does not read."""
    statements = [parse_statement(line) for line in code.splitlines() if line.strip()]
    changed = {name for name, *_ in statements}
    return all(sign in ("+=", "-=") and not changed & get_identifiers(value) for _, sign, value, _ in statements)


def _target_pixels(taps: Gather) -> np.ndarray:
    return np.repeat(np.arange(len(taps.first) - 1), np.diff(taps.first))


def connector(connectivity: str) -> Connect | None:
    """What makes the synapses of a projection; None for plain `Synapses`."""
    return _connect if connectivity == "shared" else None


def _connect(spec: NetworkSpec, index: int, source: b2.NeuronGroup, target: b2.NeuronGroup) -> SharedSynapses | None:
    projection, text = spec.projections[index], synapses_text(spec, index)
    if not _shares(spec, projection):
        return None
    shapes = spec.shape(projection.source), spec.shape(projection.target)
    weights = kernel(spec, projection)
    # The slot of delayed spikes stands before the thresholds: what the last test left is a step old there.
    late = text.delay if projection.delay else 0
    return SharedSynapses(
        source, target, shapes, gather(spec, projection), weights, text.on_pre, text.slot, late, text.name
    )


def _shares(spec: NetworkSpec, projection: Projection) -> bool:
    return spec.sends_spikes(projection.source) and gathers(spec, projection)


def separate_values(spec: NetworkSpec, copies: int, connectivity: str) -> dict[tuple[str, str], np.ndarray]:
    """All numbers of a network by (Brian2 object, variable), see `network_values`."""
    shared = {}
    if connectivity == "shared":
        for index, projection in live_projections(spec):
            if _shares(spec, projection):
                shared[projection_name(spec, index), "w"] = kernel(spec, projection).ravel()
    return network_values(spec, copies, leave_out={owner for owner, _ in shared}) | shared
