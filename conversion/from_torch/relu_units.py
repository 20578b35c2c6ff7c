"""The ReLU units of a network, found in the graph of its forward, and the graph with neurons in their places."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn

from alade_brian.errors import UserError
from alade_brian.models.coding import HoldCurrent
from alade_brian.models.layers.readouts import MeanOverSteps
from alade_brian.models.neurons.quantal import QuantalIF

Per = Literal["layer", "channel"]
# Functions and methods of torch that are activations, beside ReLU.
_ACTIVATIONS = frozenset(
    "celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_softmax logsigmoid mish prelu relu6 "
    "rrelu selu sigmoid silu softmax softmin softplus softshrink softsign tanh tanhshrink threshold".split()
)
# Images that are shown at once.
BATCH = 100


class _Tracer(fx.Tracer):
    """Follows a forward down to layers: those of torch, of SpikingJelly and of this package."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        layer = type(m).__module__.split(".")[0] in ("spikingjelly", "alade_brian")
        return layer or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module) -> fx.Graph:
    """The forward as a graph from the images to the logits."""
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever a forward does with a tensor that has no values
        raise UserError(
            f"the forward cannot be followed ({str(error).splitlines()[0]}); write it without branches on values"
        ) from None
    (output,) = (node for node in graph.nodes if node.op == "output")
    logits = output.args[0]
    if not isinstance(logits, fx.Node):
        raise UserError(f"the forward returns {type(logits).__name__}; let it return the logits alone")
    while _computes(model, logits) in ("softmax", "log_softmax") and len(logits.users) == 1:
        decided, logits = logits, _argument(logits)
        output.args = (logits,)
        graph.erase_node(decided)
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise UserError("the forward takes more than images; give it one argument")
    return graph


def _argument(node: fx.Node) -> Any:
    """The tensor that a node is computed of."""
    return node.args[0] if node.args else node.kwargs["input"]


def _computes(model: nn.Module, node: fx.Node) -> str:
    """What a node computes: the name of its function as torch.nn.functional has it, or of its class of layers in small
    letters; ``relu`` for a unit of a network that SpikingJelly's ann2snn made."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        kind = type(module).__name__.lower()
        foreign = type(module).__module__.startswith("spikingjelly.")
        return "relu" if foreign and kind == "ifnode" else kind.replace("logsoftmax", "log_softmax")
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", "")).rstrip("_")
    return str(node.target).rstrip("_") if node.op == "call_method" else ""


class Units:
    """The ReLU units of a network, found in the graph of its forward.

    names    by node of the graph that is a layer of units, the layer's name
    kept     thresholds that the network brings with it, by the layer's name
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.graph = model, _traced(model)
        self.names: dict[str, str] = {}
        self.kept: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            kind = _computes(model, node)
            if kind == "relu":
                self._add(node)
            elif kind in _ACTIVATIONS or kind.replace("_", "") in _ACTIVATIONS or self._is_activation(node):
                raise UserError(
                    f"layer {node.target if node.op == 'call_module' else node.name} is {kind}, which spiking neurons "
                    "do not stand for; train the network with ReLU"
                )
        if not self.names:
            raise UserError("the network has no ReLU, whose place spiking neurons could take")
        self.analogue = fx.GraphModule(model, self.graph)

    def _add(self, node: fx.Node) -> None:
        of_module = node.op == "call_module" and str(node.target) not in self.names.values()
        self.names[node.name] = name = str(node.target) if of_module else node.name
        module = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is not None and not isinstance(module, nn.ReLU):
            self._keep(name, module)
            _put(self.model, str(node.target), nn.ReLU())

    def _keep(self, name: str, unit: Any) -> None:
        """Note the threshold of a unit of ann2snn, behind whose scaled input it is 1."""
        if unit.v_reset is not None or unit.v_threshold != 1.0:
            raise UserError(
                f"layer {name} is an IFNode with v_threshold {unit.v_threshold} and v_reset {unit.v_reset}, no unit of "
                "ann2snn (1 and None); a network that spikes already needs no conversion: give it to `verify`"
            )
        self.kept[name] = torch.ones(())

    def _is_activation(self, node: fx.Node) -> bool:
        module = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
        return type(module).__module__ == nn.ReLU.__module__

    def thresholds(self, images: Tensor, percentile: float, per: Per) -> dict[str, Tensor]:
        """Of each layer the percentile of its activations: one number, or one per channel ``(C, 1, 1)``. UserError
        where a layer is silent."""
        found: dict[str, Tensor] = {}
        for name, values in self.activations(images).items():
            whole = percentile_of(values, percentile)
            if not whole > 0:
                raise UserError(
                    f"the {percentile}th percentile of the activations of layer {name} is {whole}, which is no "
                    "threshold; raise the percentile, or balance on other images"
                )
            threshold = torch.as_tensor(whole)
            if per == "channel":
                channels = values.transpose(0, 1).flatten(1)
                each = torch.tensor([percentile_of(channel, percentile) for channel in channels])
                threshold = torch.where(each > 0, each, threshold).reshape(-1, *(1,) * (values.ndim - 2))
            found[name] = self.kept.get(name, threshold).to(values)
        return found

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """What each layer of units gives, ``(n, ...)``. UserError where the network does not take the images."""
        parts: list[dict[str, Tensor]] = []
        for batch in images.split(BATCH):
            try:
                parts.append(Recorder(self.analogue, self.names).record(batch))
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"the model does not take images of {tuple(images.shape[1:])}: {str(error).splitlines()[0]}"
                ) from None
        return {name: torch.cat([part[name] for part in parts]) for name in self.names.values()}

    def spiking(self, steps: int, fraction: float, thresholds: Mapping[str, Tensor]) -> fx.GraphModule:
        """The same forward with a held image, neurons with these thresholds, and the mean of the logits."""
        model, graph = copy.deepcopy(self.model), copy.deepcopy(self.graph)
        (image,) = (node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_after(image):
            held = graph.call_module(_put(model, _free(model, "hold"), HoldCurrent(steps)), (image,))
        image.replace_all_uses_with(held, lambda user: user is not held)
        for node in [node for node in graph.nodes if node.name in self.names]:
            name = self.names[node.name]
            neuron = QuantalIF(steps, threshold=thresholds[name], fraction=fraction)
            with graph.inserting_before(node):
                sent = graph.call_module(_put(model, name, neuron), (_argument(node),))
            node.replace_all_uses_with(sent)
            graph.erase_node(node)
        (output,) = (node for node in graph.nodes if node.op == "output")
        with graph.inserting_before(output):
            mean = graph.call_module(_put(model, _free(model, "output"), MeanOverSteps(steps)), output.args)
        output.args = (mean,)
        return fx.GraphModule(model, graph).eval()


def percentile_of(values: Tensor, percentile: float) -> float:
    return float(np.percentile(values.cpu().numpy(), percentile))


def _put(model: nn.Module, name: str, module: nn.Module) -> str:
    """Set a module at its dotted name; the name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
    return name


def _free(model: nn.Module, name: str) -> str:
    return name if not hasattr(model, name) else _free(model, f"{name}_")


class Recorder(fx.Interpreter):
    """Runs a graph and keeps what some nodes give.

    names   by node, the name that its result is kept under
    """

    def __init__(self, network: fx.GraphModule, names: Mapping[str, str]) -> None:
        super().__init__(network)
        self.names, self.found = names, dict[str, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        if n.name in self.names:
            self.found[self.names[n.name]] = made
        return made

    @torch.no_grad()
    def record(self, images: Tensor) -> dict[str, Tensor]:
        """What the nodes give of the images, and under an empty name what the graph does."""
        answer = self.run(images)
        return {**self.found, "": answer}
