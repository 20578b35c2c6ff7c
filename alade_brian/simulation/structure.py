"""What of a specification is compiled in, and what is only numbers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from alade_brian.conversion.brian2_network import Layout
from alade_brian.conversion.spec import Convolution, Dense, Identity, NetworkSpec, Operator, Pooling, operator_values


def structure(spec: NetworkSpec, layout: Layout) -> dict[str, Any]:
    """Everything that decides the generated code: the specification without its numbers. JSON-ready."""
    return {
        "layout": [layout.batch, layout.presentations],
        "stimulus": [spec.stimulus.name, spec.stimulus.shape, spec.stimulus.coding],
        "steps": spec.steps,
        "dt": spec.dt,
        "readout": [spec.readout.population, spec.readout.decoding],
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
                ],
                "parameters": [[k, v.unit, v.value.size > 1] for k, v in sorted(p.neuron.parameters.items())],
                "bias": p.bias is not None,
            }
            for p in spec.populations
        ],
        "projections": [[p.source, p.target, p.delay, p.first, _operator(p.operator)] for p in spec.projections],
    }


def _operator(operator: Operator) -> list[Any]:
    kind, values = type(operator).__name__, operator_values(operator).shape
    match operator:
        case Convolution():
            return [
                kind,
                values,
                operator.stride,
                operator.padding,
                operator.groups,
                operator.extent,
                operator.dilation,
            ]
        case Pooling():
            return [kind, values, operator.kernel, operator.stride]
        case Dense() | Identity():
            return [kind, values]


def structure_key(spec: NetworkSpec, layout: Layout, **toolchain: Any) -> str:
    """A name for a build: equal keys mean that one compiled program serves both."""
    text = json.dumps([structure(spec, layout), toolchain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
