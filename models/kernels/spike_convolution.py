"""Convolutions that read spikes: in training, what is zero costs nothing."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from alade_brian.models.kernels import kernels
from alade_brian.models.kernels.multistep import bare

# Above this share of values that are not zero, torch's own convolution is as fast (measured with 0.4 for 32 channels).
MOST_ACTIVE = 0.35
# One image in so many is looked at to find the share.
LOOKED_AT = 16
VECTOR_BYTES = 64


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What ``conv(x)`` gives, up to the order of sums: ``(images, channels, height, width)``.

    In training on the CPU, the layer and the gradient of its weights go by the values that are not zero, where those
    are few and the layer is a common one; the gradient of the input is torch's own. The result is channels last then.
    """
    if not _suits(conv, x):
        return conv(x)
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.count_nonzero(x[::LOOKED_AT]) > MOST_ACTIVE * x[::LOOKED_AT].numel():
        return conv(x)
    out = _Convolution.apply(x, conv.weight, conv.stride, conv.padding)
    return out if conv.bias is None else out + conv.bias[:, None, None]


def _suits(conv: nn.Conv2d, x: Tensor) -> bool:
    if type(conv) is not nn.Conv2d or not (conv.training and bare(conv)) or isinstance(conv.padding, str):
        return False
    if conv.groups != 1 or conv.dilation != (1, 1) or conv.padding_mode != "zeros":
        return False
    if not kernels.usable(x, conv.weight) or x.dtype != conv.weight.dtype or x.ndim != 4 or not x.numel():
        return False
    whole = conv.out_channels * x.element_size() % VECTOR_BYTES == 0
    return whole and x.shape[1] == conv.in_channels and kernels.kernel("spike_convolution") is not None


class _Shape(ctypes.Structure):
    """As in spike_convolution.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            "images", "in", "out", "height", "width", "rows", "columns", "kernel_rows",
            "kernel_columns", "stride_rows", "stride_columns", "padding_rows", "padding_columns", "threads",
        )
    )  # fmt: skip


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        images, channels, *size = x.shape
        rows, columns = (
            (n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, weight.shape[2:], stride, strict=True)
        )
        out = torch.empty((images, len(weight), rows, columns), dtype=x.dtype, memory_format=torch.channels_last)
        ctx.shape = _Shape(
            images, channels, len(weight), *size, rows, columns, *weight.shape[2:], *stride, *padding,
            torch.get_num_threads(),
        )  # fmt: skip
        by_tap = weight.permute(2, 3, 1, 0).contiguous()
        kernels.run(_library(), "forward", ctx.shape, x, by_tap, out)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_out = of_out.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x, _, _ = torch.ops.aten.convolution_backward(
                of_out, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (True, False, False)
            )
        if ctx.needs_input_grad[1]:
            by_tap = torch.empty((*weight.shape[2:], *weight.shape[1::-1]), dtype=x.dtype)
            kernels.run(_library(), "backward", ctx.shape, x, of_out, by_tap)
            of_weight = by_tap.permute(3, 2, 0, 1).contiguous()
        return of_x, of_weight, None, None


def _library() -> ctypes.CDLL:
    library = kernels.kernel("spike_convolution")
    assert library is not None, "convolve asks before"
    return library
