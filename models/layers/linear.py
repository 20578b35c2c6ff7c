"""Linear layers that torch does not have: gains, sums over windows, and recurrence."""

from __future__ import annotations

from torch import Tensor, nn

from alade_brian.models.neurons.neuron import Constant, Neuron


class Scale(nn.Module):
    """A gain: one number, one per channel ``(C, 1, 1)`` or one per neuron; an nn.Parameter is learned."""

    gain: Constant

    def __init__(self, gain: Constant = 1.0) -> None:
        super().__init__()
        if isinstance(gain, Tensor) and not isinstance(gain, nn.Parameter):
            self.register_buffer("gain", gain)
        else:
            self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain

    def extra_repr(self) -> str:
        return f"gain={self.gain}" if not isinstance(self.gain, Tensor) else f"gain of {tuple(self.gain.shape)}"


class SumPool1d(nn.Module):
    """The sum over a window, channel by channel: ``(n, C, length)``.

    kernel_size, stride, padding   as `nn.AvgPool1d`; the stride is the kernel where none is given
    """

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        # torch has no sum pooling along one axis; this way the sum is never divided, so nothing is rounded.
        image = x.unsqueeze(-2)
        window, stride, padding = (1, self.kernel_size), (1, self.stride), (0, self.padding)
        return nn.functional.avg_pool2d(image, window, stride, padding, divisor_override=1).squeeze(-2)


class SumPool2d(nn.Module):
    """The sum over a window, channel by channel: ``(n, C, height, width)``.

    kernel_size, stride, padding   as `nn.AvgPool2d`; the stride is the kernel where none is given
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)


class Recurrent(nn.Module):
    """Neurons that also receive, through `connection`, what they sent in the step before: ``(steps * images, ...)``.

    connection   `nn.Linear` (all to all), `Scale` (one to one) or `nn.Conv2d` that keeps the shape. In the first step
                 it reads zeros, so its bias acts in every step
    """

    def __init__(self, neuron: Neuron, connection: nn.Module) -> None:
        super().__init__()
        self.neuron, self.connection = neuron, connection

    @property
    def steps(self) -> int:
        """Time steps of a presentation."""
        return self.neuron.steps

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membranes as `Neuron.trace` gives them."""
        return self.neuron.trace(current, self.connection)

    def forward(self, current: Tensor) -> Tensor:
        return self.neuron.output(self.trace(current)[0])
