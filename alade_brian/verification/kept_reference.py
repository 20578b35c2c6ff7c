"""What parts of a torch model answered to images, kept: a frozen extractor of a network that grows is computed once.

The reference stays PyTorch's own answer in float64. A part's name is the content of its numbers, of its settings and of
the code that computes it, and an answer's key the content of the image; what cannot be named so is computed anew, and
so is all that stands behind the parts.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.from_torch.frameworks.registry import as_exact, reset_states
from alade_brian.source_digest import packages_digest
from alade_brian.spec import NetworkSpec, Population
from alade_brian.spec.parts import split
from alade_brian.spikes.packed import PackedResponses
from alade_brian.verification.reference import joined
from alade_brian.verification.torch_reference import (
    ALL_IMAGES,
    TorchReference,
    batch_for,
    by_image,
    model_input,
    one_array,
    outputs,
    packed_spikes,
)

if TYPE_CHECKING:
    from alade_brian.simulation.simulator import Images

log = logging.getLogger(__name__)

Key = bytes
# What a module took and what it gave.
Call = tuple[tuple[Any, ...], Any]
# The model as a submodule of itself.
WHOLE = ""
# All of our own code: what a layer computes may depend on any of it. The last two may lie elsewhere than the first.
OWN_PACKAGES = ("alade_brian", "alade_brian.models", "alade_brian.conversion")
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


class RecordStore(Protocol):
    """Records of one part by image, see `alade_brian.simulation.cache.kept_answers.KeptAnswers`."""

    def load(self, keys: Iterable[Key]) -> Mapping[Key, np.ndarray]: ...

    def keep(self, records: Mapping[Key, np.ndarray]) -> None: ...


class AnswerStore(Protocol):
    """Where parts keep what they answered."""

    def keys(self, images: np.ndarray) -> list[Key]:
        """A name for every image's content."""
        ...

    def records(self, name: str, size: int) -> RecordStore:
        """The records, so many bytes each, of the part of that name."""
        ...


class KeptReference:
    """torch as the reference, with parts that answer from what they kept if they answered to an image before."""

    name = TorchReference.name

    def __init__(self, reference: TorchReference, parts: Sequence[CachedExtractor], answers: AnswerStore) -> None:
        self.reference, self.parts, self.answers = reference, parts, answers
        apart = {p.name for part in parts for p in part.populations}
        self.behind = [p for p in reference.spec.populations if p.name not in apart]

    def packed(self, images: Images, part: slice = ALL_IMAGES) -> PackedResponses:
        """See `TorchReference.packed`."""
        shown = one_array(images)[part]
        keys, spec = self.answers.keys(shown), self.reference.spec
        known = [extractor.answers(shown, keys) for extractor in self.parts]
        spiking = [p for p in self.behind if p.neuron.spiking]
        size, found = batch_for(spec, self.behind), []
        for start in range(0, len(shown), size):
            with ExitStack() as stack:
                for extractor, (_, sent) in zip(self.parts, known, strict=True):
                    stack.enter_context(extractor.replaying(sent[start : start + size]))
                found.append(self.reference.batch(shown[start : start + size], spiking))
        behind, bits = joined(found), {name: spikes for own, _ in known for name, spikes in own.items()}
        shapes = {p.name: p.shape for p in spec.spiking}
        return PackedResponses({name: (bits | dict(behind.spikes))[name] for name in shapes}, shapes, behind.logits)

    def membranes(self, images: Images, image: int, layer: str) -> np.ndarray | None:
        """See `TorchReference.membranes`: they are computed."""
        return self.reference.membranes(images, image, layer)


def with_kept_answers(
    reference: TorchReference, image: np.ndarray, answers: AnswerStore
) -> TorchReference | KeptReference:
    """The reference with those of its parts that can answer by themselves; the reference alone where none can.

    image   one, ``(1, ...)``, with which it is found out how the model calls its parts
    """
    if reference.derives:
        return reference
    found = [part for part in _parts(reference, image, answers) if part is not None]
    return KeptReference(reference, found, answers) if found else reference


class CachedExtractor:
    """A module that sees nothing but the images, with the populations in it.

    tail      shape of what it sends in a step for an image; it sends ``(steps * images, *tail)``
    records   of all spikes of its layers, then of what it sent
    """

    def __init__(self, spec: NetworkSpec, path: str, module: nn.Module, populations: Sequence[Population]) -> None:
        self.spec, self.path, self.module, self.populations = spec, path, module, populations
        self.tail: tuple[int, ...] = ()
        self.records: RecordStore
        self.spiking = [p for p in populations if p.neuron.spiking]
        self.bytes = [spec.steps * prod(p.shape[1:]) * -(-p.shape[0] // 8) for p in self.spiking]

    def answers(self, images: np.ndarray, keys: Sequence[Key]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Packed spikes by population, and what was sent, float64 ``(images, steps, numbers)``."""
        known = dict(self.records.load(keys))
        unknown = {key: number for number, key in enumerate(keys) if key not in known}
        numbers, size = list(unknown.values()), batch_for(self.spec, self.populations)
        for start in range(0, len(numbers), size):
            fresh = self._computed(images[numbers[start : start + size]])
            new = dict(zip(list(unknown)[start : start + size], fresh, strict=True))
            self.records.keep(new)
            known |= new
        return self._unfolded(np.stack([known[key] for key in keys]))

    def _computed(self, images: np.ndarray) -> np.ndarray:
        """Records, uint8 ``(images, bytes)``."""
        inner = {p.name.removeprefix(f"{self.path}."): p for p in self.spiking}
        reset_states(self.module)
        with torch.no_grad(), outputs(self.module, inner) as seen:
            sent = by_image([self.module(model_input(images, self.spec))], self.spec.steps, len(images))
        bits = packed_spikes(
            self.spiking, {p.name: seen[name] for name, p in inner.items()}, self.spec.steps, len(images)
        )
        parts = [*(bits[p.name] for p in self.spiking), sent.view(np.uint8)]
        return np.concatenate([part.reshape(len(images), -1) for part in parts], axis=1)

    def _unfolded(self, records: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        *bits, sent = np.split(records, np.cumsum(self.bytes), axis=1)
        by_step = [part.reshape(len(records), self.spec.steps, -1) for part in bits]
        values = np.ascontiguousarray(sent).view(np.float64).reshape(len(records), self.spec.steps, -1)
        return dict(zip((p.name for p in self.spiking), by_step, strict=True)), values

    @contextmanager
    def replaying(self, sent: np.ndarray) -> Iterator[None]:
        """Meanwhile the module answers a call with what was sent before, ``(images, steps, numbers)``."""
        by_step = torch.from_numpy(np.ascontiguousarray(sent.swapaxes(0, 1))).reshape(-1, *self.tail)
        self.module.forward = lambda images: by_step
        try:
            yield
        finally:
            del self.module.forward


def _parts(reference: TorchReference, image: np.ndarray, answers: AnswerStore) -> Iterator[CachedExtractor | None]:
    """The extractors of a network as parts; None for one that cannot answer by itself or has no name."""
    spec, whole = reference.spec, split(reference.spec)
    paths = [] if whole is None else [_paths(reference.model, spec, e.populations) for e in whole.extractors]
    with _calls(reference.model, [WHOLE, *(path for each in paths for path in each)]) as calls:
        reference.run(image)
    reset_states(reference.model)
    for extractor, candidates in zip(whole.extractors if whole else (), paths, strict=True):
        path = next((p for p in candidates if _sees_images_alone(calls[p], calls[WHOLE], spec.steps)), None)
        yield None if path is None else _named(reference, path, extractor.populations, calls[path][0][1], answers)


def _paths(model: nn.Module, spec: NetworkSpec, populations: Sequence[Population]) -> list[str]:
    """The modules that hold these populations and no other, the innermost first."""
    own = {p.name for p in populations}
    steps = [name.split(".")[:-1] for name in own]
    common = next(iter(steps))
    while any(other[: len(common)] != common for other in steps):
        common = common[:-1]
    paths = [".".join(common[:depth]) for depth in range(len(common), 0, -1)]
    modules = dict(model.named_modules())
    inside = {path: {p.name for p in spec.populations if p.name.startswith(f"{path}.")} for path in paths}
    return [path for path in paths if path in modules and inside[path] == own]


@contextmanager
def _calls(model: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, list[Call]]]:
    """What modules took (positional and named arguments) and gave, call by call, while the block runs."""
    calls: dict[str, list[Call]] = {path: [] for path in paths}

    def keep(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> None:
            calls[path].append(((*inputs, *named.values()), output))

        return hook

    hooks = [model.get_submodule(p).register_forward_hook(keep(p), with_kwargs=True) for p in calls]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _sees_images_alone(calls: Sequence[Call], whole: Sequence[Call], steps: int) -> bool:
    """Whether a module was called once, with what the model itself was shown, and answered step by step."""
    if len(calls) != 1 or len(whole) != 1:
        return False
    (inputs, output), (shown, _) = calls[0], whole[0]
    return len(inputs) == 1 and inputs[0] is shown[0] and isinstance(output, Tensor) and output.shape[:1] == (steps,)


def _named(
    reference: TorchReference, path: str, populations: Sequence[Population], sent: Tensor, answers: AnswerStore
) -> CachedExtractor | None:
    """The part at a path, with its records; None where something in it has no name."""
    part = CachedExtractor(reference.spec, path, reference.model.get_submodule(path), populations)
    layout = [(p.name.removeprefix(f"{path}."), p.shape) for p in part.spiking]
    part.tail = tuple(sent.shape[1:])
    try:
        name = digest(part.module, [layout, part.tail, reference.spec.steps, reference.spec.stimulus.coding])
    except Undigestable as error:
        log.info("what torch's %s answers is not kept: %s", path, error)
        return None
    size = sum(part.bytes) + 8 * reference.spec.steps * prod(part.tail)
    part.records = answers.records(name, size)
    return part


class Undigestable(ValueError):
    """Something whose content cannot be told."""


def digest(module: nn.Module, further: Any = None) -> str:
    """A name for all that decides what a module answers: its numbers and settings, its code, PyTorch's version.

    Raises Undigestable if a module in it holds anything but numbers, text and collections of them, has hooks, or
    has no source file.
    """
    found = hashlib.sha256(f"{torch.__version__} {further}".encode())
    for name, inner in module.named_modules():
        found.update(f"{name} {type(inner).__module__}.{type(inner).__qualname__} ".encode())
        for folder in sorted({_folder(cls) for cls in _own_classes(inner)}):
            found.update(_sources(folder))
        for chunk in _content(_settings(inner)):
            found.update(chunk)
    found.update(packages_digest(*OWN_PACKAGES))
    return found.hexdigest()[:32]


def _own_classes(module: nn.Module) -> list[type]:
    """A module's classes but those of PyTorch, of Python, and of this package, whose source counts as a whole."""
    apart = ("torch", "builtins", "abc", "typing", "alade_brian")
    return [c for c in type(module).__mro__ if c.__module__.split(".")[0] not in apart]


def _folder(cls: type) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None:
        raise Undigestable(f"the class {cls.__qualname__} has no source file")
    return str(Path(file).parent)


@cache
def _sources(folder: str) -> bytes:
    """A digest of the Python files of a folder: what a class calls stands mostly near it."""
    found = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.py")):
        found.update(file.read_bytes())
    return found.digest()


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a module holds beside other modules."""
    usual = vars(nn.Module())
    hooks = [name for name in usual if name.startswith(("_forward_hooks", "_forward_pre_hooks"))]
    # That which makes inputs float64 is the reference's own.
    if any(hook is not as_exact for name in hooks for hook in vars(module)[name].values()):
        raise Undigestable(f"a {type(module).__name__} in it has hooks")
    own = {name: value for name, value in vars(module).items() if name not in usual}
    return {"training": module.training, **own, **module._parameters, **module._buffers}


def _content(value: Any) -> Iterator[bytes]:
    """The content of a value, in pieces that tell where one ends."""
    yield f"({type(value).__qualname__} ".encode()
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)} ".encode()
        yield value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, PLAIN):
        yield repr(value).encode()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _content(key)
            yield from _content(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _content(vars(value))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _content(item)
    else:
        raise Undigestable(f"it holds a {type(value).__name__}")
    yield b")"
