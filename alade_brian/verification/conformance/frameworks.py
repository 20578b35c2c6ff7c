"""Frameworks that import NIR: the run of a graph by each, in its own neurons, spike by spike.

Each imports its framework only where it runs a graph, and in float64 as far as the framework lets it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch

from alade_brian.conversion.nir_graphs.deviations import with_input_through_recurrence, with_late_biases

# One step of an imported graph: input ``(presentations, *shape)`` and the state before -> the state after.
Step = Callable[[torch.Tensor, Any], Any]


class CannotRun(Exception):
    """A framework's own reason why it does not run a graph, in one line."""


@dataclass(frozen=True)
class Deviation:
    """How an import differs from what a graph says: in words, and as the graph and its step -> the graph that it makes,
    None where the two do not differ."""

    text: str
    changed: Callable[[Any, float], Any | None]


LATE_BIAS = Deviation("the recurrent bias waits one step, as the spikes do", with_late_biases)
THROUGH_RECURRENCE = Deviation(
    "the input of the recurrent layer passes through its recurrent matrix", with_input_through_recurrence
)


@dataclass(frozen=True)
class NirFramework:
    """A framework with an import of NIR.

    package      its distribution
    load         the graph and the step in seconds -> a module, and what makes one step of it
    deviations   of its import
    batched      whether its modules count a batch axis; else presentations run one after the other
    """

    name: str
    package: str
    load: Callable[[Any, float], tuple[torch.nn.Module, Step]]
    deviations: Sequence[Deviation] = ()
    batched: bool = True

    @property
    def version(self) -> str | None:
        """That of the installed framework; None if it is not installed."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None

    def run(
        self, graph: Any, dt: float, shown: np.ndarray, nodes: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], torch.dtype]:
        """Spikes of the named neuron nodes, bool ``(presentations, steps, neurons)``, and the precision: float32 where
        its modules take no float64. CannotRun where it refuses.

        shown   ``(presentations, steps, *shape)``
        """
        try:
            return self._run(graph, dt, shown, nodes, torch.float64), torch.float64
        except CannotRun:
            return self._run(graph, dt, shown, nodes, torch.float32), torch.float32

    def _run(
        self, graph: Any, dt: float, shown: np.ndarray, nodes: Sequence[str], dtype: torch.dtype
    ) -> dict[str, np.ndarray]:
        with silent():
            try:
                runs = []
                for part in [shown] if self.batched else shown[:, None]:
                    module, step = self.load(copy.deepcopy(graph), dt)
                    arrays = np.moveaxis(part, 1, 0) if self.batched else part[0]
                    runs.append(recorded_spikes(module.to(dtype), step, arrays, nodes, len(part)))
                return {node: np.concatenate([run[node] for run in runs]) for node in nodes}
            except CannotRun:
                raise
            except Exception as error:  # whatever the framework raises is its answer
                text = " ".join(str(error).split())
                short = text if len(text) < 120 else f"{text[:120]} ..."
                raise CannotRun(f"{type(error).__name__}: {short}") from error


def recorded_spikes(
    module: torch.nn.Module, step: Step, shown: np.ndarray, nodes: Sequence[str], presentations: int
) -> dict[str, np.ndarray]:
    """Where what the modules of the named nodes send is above 0, bool ``(presentations, steps, neurons)``.

    shown   ``(steps, ...)``, as the module takes a step. CannotRun where a node has no module.
    """
    dtype = next(iter(module.parameters())).dtype
    sent: dict[str, torch.Tensor] = {}
    held = {name.replace(".", "_"): part for name, part in module.named_modules()}

    def listen(node: str) -> Any:
        def keep(_: torch.nn.Module, __: Any, output: Any) -> None:
            sent[node] = output[0] if isinstance(output, tuple) else output

        return keep

    hooks = []
    for node in nodes:
        wanted = node.replace(".", "_")
        parts = [part for name, part in held.items() if name == wanted or name.endswith(f"_{wanted}")]
        if len(parts) != 1:
            raise CannotRun(f"node '{node}' has {len(parts)} modules of that name")
        hooks.append(parts[0].register_forward_hook(listen(node)))
    spikes: dict[str, list[np.ndarray]] = {node: [] for node in nodes}
    state: Any = None
    with torch.no_grad():
        for current in torch.from_numpy(np.ascontiguousarray(shown)).to(dtype):
            state = step(current, state)
            for node in nodes:
                spikes[node].append(sent[node].reshape(presentations, -1).numpy() > 0)
    for hook in hooks:
        hook.remove()
    return {node: np.stack(some, 1) for node, some in spikes.items()}


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Frameworks print and log what they think of a graph."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def _keeping_state(module: torch.nn.Module) -> Step:
    """One step of a module that takes its state and returns it."""
    return lambda current, state: module(current, state)[1]


def _snntorch(graph: Any, dt: float) -> tuple[torch.nn.Module, Step]:
    from snntorch.import_nir import import_from_nir

    module = import_from_nir(graph)  # always with a step of 0.1 ms
    return module, _keeping_state(module)


def _norse(graph: Any, dt: float) -> tuple[torch.nn.Module, Step]:
    import norse.torch

    module = norse.torch.from_nir(graph, dt=dt)
    return module, _keeping_state(module)


def _spikingjelly(graph: Any, dt: float) -> tuple[torch.nn.Module, Step]:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    module = import_from_nir(graph, dt=dt)
    return module, _keeping_state(module)


FRAMEWORKS = (
    NirFramework("snnTorch", "snntorch", _snntorch, (THROUGH_RECURRENCE,)),
    NirFramework("Norse", "norse", _norse, (LATE_BIAS,), batched=False),
    NirFramework("SpikingJelly", "spikingjelly", _spikingjelly, (LATE_BIAS,)),
)
