"""From a network with ReLU units to one of spiking neurons: an approximation, whose gap is measured layer by layer.

Every ReLU becomes integrate-and-fire neurons whose threshold is a percentile of its activations on some images, for the
layer or for each channel. The image is a held current; a neuron that reaches its threshold loses it and sends it, so
that what it sends on average over the steps comes close to the activation, cut off at the threshold. Everything else
stays as it is, and so does the path from the spiking network on: `convert` lowers it exactly.

Sources: Diehl et al., IJCNN 2015 (thresholds balanced on activations); Rueckauer et al., Frontiers in Neuroscience 2017
(percentiles, the reset by subtraction).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, fx, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.models.coding import HoldCurrent
from alade_brian.models.layers.readouts import MeanOverSteps
from alade_brian.models.neurons.quantal import QuantalIF
from alade_brian.spec import NetworkSpec

Per = Literal["layer", "channel"]
# Functions and methods of torch that are activations, beside ReLU.
_ACTIVATIONS = frozenset(
    "celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_softmax logsigmoid mish prelu relu6 rrelu "
    "selu sigmoid silu softmax softmin softplus softshrink softsign tanh tanhshrink threshold".split()
)
_BATCH = 100


@dataclass(frozen=True)
class LayerGap:
    """How far a layer of spiking neurons is from its ReLU.

    threshold   the least and the largest of its thresholds
    error       mean distance of what the neurons send on average from the activation
    scale       the activation that the layer's percentile names, which `error` is to be seen against
    clipped     the fraction of activations above their threshold
    """

    name: str
    threshold: tuple[float, float]
    error: float
    scale: float
    clipped: float

    @property
    def relative_error(self) -> float:
        """The error in units of the layer's scale."""
        return self.error / self.scale


@dataclass(frozen=True)
class ReluGap:
    """How far a spiking network is from the one with ReLU units, on some images.

    layers      in their order
    steps       numbers of steps, ascending; the last is the network's
    agreement   at each of them, the fraction of images to which both give the same answer
    accuracy    at each of them, the spiking network's; None without labels
    accuracy_relu   of the network with ReLU units; None without labels
    """

    images: int
    layers: tuple[LayerGap, ...]
    steps: tuple[int, ...]
    agreement: tuple[float, ...]
    accuracy: tuple[float, ...] | None = None
    accuracy_relu: float | None = None

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [
            f"approximate: spiking neurons in the place of ReLU units, {self.steps[-1]} steps, {self.images} images",
            f"{'layer':<{width}}  {'threshold':>19}  {'mean error':>10}  {'of scale':>8}  {'clipped':>8}",
        ]
        for layer in self.layers:
            low, high = layer.threshold
            said = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            lines.append(
                f"{layer.name:<{width}}  {said:>19}  {layer.error:>10.4g}  {layer.relative_error:>8.2%}  "
                f"{layer.clipped:>8.2%}"
            )
        lines.append("same answer as the ReLU network, by steps:")
        lines.append("  ".join(f"{t}: {a:.4f}" for t, a in zip(self.steps, self.agreement, strict=True)))
        if self.accuracy is not None:
            lines.append(f"accuracy of the ReLU network {self.accuracy_relu:.4f}, of the spiking one by steps:")
            lines.append("  ".join(f"{t}: {a:.4f}" for t, a in zip(self.steps, self.accuracy, strict=True)))
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class ReluConversion:
    """What `convert_relu` made of a network with ReLU units.

    network   the spiking network, a torch module that `verify` takes: images in, mean outputs of the last layer out
    spec      its specification, which is exact
    gap       how far it is from the network with ReLU units, on the images that the thresholds were balanced on
    """

    network: fx.GraphModule
    spec: NetworkSpec
    gap: ReluGap
    _pair: _Pair

    def measure(self, images: Any, labels: np.ndarray | None = None) -> ReluGap:
        """The gap on other images, as `convert_relu` takes them; with labels, int ``(n,)``, also the accuracies.
        UserError where these are not one per image."""
        return self._pair.gap(_tensor(images, self.network), labels)


def convert_relu(
    model: nn.Module, images: Any, *, steps: int, percentile: float = 99.9, per: Per = "layer", fraction: float = 1.0
) -> ReluConversion:
    """Make a spiking network of one with ReLU units, approximately.

    model        of layers that `convert` takes, with ReLU as modules or functions, ending in logits ``(n, classes)``
                 (a softmax behind them is left out); or what SpikingJelly's ann2snn makes of such a network, whose
                 thresholds are then kept. It is read in eval mode and not changed
    images       array or tensor ``(n, ...)`` to balance the thresholds on, as the model takes them
    steps        time steps of a presentation
    percentile   of the activations, over images and units, is the threshold
    per          one threshold for each ``layer`` or each ``channel`` (of a fully connected layer, each unit); a channel
                 that no image activates has its layer's
    fraction     of its threshold at which a neuron fires: 1 rounds activations down, 0.5 to the nearest

    UserError where a layer has no spiking counterpart, is silent on the images, or an argument is out of range;
    RefusedLayers where the spiking network itself cannot be converted exactly.

    >>> import torch
    >>> from torch import nn
    >>> from alade_brian import convert_relu
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> made = convert_relu(model, torch.rand(50, 6), steps=64)
    >>> [population.name for population in made.spec.populations], made.gap.layers[0].relative_error < 0.02
    (['1', 'output'], True)
    """
    _check_arguments(steps, percentile, per, fraction)
    own = copy.deepcopy(model).eval().requires_grad_(False)
    # A layer alone is followed as the one layer of a network.
    own = own if list(own.children()) else nn.Sequential(own)
    shown = _tensor(images, own)
    units = Units(own)
    network = units.spiking(steps, fraction, units.thresholds(shown, percentile, per))
    pair = _Pair(units, network, steps, percentile)
    spec = convert(network, tuple(shown.shape[1:]))
    return ReluConversion(network, spec, pair.gap(shown, None), pair)


def _check_arguments(steps: int, percentile: float, per: str, fraction: float) -> None:
    if steps < 1:
        raise UserError(f"steps is {steps}; use at least 1")
    if not 0 < percentile <= 100:
        raise UserError(f"percentile is {percentile}; use a number above 0, at most 100")
    if per not in get_args(Per):
        raise UserError(f"per is '{per}'; use one of {', '.join(get_args(Per))}")
    if not 0 < fraction <= 1:
        raise UserError(f"fraction is {fraction}; use a number above 0, at most 1")


def _tensor(images: Any, model: nn.Module) -> Tensor:
    """Images as the model takes them, in its numbers and on its device."""
    like = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(()))
    shown = torch.as_tensor(images).to(like.device, like.dtype)
    if shown.ndim < 2 or not len(shown):
        raise UserError(f"there are no images to balance thresholds on (shape {tuple(shown.shape)}); give some (n, ...)")
    return shown


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
                f"layer {name} is an IFNode with v_threshold {unit.v_threshold} and v_reset {unit.v_reset}, which is no "
                "unit that ann2snn makes (1 and None); give `verify` a network of neurons that is spiking already"
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
            whole = _percentile(values, percentile)
            if not whole > 0:
                raise UserError(
                    f"the {percentile}th percentile of the activations of layer {name} is {whole}, which is no "
                    "threshold; raise the percentile, or balance on other images"
                )
            threshold = torch.as_tensor(whole)
            if per == "channel":
                channels = values.transpose(0, 1).flatten(1)
                each = torch.tensor([_percentile(channel, percentile) for channel in channels])
                threshold = torch.where(each > 0, each, threshold).reshape(-1, *(1,) * (values.ndim - 2))
            found[name] = self.kept.get(name, threshold).to(values)
        return found

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """What each layer of units gives, ``(n, ...)``. UserError where the network does not take the images."""
        parts: list[dict[str, Tensor]] = []
        for batch in images.split(_BATCH):
            try:
                parts.append(_Recorder(self.analogue, self.names).record(batch))
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


def _percentile(values: Tensor, percentile: float) -> float:
    return float(np.percentile(values.cpu().numpy(), percentile))


def _put(model: nn.Module, name: str, module: nn.Module) -> str:
    """Set a module at its dotted name; the name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
    return name


def _free(model: nn.Module, name: str) -> str:
    return name if not hasattr(model, name) else _free(model, f"{name}_")


class _Recorder(fx.Interpreter):
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


@dataclass(frozen=True, eq=False)
class _Pair:
    """A network with ReLU units and the spiking one that was made of it."""

    units: Units
    network: fx.GraphModule
    steps: int
    percentile: float

    def gap(self, images: Tensor, labels: np.ndarray | None) -> ReluGap:
        """See `ReluConversion.measure`."""
        if labels is not None and np.shape(labels) != (len(images),):
            raise UserError(f"there are {len(images)} images and labels of shape {np.shape(labels)}; give one per image")
        layers = tuple(self.units.names.values())
        activations, sent, said, spoken = {n: [] for n in layers}, {n: [] for n in layers}, [], []
        for batch in images.split(_BATCH):
            relu = _Recorder(self.units.analogue, self.units.names).record(batch)
            spiking = _Recorder(self.network, self._nodes()).record(batch)
            for name in layers:
                activations[name].append(relu[name])
                sent[name].append(spiking[name].reshape(self.steps, len(batch), *relu[name].shape[1:]).mean(0))
            said.append(relu[""].argmax(-1))
            by_step = spiking["logits"].reshape(self.steps, len(batch), -1)
            spoken.append(by_step.cumsum(0).argmax(-1))
        answers, over_time = torch.cat(said).cpu().numpy(), torch.cat(spoken, 1).cpu().numpy()
        steps = (*(2**k for k in range(self.steps.bit_length()) if 2**k < self.steps), self.steps)
        at = [over_time[t - 1] for t in steps]
        return ReluGap(
            len(images),
            tuple(self._layer(name, torch.cat(activations[name]), torch.cat(sent[name])) for name in layers),
            steps,
            tuple(float((each == answers).mean()) for each in at),
            None if labels is None else tuple(float((each == labels).mean()) for each in at),
            None if labels is None else float((answers == labels).mean()),
        )

    def _nodes(self) -> dict[str, str]:
        """Nodes of the spiking network's graph: neurons by their layers, and what the readout averages."""
        neurons = set(self.units.names.values())
        found = {n.name: str(n.target) for n in self.network.graph.nodes if str(n.target) in neurons}
        (output,) = (node for node in self.network.graph.nodes if node.op == "output")
        return {**found, output.args[0].args[0].name: "logits"}

    def _layer(self, name: str, activations: Tensor, sent: Tensor) -> LayerGap:
        threshold = self.network.get_submodule(name).threshold
        assert isinstance(threshold, Tensor)
        return LayerGap(
            name,
            (float(threshold.min()), float(threshold.max())),
            float((sent - activations).abs().mean()),
            _percentile(activations, self.percentile),
            float((activations > threshold).float().mean()),
        )
