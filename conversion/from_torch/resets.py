"""Watches another framework's neurons while a forward is traced: their state may be reset before the first step alone.

A reset changes a neuron's state without a call that torch.fx could write down, so it leaves nothing in the graph.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from alade_brian.conversion.from_torch.frameworks.registry import (
    FRAMEWORKS,
    container_kind,
    framework_of,
    neuron_adapter,
    reset_of,
)
from alade_brian.conversion.refusals import Refusal, RefusedLayers

# Frames of these packages, and of the frameworks, are not the user's own code.
_PACKAGES = ("alade_brian", "torch", "contextlib")
# Buffers of snnTorch's neurons that hold their state.
_STATES = ("spk", "syn", "syn_exc", "syn_inh", "mem")
# Where modules keep their state: torch's buffers, and what SpikingJelly calls memories.
_KEPT = ("_buffers", "_memories")


class ResetWatch:
    """Knows which neurons have been called, and refuses the next call of one whose state was changed since."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {m: name for name, m in model.named_modules() if framework_of(m) is not None}
        self._calls = dict.fromkeys(self._names, 0)
        self._changed: dict[nn.Module, str] = {}
        self._state: dict[nn.Module, list[Any]] = {}

    def calling(self, module: nn.Module) -> None:
        """Note a call of a layer with everything in it; RefusedLayers if its state was changed since the last one."""
        if neuron_adapter(module) is None and container_kind(module) is None:
            return
        for part in module.modules():
            if part not in self._names:
                continue
            if _state(part) != self._state[part] and (self._calls[part] or not _rests(part)):
                self._changed.setdefault(part, _place())
            if part in self._changed:
                raise RefusedLayers([self._refusal(part)], None)
            self._calls[part] += 1
            self._state[part] = _state(part)

    def _refusal(self, module: nn.Module) -> Refusal:
        calls, place = self._calls[module], self._changed[module]
        said = f"is reset or changed before step {calls} ({place}); reset it before the first step, step 0, only"
        if not calls:
            said = f"is set to something other than rest before the first step ({place}); let the neurons begin at rest"
        where = f"{self._names[module]} ({type(module).__name__})"
        return Refusal(where, "state", "of the neurons", said)

    def _reset(self, module: nn.Module) -> None:
        if self._calls[module]:
            self._changed.setdefault(module, _place())
        self._state[module] = _state(module)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every change while the block runs: by a neuron's own method, by that of its class, or by hand."""
        with ExitStack() as stack:
            for module in self._names:
                stack.enter_context(_counted(module))
                self._state[module] = _state(module)
            stack.enter_context(self._watched_resets())
            yield

    @contextmanager
    def _watched_resets(self) -> Iterator[None]:
        methods = [(m, name) for m in self._names if (name := reset_of(m)) is not None]
        for module, name in methods:
            module.__dict__[name] = self._watched(getattr(module, name), [module])
        classes: set[Any] = {c for m in self._names for c in type(m).__mro__ if "reset_hidden" in vars(c)}
        originals = {cls: vars(cls)["reset_hidden"] for cls in classes}
        for cls in classes:
            own: list[nn.Module] = [m for m in self._names if isinstance(m, cls)]
            cls.reset_hidden = staticmethod(self._watched(cls.reset_hidden, own))
        try:
            yield
        finally:
            for module, name in methods:
                del module.__dict__[name]
            for cls, original in originals.items():
                cls.reset_hidden = original

    def _watched(self, reset: Callable[[], Any], modules: list[nn.Module]) -> Callable[[], Any]:
        def watched() -> Any:
            made = reset()
            for module in modules:
                self._reset(module)
            return made

        return watched


class _Written(dict[str, Any]):
    """A dictionary that counts what is written to it."""

    writes = 0

    def __setitem__(self, key: str, value: Any) -> None:
        self.writes += 1
        super().__setitem__(key, value)


@contextmanager
def _counted(module: nn.Module) -> Iterator[None]:
    """Count what is written to a module's buffers and memories while the block runs."""
    originals = {name: vars(module)[name] for name in _KEPT if name in vars(module)}
    vars(module).update({name: _Written(original) for name, original in originals.items()})
    try:
        yield
    finally:
        for name, original in originals.items():
            original.clear()
            original.update(vars(module)[name])
        vars(module).update(originals)


def _state(module: nn.Module) -> list[Any]:
    """How often a neuron's state was written to: to its names, and to the tensors of these names."""
    found: list[Any] = []
    for kept in (vars(module)[name] for name in _KEPT if name in vars(module)):
        found += [kept.writes, *((name, v._version) for name, v in kept.items() if isinstance(v, Tensor))]
    return found


def _rests(module: nn.Module) -> bool:
    """Whether a neuron's state is the one that it begins with."""
    if "_memories" in module.__dict__:
        memories, resting = module.__dict__["_memories"], module.__dict__["_memories_rv"]
        return all(_equal(value, resting[name]) for name, value in memories.items())
    return all(_equal(module._buffers[name], 0.0) for name in _STATES if name in module._buffers)


def _equal(value: Any, resting: Any) -> bool:
    if isinstance(value, Tensor):
        return bool((value.detach() == resting).all())
    return bool(value == resting)


def _place() -> str:
    """File and line of the user's code that is running."""
    for frame, line in traceback.walk_stack(None):
        if frame.f_globals.get("__name__", "").split(".")[0] not in (*_PACKAGES, *FRAMEWORKS):
            return f"{Path(frame.f_code.co_filename).name}, line {line}"
    return "in the forward"
