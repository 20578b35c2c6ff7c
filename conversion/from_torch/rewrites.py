"""What to write instead of torch's layers and functions that have no lowering, for their refusals."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.pooling import _MaxPoolNd

_NEURON = "write a neuron layer in its place, such as LIF(steps, decay=0.9) of alade_brian.models"
_OUTSIDE = "leave it out of the network, and apply it to what the network returns: the largest entry stays the largest"
_NORM = "is computed from each image's own values; train with nn.BatchNorm1d or nn.BatchNorm2d"
_LOOP = "carries analogue values from step to step; use a spiking layer, such as Recurrent of alade_brian.models"
_THRESHOLD = (
    "a neuron's threshold written by hand is understood in a module of its own whose forward is one step, "
    "`spikes, mem = self.lif(current, mem)`, with `mem = beta * mem + current`, `spikes = (mem > 1).to(mem.dtype)` and "
    "`mem - spikes` or `mem * (1 - spikes)` returned; or use LIF(steps, decay=0.9) of alade_brian.models"
)

_LAYERS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Sigmoid, nn.LogSigmoid), _OUTSIDE),
    ((nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Hardtanh, nn.Softplus),
     _NEURON),
    ((nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.RMSNorm), _NORM),
    ((nn.RNNBase, nn.RNNCellBase), _LOOP),
    ((nn.MultiheadAttention,), "multiplies outputs of layers with each other; a sum over weighted spikes does not"),
    ((nn.Upsample,), "write nn.ConvTranspose2d with a kernel of ones and the factor as its stride (nearest)"),
    ((nn.Conv3d, nn.AvgPool3d), "write layers over two axes: images are (channels, height, width)"),
    ((_MaxPoolNd,), "use nn.MaxPool1d or nn.MaxPool2d behind a neuron layer"),
    ((nn.Embedding,), "give the network what it looks up: images of the embedding, as a sequence"),
)  # fmt: skip


def rewrite_of(kind: type) -> str:
    """What to write in the place of a layer of this class; empty if nothing is known."""
    return next((said for classes, said in _LAYERS if issubclass(kind, classes)), "")


# By the name of a torch function or of a tensor's method.
FUNCTION_REWRITES: Mapping[str, str] = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "heaviside", "where", "sign"), _THRESHOLD),
    **dict.fromkeys(("softmax", "log_softmax", "sigmoid", "argmax"), _OUTSIDE),
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "tanh", "hardtanh"), _NEURON),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "normalize"), _NORM),
    **dict.fromkeys(("bmm", "einsum"), "write nn.Linear for a product with a weight of the model"),
    "conv1d": "write self.conv = nn.Conv1d(...) in the constructor and self.conv(x) in the forward",
    "conv2d": "write self.conv = nn.Conv2d(...) in the constructor and self.conv(x) in the forward",
    "batch_norm": "write self.norm = nn.BatchNorm2d(channels) in the constructor and self.norm(x) in the forward",
    "clamp": "leave it out: what bounds currents is no weight",
    "pow": "multiply by constants only",
}  # fmt: skip
