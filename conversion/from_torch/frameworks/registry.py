"""Adapters for other frameworks' neurons; each is imported only if its framework is installed."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.from_torch.frameworks.probe import difference
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.models.neurons.leaky import time_constant
from alade_brian.registry import Registry
from alade_brian.spec import NeuronEquations, Parameter, constant

log = logging.getLogger(__name__)

NeuronAdapter = Callable[[Any], ForeignNeuron]


@dataclass(frozen=True, kw_only=True)
class Framework:
    """Another package whose spiking networks are converted.

    name            its importable package
    title           as its authors write it
    version         that the adapter was read from, at least ``major.minor``: reset rules change between versions, so an
                    older one is refused, and of a newer one the neurons whose steps are found to be the same are taken.
                    Empty: any, for layers that are kept beside their adapter
    modules         where it keeps the classes that networks are built of
    networks        where it keeps whole networks, which are looked into
    neurons         by class, how a layer of it is understood
    layers          by class, how its other layers are lowered
    refused         by class, why it has no exact counterpart
    containers      classes that only call the layers in them
    container_kind  how a container calls its layers: ``chain``, one after the other; ``folded``, so too, with steps and
                    images as one axis; ``driven``, step by step
    containers_return_state   a container returns its output and its layers' states
    reset           method that brings a layer to rest; empty: they keep no state
    in_double       makes a neuron run in float64 throughout where it would fall back to float32
    membranes       the membranes before the reset of a neuron layer that begins at rest and is given these inputs, one
                    for each step, or None where they are not known; it may change the layer
    """

    name: str
    title: str
    version: str = ""
    modules: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    neurons: Mapping[type[nn.Module], NeuronAdapter]
    layers: Mapping[type[nn.Module], LowerFunction] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[type[nn.Module], str] = field(default_factory=lambda: MappingProxyType({}))
    containers: tuple[type[nn.Module], ...] = ()
    container_kind: Callable[[Any], str] = lambda module: "chain"
    containers_return_state: bool = False
    reset: str = ""
    in_double: Callable[[Any], None] | None = None
    membranes: Callable[[Any, Sequence[Tensor]], list[Tensor] | None] | None = None

    @cached_property
    def classes(self) -> Mapping[type[nn.Module], str]:
        """The layers that its networks are built of, with their names, in the order of `modules`."""
        found: dict[type[nn.Module], str] = {}
        for path in self.modules:
            for name, cls in sorted(vars(importlib.import_module(path)).items()):
                layer = inspect.isclass(cls) and issubclass(cls, nn.Module) and not name.startswith("_")
                if layer and cls.__module__.split(".")[0] == self.name and not cls.__module__.startswith(self.networks):
                    found.setdefault(cls, name)
        return MappingProxyType(found)


def _built_in(name: str) -> Callable[[], Framework]:
    def load() -> Framework:
        return importlib.import_module(f"alade_brian.conversion.from_torch.frameworks.{name}_layers").FRAMEWORK

    return load


# By package, a function that returns the adapter: it is called only where the package itself is in use.
FRAMEWORKS: Registry[str, Callable[[], Framework]] = Registry(
    "framework", {name: _built_in(name) for name in ("snntorch", "spikingjelly", "norse")}
)


def frameworks() -> tuple[str, ...]:
    """The frameworks with an adapter that are installed here."""
    return tuple(name for name in FRAMEWORKS if importlib.util.find_spec(name) is not None)


def framework_of(module: nn.Module) -> Framework | None:
    """The framework with an adapter that a module's class, or a class it derives from, comes from."""
    roots = (cls.__module__.split(".")[0] for cls in type(module).__mro__)
    return next((FRAMEWORKS[root]() for root in roots if root in FRAMEWORKS), None)


# In the place of a state that nobody wrote to since the call before.
_UNTOUCHED = object()


class HandWritten(nn.Module):
    """A module that a user wrote, and what its step was found to be: a neuron, or why it is none that is converted.

    kept          the attribute in which the module keeps its state; empty if that is an argument
    none_rests    whether the state None is one of zeros
    """

    def __init__(
        self, step: nn.Module, neuron: ForeignNeuron | CannotLower, kept: str = "", none_rests: bool = False
    ) -> None:
        super().__init__()
        self.step, self.neuron, self.kept, self.none_rests = step, neuron, kept, none_rests
        self.calls = 0

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What isinstance sees beside this class: a forward may ask for the user's own."""
        return type(self.step) if "_modules" in self.__dict__ and "step" in self._modules else HandWritten

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("step"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == self.__dict__.get("kept"):
            setattr(self.step, name, value)
        else:
            super().__setattr__(name, value)

    def begin_call(self) -> str:
        """Note a call while a forward is traced; what is wrong with the kept state, empty if nothing is."""
        said = ""
        if self.kept:
            state = getattr(self.step, self.kept)
            if self.calls and state is not _UNTOUCHED:
                said = f"is reset or changed before step {self.calls}; reset it before the first step, step 0, only"
            elif not self.calls and not self._rests(state):
                said = "is set to something other than rest before the first step; let the neurons begin at rest"
            # While traced the step itself never runs: whoever writes to the state replaces this.
            setattr(self.step, self.kept, _UNTOUCHED)
        self.calls += 1
        return said

    def _rests(self, state: Any) -> bool:
        if state is None:
            return self.none_rests
        if isinstance(state, Tensor | int | float):
            return not bool(torch.as_tensor(state).any())
        return getattr(getattr(state, "node", None), "target", None) in (torch.zeros, torch.zeros_like, "new_zeros")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.step(*args, **kwargs)

    def as_neuron(self) -> ForeignNeuron:
        """The neuron; CannotLower where it is none."""
        if isinstance(self.neuron, CannotLower):
            raise self.neuron
        return self.neuron


def class_name(module: nn.Module) -> str:
    """Name of the class that the user gave a module."""
    return type(module.step if isinstance(module, HandWritten) else module).__name__


def neuron_adapter(module: nn.Module) -> NeuronAdapter | None:
    """The function that says what this neuron layer is; None if no adapter knows it as a neuron."""
    if isinstance(module, HandWritten):
        return HandWritten.as_neuron
    framework = framework_of(module)
    if framework is None:
        return None
    base = same_class(type(module), framework.neurons)
    return None if base is None else _of_its_version(framework, framework.neurons[base])


# What a derived class may define without changing what its base computes.
_HARMLESS = {
    "__abstractmethods__", "__annotations__", "__doc__", "__firstlineno__", "__init__", "__module__", "__parameters__",
    "__qualname__", "__repr__", "__static_attributes__", "_abc_impl", "extra_repr",
}  # fmt: skip


def same_class(kind: type, known: Collection[type]) -> type | None:
    """The known class that a class is, or that it derives from without changing what is computed; None if neither."""
    base = next((cls for cls in kind.__mro__ if cls in known), None)
    return None if base is None or overridden(kind, base) else base


def overridden(kind: type, base: type) -> list[str]:
    """What a class defines anew of the class that it derives from, beside its constructor and its name."""
    between = kind.__mro__[: kind.__mro__.index(base)]
    return sorted({name for cls in between for name in vars(cls)} & set(dir(base)) - _HARMLESS)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer that a framework's networks are built of: it is known as a whole or not at all."""
    framework = framework_of(module)
    if framework is None:
        return False
    return type(module) in framework.refused or any(cls in framework.classes for cls in type(module).__mro__)


def refuse_layer(module: nn.Module, framework: Framework) -> CannotLower:
    """Why a framework's layer that no adapter knows is refused, and what may stand in its place."""
    kind = type(module)
    if kind in framework.refused:
        return CannotLower("class", kind.__name__, framework.refused[kind])
    known = [*framework.neurons, *framework.layers, *framework.containers]
    base = next((cls for cls in kind.__mro__ if cls in known), None)
    own_step = "write its step as a layer of alade_brian.models (docs/convert-your-network.md, Plain torch)"
    if base is not None:
        changed = ", ".join(overridden(kind, base))
        instead = own_step if base in framework.neurons else "give convert a function for it with extra="
        said = f"steps otherwise than {framework.title}'s {base.__name__}: it defines {changed} anew; {instead}"
        return CannotLower("class", kind.__name__, said)
    group = next((path for path in framework.modules if kind.__module__.startswith(path)), "")
    names = ", ".join(sorted({cls.__name__ for cls in known if cls.__module__.startswith(group)}))
    said = f"has no lowering; of {framework.title} there are {names}; use one of these, or {own_step}"
    return CannotLower("class", kind.__name__, said)


def _of_its_version(framework: Framework, adapter: NeuronAdapter) -> NeuronAdapter:
    """The adapter itself, or one that is wary where another version of the framework is installed."""
    if not framework.version:
        return adapter
    found, known = version(framework.name), framework.version
    if _major_minor(found) == _major_minor(known):
        return adapter
    name, last = framework.name, ".".join(known.split(".")[:2])
    remedy = f"whose rules are known here; install {name}=={last}.*"

    def refuse(module: Any) -> ForeignNeuron:
        raise CannotLower(f"version of {name}", found, f"may step otherwise than version {last}, {remedy}")

    def probe(module: Any) -> ForeignNeuron:
        neuron = adapter(module)
        differs = difference(module, neuron, framework.reset, framework.in_double)
        if differs:
            said = f"steps {type(module).__name__} otherwise than version {last} ({differs}), {remedy}"
            raise CannotLower(f"version of {name}", found, said)
        _warn_once(name, found, type(module).__name__, last)
        return neuron

    return refuse if _major_minor(found) < _major_minor(known) else probe


@cache
def _warn_once(name: str, found: str, kind: str, known: str) -> None:
    log.warning(
        "%s %s is newer than %s, whose rules are known here; %s was tried on random input and steps as in %s",
        name, found, known, kind, known,
    )  # fmt: skip


def _major_minor(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def container_kind(module: nn.Module) -> str | None:
    """How a framework's container calls its layers, see `Framework`; None for what is no container."""
    framework = framework_of(module)
    if framework is None or same_class(type(module), framework.containers) is None:
        return None
    return framework.container_kind(module)


def in_double(model: nn.Module) -> nn.Module:
    """The model itself, made to run in float64 throughout where a framework, or a forward that makes its spikes
    float32, would fall back to that."""
    known = tuple(f"{package}." for package in ("torch", "alade_brian.models", *FRAMEWORKS))
    by_hand = any(not type(module).__module__.startswith(known) for module in model.modules())
    for module in model.modules():
        if by_hand and isinstance(getattr(module, "weight", None), Tensor):
            module.register_forward_pre_hook(as_exact)
        framework = framework_of(module)
        if framework is not None and framework.in_double is not None and neuron_adapter(module) is not None:
            framework.in_double(module)
    return model


def as_exact(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook that makes float32 inputs of a layer float64."""
    return tuple(x.double() if isinstance(x, Tensor) and x.dtype == torch.float32 else x for x in inputs)


def membranes_of(module: nn.Module, received: Sequence[Tensor]) -> Tensor | None:
    """Membranes before the reset, ``(steps, images, ...)``, of a framework's neuron layer; None if none are known.

    received   what the layer was given, call by call: one tensor for each step, or one with all steps
    """
    framework, adapter = framework_of(module), neuron_adapter(module)
    if framework is None or framework.membranes is None or adapter is None:
        return None
    whole = len(received) == 1 and adapter(module).over_steps
    found = framework.membranes(copy.deepcopy(module), list(received[0]) if whole else received)
    return None if found is None else torch.stack(found)


def reset_states(model: nn.Module) -> None:
    """Bring all state that another framework's layers keep between calls to rest."""
    for module in model.modules():
        name = reset_of(module)
        if name is not None:
            getattr(module, name)()


def reset_of(module: nn.Module) -> str | None:
    """Name of the method that brings a framework's layer to rest; None if it has none."""
    framework = framework_of(module)
    name = framework.reset if framework else ""
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


def decaying(
    decays: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter], arguments: str = "beta, alpha"
) -> NeuronEquations:
    """A neuron without reset whose variables decay, each by its factor per step; the last one is the membrane.

    decays      by variable its factor, from 0 to 1
    arguments   what the factors are called in the framework, for a refusal
    """
    lines, more = [], dict(parameters)
    for name, decay in decays.items():
        tau = f"tau_{name}" if name != "v" else "tau"
        if np.all(decay == 1):
            lines.append(f"{name} : 1")
        elif np.all((decay >= 0) & (decay <= 1)):
            lines.append(f"d{name}/dt = -{name}/{tau} : 1")
            more[tau] = time_constants(decay)
        else:
            raise CannotLower(
                arguments, np.unique(decay).tolist(), "must be numbers; load weights of a training that converged"
            )
    return NeuronEquations("\n".join(lines), more, membrane=tuple(decays)[-1], reset="none")


def time_constants(decay: Any) -> Parameter:
    """Time constants, in steps, of decay factors between 0 and 1; the bounds stand for no memory and no leak."""
    return constant(np.vectorize(time_constant, otypes=[float])(numbers(decay)), "step")


def linear_layer(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with these numbers; without a bias where it is None."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight.data = weight.detach()
    if bias is not None:
        made.bias.data = bias.detach()
    return made


def numbers(tensor: Any) -> np.ndarray:
    """A number or tensor as float64, leading axes of length 1 taken off."""
    value = np.asarray(tensor.detach().double().cpu().numpy() if isinstance(tensor, Tensor) else tensor, dtype=float)
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    return value
