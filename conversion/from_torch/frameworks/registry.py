"""Adapters for other frameworks' neurons; each is imported only if its framework is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.models.neurons.leaky import time_constant
from alade_brian.spec.neuron import Parameter, constant

_ADAPTERS: Mapping[str, str] = MappingProxyType(
    {
        "snntorch": "alade_brian.conversion.from_torch.frameworks.snntorch_layers",
        "spikingjelly": "alade_brian.conversion.from_torch.frameworks.spikingjelly_layers",
        "norse": "alade_brian.conversion.from_torch.frameworks.norse_layers",
    }
)

# Reset rules change from version to version; an adapter knows those of the version that it was read from.
_VERSIONS: Mapping[str, str] = MappingProxyType({"snntorch": "1.0", "spikingjelly": "2.0", "norse": "1.1"})

NeuronAdapter = Callable[[Any], ForeignNeuron]


def adapters() -> tuple[str, ...]:
    """The frameworks with an adapter."""
    return tuple(_ADAPTERS)


def frameworks() -> tuple[str, ...]:
    """The frameworks with an adapter that are installed here."""
    return tuple(name for name in _ADAPTERS if importlib.util.find_spec(name) is not None)


def neuron_adapters(framework: str) -> Mapping[type[nn.Module], NeuronAdapter]:
    """By class, the functions of a framework's adapter that say what a neuron layer of it is (ImportError where the
    framework is not installed)."""
    return importlib.import_module(_ADAPTERS[framework]).neurons()


def layer_adapters(framework: str) -> Mapping[type[nn.Module], Any]:
    """By class, the lowering functions of a framework's other layers."""
    return importlib.import_module(_ADAPTERS[framework]).layers()


def framework_of(module: nn.Module) -> str | None:
    """The framework with an adapter that a module's class, or a class it derives from, comes from."""
    roots = (cls.__module__.split(".")[0] for cls in type(module).__mro__)
    return next((root for root in roots if root in _ADAPTERS), None)


def neuron_adapter(module: nn.Module) -> NeuronAdapter | None:
    """The function that says what this neuron layer is; None if no adapter knows it as a neuron."""
    framework = framework_of(module)
    if framework is None:
        return None
    # A class of its own may step differently from the class it derives from: only the very class is taken.
    adapter = neuron_adapters(framework).get(type(module))
    return None if adapter is None else _of_its_version(framework, adapter)


def _of_its_version(framework: str, adapter: NeuronAdapter) -> NeuronAdapter:
    """The adapter itself, or one that refuses where another version of the framework is installed."""
    found, known = version(framework), _VERSIONS[framework]
    if found.split(".")[:2] == known.split("."):
        return adapter

    def refuse(module: Any) -> ForeignNeuron:
        said = f"may step otherwise than version {known}, whose rules are known here; install {framework}=={known}.*"
        raise CannotLower(f"version of {framework}", found, said)

    return refuse


def container_kind(module: nn.Module) -> str | None:
    """How a framework's container calls its layers; None for what is no container.

    ``chain``: one after the other; ``folded``: so too, with steps and images as one axis; ``driven``: step by step.
    """
    framework = framework_of(module)
    if framework is None or type(module) not in container_classes(framework):
        return None
    return importlib.import_module(_ADAPTERS[framework]).container_kind(module)


def container_classes(framework: str) -> tuple[type[nn.Module], ...]:
    """A framework's containers that are looked into."""
    return importlib.import_module(_ADAPTERS[framework]).containers()


def in_double(model: nn.Module) -> nn.Module:
    """The model itself, made to run in float64 throughout where a framework would fall back to float32."""
    for module in model.modules():
        framework = framework_of(module)
        prepare = getattr(importlib.import_module(_ADAPTERS[framework]), "in_double", None) if framework else None
        if prepare is not None and neuron_adapter(module) is not None:
            prepare(module)
    return model


def reset_states(model: nn.Module) -> None:
    """Bring all state that another framework's layers keep between calls to rest."""
    for module in model.modules():
        name = reset_of(module)
        if name is not None:
            getattr(module, name)()


def reset_of(module: nn.Module) -> str | None:
    """Name of the method that brings a framework's layer to rest; None if it has none."""
    name = {"snntorch": "reset_mem", "spikingjelly": "reset"}.get(framework_of(module) or "")
    return name if name and callable(getattr(module, name, None)) else None


def comparison_of(spike: Any, argument: str) -> Literal[">", ">="]:
    """Where a framework's spike function, a step at 0, begins to give 1; refused where it is no such step."""
    probe = torch.tensor([-3.0, -0.5, -1e-6, 0.0, 1e-6, 0.5, 3.0], dtype=torch.float64)
    try:
        with torch.no_grad():
            found = [float(x) for x in spike(probe)]
    except Exception as error:
        raise CannotLower(
            argument, type(spike).__name__, f"cannot be tried out ({error}); use a plain surrogate"
        ) from None
    for sign, at_zero in ((">", 0.0), (">=", 1.0)):
        if found == [0.0, 0.0, 0.0, at_zero, 1.0, 1.0, 1.0]:
            return sign  # type: ignore[return-value]
    raise CannotLower(argument, type(spike).__name__, "is no step from 0 to 1 at the threshold; use a plain surrogate")


def parameter(tensor: Any) -> Parameter:
    """A number or tensor as a parameter that meets the neurons' shape from the right, without an axis for images."""
    return constant(numbers(tensor))


def time_constants(decay: Any) -> Parameter:
    """Time constants, in steps, of decay factors between 0 and 1 (both excluded)."""
    return constant(np.vectorize(time_constant, otypes=[float])(numbers(decay)), "step")


def numbers(tensor: Any) -> np.ndarray:
    """A number or tensor as float64, leading axes of length 1 taken off."""
    value = np.asarray(tensor.detach().double().cpu().numpy() if isinstance(tensor, Tensor) else tensor, dtype=float)
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    return value
