"""What of a specification is compiled in, and what is only numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from alade_brian.spec import NetworkSpec, Operator, Projection


def anonymous(spec: NetworkSpec) -> tuple[NetworkSpec, dict[str, str]]:
    """The specification with names that tell places only, and the new names by the old: networks that differ in names
    (the extractors of a growing network) are built once."""
    names = {s.name: f"stimulus_{k}" for k, s in enumerate(spec.stimuli)}
    names |= {p.name: f"population_{k}" for k, p in enumerate(spec.populations)}
    plain = NetworkSpec(
        tuple(dataclasses.replace(s, name=names[s.name]) for s in spec.stimuli),
        tuple(dataclasses.replace(p, name=names[p.name]) for p in spec.populations),
        tuple(_renamed(p, names) for p in spec.projections),
        dataclasses.replace(spec.readout, population=names[spec.readout.population]),
        spec.steps,
        spec.dt,
    )
    return plain, names


def _renamed(projection: Projection, names: dict[str, str]) -> Projection:
    release = projection.release
    if release is not None:
        release = dataclasses.replace(release, ticket=names[release.ticket])
    return dataclasses.replace(
        projection, source=names[projection.source], target=names[projection.target], release=release
    )


def structure(spec: NetworkSpec, layout: Any) -> dict[str, Any]:
    """Everything that decides the generated code: the specification without its numbers. JSON-ready.

    layout   how images are spread, JSON-ready
    """
    return {
        "layout": layout,
        "stimuli": [[s.name, s.shape, s.coding] for s in spec.stimuli],
        "steps": spec.steps,
        "dt": spec.dt,
        "readout": [*dataclasses.astuple(spec.readout)],
        "populations": [
            {
                "name": p.name,
                "shape": p.shape,
                "model": p.neuron.model,
                "conventions": [
                    p.neuron.membrane,
                    p.neuron.spiking,
                    p.neuron.comparison,
                    p.neuron.reset,
                    p.neuron.leak,
                    p.neuron.method,
                    p.neuron.input,
                    p.neuron.update,
                    p.neuron.threshold,
                    p.neuron.on_spike,
                ],
                "parameters": [[k, v.unit, not v.shared] for k, v in sorted(p.neuron.parameters.items())],
                "bias": p.bias is not None,
            }
            for p in spec.populations
        ],
        "projections": [
            [
                p.source,
                p.target,
                p.delay,
                p.target_offset,
                p.target_variable,
                p.release and p.release.ticket,
                _operator(p.operator),
            ]
            for p in spec.projections
        ],
    }


def _operator(operator: Operator) -> list[Any]:
    """An operator without its weights or gains; the connections of a list are structure."""
    fields = {f.name: getattr(operator, f.name) for f in dataclasses.fields(operator)}
    plain = {name: _digest(v) if isinstance(v, np.ndarray) else v for name, v in fields.items()}
    return [type(operator).__name__, plain | {"numbers": operator.values().shape}]


def _digest(array: np.ndarray) -> str | None:
    """Integers (the ends of connections) by their content; numbers not at all."""
    return hashlib.sha256(array.tobytes()).hexdigest() if array.dtype.kind == "i" else None


def structure_key(spec: NetworkSpec, layout: Any, **toolchain: Any) -> str:
    """A name for a build: equal keys mean that one compiled program serves both."""
    text = json.dumps([structure(spec, layout), toolchain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
