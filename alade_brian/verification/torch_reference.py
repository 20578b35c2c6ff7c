"""torch as the reference: spikes, membranes and answers of a module, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from alade_brian.conversion.from_torch.convert import ForwardForm, detached, forward_form
from alade_brian.conversion.from_torch.frameworks.registry import (
    framework_of,
    in_double,
    membranes_of,
    reset_states,
)
from alade_brian.conversion.from_torch.outer_loop import carried, takes_one_step
from alade_brian.conversion.from_torch.time_functions import DECISIONS
from alade_brian.conversion.from_torch.tracing import module_named
from alade_brian.models import Neuron, Recurrent
from alade_brian.spec import DECODINGS, NetworkSpec, Population
from alade_brian.spec.image_axes import as_array, check_axes
from alade_brian.spikes.packed import PackedResponses, pack
from alade_brian.spikes.responses import Responses, read_out
from alade_brian.verification.derived_spikes import derived
from alade_brian.verification.reference import joined

if TYPE_CHECKING:
    from alade_brian.simulation.simulator import Images

# Neurons times steps of a batch: with many more, what a layer puts out leaves the cache before the next takes it in.
NEURON_STEPS = 2**21
BATCHES = 8, 256
ALL_IMAGES = slice(None)
Kept = TypeVar("Kept")


def record(
    model: nn.Module, images: np.ndarray, spec: NetworkSpec, batch: int | None = None, output: int | str = 0
) -> Responses:
    """Run images through a float64 copy of the model in eval mode and keep every spike of the layers that the
    specification names.

    images   ``(n, C, H, W)``, or ``(n, steps, C, H, W)`` where the stimulus is a sequence
    batch    images at a time (default: as many as suit the processor's cache)
    output   which of several tensors that the forward returns is the answer
    """
    return TorchReference(model, spec, output).packed(images, batch=batch).unpacked()


class TorchReference:
    """torch as the `Reference`: a float64 copy of a model in eval mode, asked for the spikes of the layers that a
    specification names.

    output   which of several tensors that the forward returns is the answer
    """

    name = "torch"

    def __init__(self, model: nn.Module, spec: NetworkSpec, output: int | str = 0) -> None:
        # The copy may have hooks that listen while the form of the forward is asked for.
        self._given = model
        self.model = in_double(detached(model).double().eval().requires_grad_(False))
        self.spec, self.output = spec, output
        # Whether each step takes a call of the model, once that is known.
        self.by_step = False
        # How many images every call takes, once a call with another number has failed.
        self._at_once: int | None = None
        # A model may keep its state in attributes of its own.
        own = [m for m in self.model.modules() if framework_of(m) is None and _own_attributes(m)]
        self._kept = {m: _own_attributes(m) for m in own}
        self.hand_written = _is_hand_written(self.model)

    @cached_property
    def form(self) -> ForwardForm:
        """How the model's forward takes a presentation and gives its answer."""
        return forward_form(self._given, self.spec, self.output)

    def packed(self, images: Images, part: slice = ALL_IMAGES, batch: int | None = None) -> PackedResponses:
        """The answers to images as `record` takes them, or to a part of them, with a bit for each spike."""
        shown, size = one_array(images)[part], batch or batch_for(self.spec, self.spec.populations)
        return joined([self.batch(shown[start : start + size]) for start in range(0, len(shown), size)])

    def membranes(self, images: Images, image: int, layer: str) -> np.ndarray | None:
        """See `Reference`; None for a layer whose neurons belong neither to this package nor to a framework."""
        module = module_named(self.model, layer)
        if module is None or not (isinstance(module, Neuron | Recurrent) or framework_of(module)):
            return None
        received: list[Tensor] = []
        hook = module.register_forward_hook(lambda module, inputs, output: received.append(inputs[0]))
        try:
            self.run(one_array(images)[image : image + 1], {layer: received})
        finally:
            hook.remove()
        with torch.no_grad():
            if isinstance(module, Neuron | Recurrent):
                found: Tensor | None = module.trace(torch.cat(received))[1]
            else:
                found = membranes_of(module, received)
            return None if found is None else by_image([found], self.spec.steps, 1)[0]

    def batch(self, images: np.ndarray, populations: Sequence[Population] | None = None) -> PackedResponses:
        """The answers to images that are shown at once, with the spikes of all or some populations."""
        at_once = self._at_once
        if at_once is None or at_once == len(images):
            try:
                return self._shown(images, populations)
            except RuntimeError:
                if at_once is not None:
                    raise
                at_once = self.form.images_at_once
                if at_once is None or at_once == len(images):
                    raise
            # Nor does the failed call say whether a call is a step.
            self._at_once, self.by_step = at_once, False
        return self._in_batches_of(at_once, images, populations)

    def _shown(self, images: np.ndarray, populations: Sequence[Population] | None) -> PackedResponses:
        """The answers to images that the model is given in one call, or in one call per step."""
        spiking = self.spec.spiking if populations is None else populations
        with outputs(self.model, (p.name for p in (self.spec.populations if self.derives else spiking))) as seen:
            answers = self.run(images, seen)
        if self.derives:
            spikes = self._with_derived(images, seen, {p.name for p in spiking})
        else:
            spikes = packed_spikes(spiking, seen, self.spec.steps, len(images))
        logits = self._logits(answers, len(images))
        return PackedResponses(spikes, {p.name: p.shape for p in spiking}, logits)

    def _in_batches_of(
        self, size: int, images: np.ndarray, populations: Sequence[Population] | None
    ) -> PackedResponses:
        """The answers of a model that takes so many images at once; the last batch is filled up with a first image."""
        count, missing = len(images), -len(images) % size
        filled = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
        found = joined([self.batch(filled[k : k + size], populations) for k in range(0, len(filled), size)])
        return PackedResponses({n: s[:count] for n, s in found.spikes.items()}, found.shapes, found.logits[:count])

    @cached_property
    def derives(self) -> bool:
        """Whether a population's spikes are no module's alone, see `derived_spikes`."""
        several = any("#" in p.name for p in self.spec.populations)  # of a module that stands at several places
        return several or any(module_named(self.model, p.name) is None for p in self.spec.spiking)

    def _with_derived(
        self, images: np.ndarray, seen: Mapping[str, list[Tensor]], wanted: Set[str]
    ) -> dict[str, np.ndarray]:
        """By population the bits of its spikes; those that are no module's alone follow from the others."""
        steps, stimulus = self.spec.steps, self.spec.stimulus
        held = images[:, None] if self._held else images
        shown = np.broadcast_to(held.reshape(len(images), -1, stimulus.size), (len(images), steps, stimulus.size))
        sent: dict[str, np.ndarray] = {stimulus.name: shown}
        for population in self.spec.populations:
            own = seen.get(population.name, [])
            if sum(output.numel() for output in own) == steps * len(images) * population.size:
                sent[population.name] = by_image(own, steps, len(images))
            elif population.neuron.spiking:
                sent[population.name] = derived(self.spec, population, sent)
        return {p.name: pack(sent[p.name] != 0, p.shape) for p in self.spec.spiking if p.name in wanted}

    @torch.no_grad()
    def run(self, images: np.ndarray, seen: dict[str, list[Tensor]] | None = None) -> list[Tensor]:
        """What the model answers: one tensor, or one per step where its forward is a single step.

        seen   what `outputs` fills meanwhile
        """
        shown = model_input(images, self.spec)
        with _Float64() if self.hand_written else nullcontext():
            if not self.by_step:
                self._rest()
                returned = self._presented(shown, len(images))
                if not self.by_step:
                    return [self._answer(returned)]
                for outputs in (seen or {}).values():
                    outputs.clear()
            self._rest()
            return self._stepped([shown] * self.spec.steps if self._held else list(shown))

    def _presented(self, shown: Tensor, images: int) -> Any:
        """What the model returns for a presentation; it is found out whether a call is one or is a single step."""
        with _recorded(self.model, [p.name for p in self.spec.populations], Tensor.numel) as numbers:
            try:
                returned = self.model(shown if self._held else shown.movedim(0, self.form.steps_axis))
            except Exception:
                if self._held:
                    raise
                # The forward of one step takes one step's images.
                self.by_step = True
                return None
        self.by_step = self.spec.steps > 1 and self._was_one_step(numbers, images)
        return returned

    def _was_one_step(self, numbers: Mapping[str, list[int]], images: int) -> bool:
        """Whether a call of the model was one step, by how many numbers each layer put out in each of its calls."""
        called = {name: found for name, found in numbers.items() if found}
        if self._held:
            return any(sum(found) == images * prod(self.spec.shape(name)) for name, found in list(called.items())[:1])
        # Neurons that take one step took all steps for images.
        return any(len(found) == 1 and self._takes_one_step(name) for name, found in called.items())

    def _takes_one_step(self, name: str) -> bool:
        module = module_named(self.model, name)
        return module is not None and takes_one_step(module)

    def _stepped(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The answers of a forward of one step, which is given the state that it returned in the step before."""
        answers: list[Tensor] = []
        returned: Any = None
        for frame in frames:
            returned = self.model(frame, **carried(self.model, returned, self.output))
            answers.append(self._answer(returned))
        return answers

    @property
    def _held(self) -> bool:
        return self.spec.stimulus.coding == "direct"

    def _rest(self) -> None:
        """Bring the model to the state in which it was given, and other frameworks' neurons to rest."""
        for module, kept in self._kept.items():
            vars(module).update(kept)
        reset_states(self.model)

    def _answer(self, returned: Any) -> Tensor:
        """The answer in what the model returns; a list with a tensor of every step is one."""
        found, index = returned, self.output
        if isinstance(returned, Mapping):
            found = returned[index]
        elif isinstance(returned, tuple | list) and isinstance(index, int):
            several = len(returned) != self.spec.steps or index != 0 or not self.form.lists_steps
            found = returned[index] if several else returned
        return torch.stack(list(found)) if isinstance(found, tuple | list) else found

    def _logits(self, answers: list[Tensor], images: int) -> np.ndarray:
        """The model's answer; where it gives one per step, what the specification's readout makes of them."""
        steps, readout = self.spec.steps, self.spec.readout
        outputs = self.spec.population(readout.population).size // readout.neurons_per_output
        whole = torch.stack(answers) if len(answers) > 1 else answers[0]
        if whole.numel() == images * outputs and len(answers) == 1:
            return whole.reshape(images, outputs).numpy()
        axis = self.form.answer_axis if len(answers) == 1 else 0
        if axis is None and DECODINGS[readout.decoding].by_step and whole.shape[:1] == (images,):
            return whole.reshape(images, steps, outputs).numpy()
        every = by_image([whole.movedim(axis or 0, 0)], steps, images)
        return every.mean(1) if readout.decoding == "mean_input" else read_out(readout, every)


def batch_for(spec: NetworkSpec, populations: Iterable[Population]) -> int:
    """Images at a time that suit the processor's cache where these populations are simulated."""
    fitting = NEURON_STEPS // max(1, spec.steps * sum(p.size for p in populations))
    return min(max(fitting, BATCHES[0]), BATCHES[1])


def one_array(images: Images) -> np.ndarray:
    """The images of a network that takes one array: a torch module's forward does."""
    return as_array(next(iter(images.values())) if isinstance(images, Mapping) else images)


def packed_spikes(
    populations: Iterable[Population], seen: Mapping[str, list[Tensor]], steps: int, images: int
) -> dict[str, np.ndarray]:
    """By population the bits of what its layer put out, see packed.py."""
    return {p.name: pack(by_image(seen[p.name], steps, images) != 0, p.shape) for p in populations}


def outputs(model: nn.Module, names: Iterable[str]) -> AbstractContextManager[dict[str, list[Tensor]]]:
    """What the layers of these names put out, call by call, while the block runs; nothing for names of no layer."""
    return _recorded(model, names, lambda output: output)


@contextmanager
def _recorded(
    model: nn.Module, names: Iterable[str], kept: Callable[[Tensor], Kept]
) -> Iterator[dict[str, list[Kept]]]:
    """What is kept of the outputs of the layers of these names, call by call, while the block runs."""
    seen: dict[str, list[Kept]] = {name: [] for name in names}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            seen[name].append(kept(output[0] if isinstance(output, tuple) else output))

        return hook

    found = {name: module_named(model, name) for name in seen}
    hooks = [module.register_forward_hook(keep(name)) for name, module in found.items() if module is not None]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def model_input(images: np.ndarray, spec: NetworkSpec) -> Tensor:
    """Images as the model's forward takes them; of a sequence, shown as ``(n, steps, ...)``, the steps come first."""
    if spec.stimulus.coding != "direct":
        check_axes(spec, spec.stimulus, np.shape(images))
    shown = torch.from_numpy(np.asarray(images, dtype=np.float64))
    return shown if spec.stimulus.coding == "direct" else shown.transpose(0, 1)


class _Float64(TorchFunctionMode):
    """Tensors that a forward makes of sizes are float64, as the model is, and decisions at its end are left out.

    The logits are compared: a softmax or the place of the largest, for which `time_functions.decided` reads them too,
    gives back what it is given.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if function in DECISIONS:
            return args[0] if args else named["input"]
        if function in _FACTORIES and named.get("dtype") is None:
            named["dtype"] = torch.float64
        return function(*args, **named)


# Numbers that a forward gives to others are whole where nothing says otherwise.
_FACTORIES = frozenset((torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn))


def _is_hand_written(model: nn.Module) -> bool:
    """Whether a class of the model may make tensors, or decide: one that is neither torch's nor this package's."""
    packages = {type(module).__module__.split(".")[0] for module in model.modules()}
    ends = any(isinstance(module, nn.Softmax | nn.LogSoftmax) for module in model.modules())
    return ends or bool(packages - {"torch", "alade_brian"})


def _own_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module's own class keeps in it: neither parameters, buffers nor submodules."""
    return {name: value for name, value in vars(module).items() if name not in vars(nn.Module())}


def by_image(outputs: list[Tensor], steps: int, images: int) -> np.ndarray:
    """A layer's outputs of all steps as ``(images, steps, neurons)``; steps come before images in all of them."""
    whole = torch.stack(outputs) if len(outputs) > 1 else outputs[0]
    return whole.reshape(steps, images, -1).transpose(0, 1).contiguous().numpy()
