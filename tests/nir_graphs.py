"""Random NIR graphs over all nodes, with dyadic numbers, so that Euler's steps are free of rounding."""

from __future__ import annotations

import nir
import numpy as np
from hypothesis import strategies as st

DT = 2.0**-10
Shape = tuple[int, ...]


class GraphNumbers:
    """Dyadic numbers from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)

    def weights(self, *shape: int) -> np.ndarray:
        return self.draw.integers(-16, 25, shape) / 16

    def of(self, values: list[float], shape: Shape, how: str) -> np.ndarray:
        """One number, one per channel or one per neuron."""
        sizes = {"one": (), "channel": (shape[0], *[1] * (len(shape) - 1)), "neuron": shape}
        return np.asarray(self.draw.choice(values, sizes[how]), dtype=float)


def neuron(draw: st.DrawFn, numbers: GraphNumbers, shape: Shape) -> nir.NIRNode:
    how = draw(st.sampled_from(["neuron", "neuron", "one", "channel"]))

    def of(*values: float) -> np.ndarray:
        return numbers.of(list(values), shape, how)

    tau, fires = lambda: of(DT, 2 * DT, 4 * DT), {"v_threshold": of(0.25, 0.5, 1.0), "v_reset": of(0.0, 0.0, -0.25)}
    r, leak = lambda: of(0.5, 1.0, 2.0), lambda: of(0.0, 0.0, 0.125)
    per_step = lambda: of(0.5 / DT, 1 / DT)  # noqa: E731
    makers = [
        lambda: nir.LIF(tau(), r(), leak(), **fires),
        lambda: nir.LIF(tau(), r(), leak(), **fires),
        lambda: nir.CubaLIF(tau(), tau(), r(), leak(), w_in=r(), **fires),
        lambda: nir.IF(per_step(), **fires),
        lambda: nir.Threshold(of(0.0, 0.5)),
        lambda: nir.LI(tau(), r(), leak()),
        lambda: nir.CubaLI(tau(), tau(), r(), leak(), w_in=r()),
        lambda: nir.I(per_step()),
    ]
    return draw(st.sampled_from(makers))()


def linear(draw: st.DrawFn, numbers: GraphNumbers, shape: Shape) -> tuple[nir.NIRNode, Shape]:
    """A linear node on that shape, and what it makes."""
    kinds = [
        "scale",
        "delay",
        *{1: ["linear", "affine"], 2: ["conv1d", "flatten", "stack"], 3: ["conv2d", "pool", "flatten"]}[len(shape)] * 2,
    ]
    match draw(st.sampled_from(kinds)):
        case "scale":
            return nir.Scale(
                numbers.of([0.5, 1.0, -1.0, 2.0], shape, draw(st.sampled_from(["one", "channel", "neuron"])))
            ), shape
        case "delay":
            return nir.Delay(numbers.of([0.0, DT, 3 * DT], shape, draw(st.sampled_from(["one", "neuron"])))), shape
        case "linear":
            out = draw(st.integers(1, 4))
            return nir.Linear(numbers.weights(out, shape[0])), (out,)
        case "affine":
            out = draw(st.integers(1, 4))
            return nir.Affine(numbers.weights(out, shape[0]), numbers.weights(out)), (out,)
        case "stack":
            return nir.Affine(numbers.weights(shape[0], 2, shape[1]), numbers.weights(shape[0], 2)), (shape[0], 2)
        case "conv1d":
            return conv1d(draw, numbers, shape)
        case "conv2d":
            return conv2d(draw, numbers, shape)
        case "pool":
            kernel = (min(2, shape[1]), min(2, shape[2]))
            kind, stride, padding = (
                draw(st.sampled_from([nir.AvgPool2d, nir.SumPool2d])),
                draw(st.integers(1, 2)),
                draw(st.integers(0, kernel[0] // 2)),
            )
            made = tuple((n + 2 * padding - k) // stride + 1 for n, k in zip(shape[1:], kernel, strict=True))
            return kind(np.array(kernel), np.array([stride, stride]), np.array([padding, padding])), (shape[0], *made)
        case _:
            start = draw(st.integers(0, len(shape) - 1))
            return nir.Flatten({"input": np.array(shape)}, start, -1), (*shape[:start], int(np.prod(shape[start:])))


def _size(n: int, kernel: int, stride: int, padding: int | str, dilation: int) -> int:
    if padding == "same":
        return n
    return (n + 2 * (0 if isinstance(padding, str) else padding) - dilation * (kernel - 1) - 1) // stride + 1


def conv1d(draw: st.DrawFn, numbers: GraphNumbers, shape: Shape) -> tuple[nir.NIRNode, Shape]:
    kernel, dilation = draw(st.integers(1, min(3, shape[1]))), draw(st.integers(1, 2))
    padding: int | str = draw(st.sampled_from([1, 2, "same"]))
    stride = 1 if padding == "same" else draw(st.integers(1, 2))
    out = draw(st.integers(1, 3))
    groups = shape[0] if out % shape[0] == 0 and draw(st.booleans()) else 1
    made = _size(shape[1], kernel, stride, padding, dilation)
    if made < 1:
        return nir.Scale(np.ones(())), shape
    known = draw(st.sampled_from([None, shape[1]]))
    weight = numbers.weights(out, shape[0] // groups, kernel)
    return nir.Conv1d(known, weight, stride, padding, dilation, groups, numbers.weights(out)), (out, made)


def conv2d(draw: st.DrawFn, numbers: GraphNumbers, shape: Shape) -> tuple[nir.NIRNode, Shape]:
    kernel = tuple(draw(st.integers(1, min(3, n))) for n in shape[1:])
    padding = draw(st.sampled_from(["same", "valid", 1, (0, 1), (1, 1)]))
    stride = (1, 1) if padding == "same" else draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 2)]))
    pads = (padding, padding) if isinstance(padding, int | str) else padding
    made = tuple(_size(*each) for each in zip(shape[1:], kernel, stride, pads, dilation, strict=True))
    if min(made) < 1:
        return nir.Scale(np.ones(())), shape
    out = draw(st.integers(1, 3))
    groups = shape[0] if out % shape[0] == 0 and draw(st.booleans()) else 1
    weight = numbers.weights(out, shape[0] // groups, *kernel)
    return nir.Conv2d(None, weight, stride, padding, dilation, groups, numbers.weights(out)), (out, *made)


def _linear_cycle(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]) -> bool:
    """Whether some cycle has no neuron in it: nodes are taken away as long as one has nothing behind it."""
    plain = {
        n
        for n, node in nodes.items()
        if isinstance(
            node,
            nir.Linear
            | nir.Affine
            | nir.Scale
            | nir.Flatten
            | nir.Delay
            | nir.Conv1d
            | nir.Conv2d
            | nir.AvgPool2d
            | nir.SumPool2d,
        )
    }
    while True:
        ends = {n for n in plain if not any(a == n and b in plain for a, b in edges)}
        if not ends:
            return bool(plain)
        plain -= ends


@st.composite
def graphs(draw: st.DrawFn) -> tuple[nir.NIRGraph, dict[str, Shape]]:
    """A graph and the shapes of its inputs."""
    numbers = GraphNumbers(draw(st.integers(0, 2**16)))
    shapes = st.sampled_from([(3,), (2, 4), (2, 4, 3), (1, 5, 4)])
    inputs = {f"in{k}": draw(shapes) for k in range(draw(st.integers(1, 2)))}
    nodes: dict[str, nir.NIRNode] = {k: nir.Input({"input": np.array(s)}) for k, s in inputs.items()}
    made: dict[str, Shape] = dict(inputs)
    edges: list[tuple[str, str]] = []
    for k in range(draw(st.integers(2, 9))):
        before = draw(st.sampled_from(list(made)[-4:]))
        shape = made[before]
        name = f"n{k}"
        if draw(st.booleans()):
            nodes[name], made[name] = neuron(draw, numbers, shape), shape
        else:
            nodes[name], made[name] = linear(draw, numbers, shape)
        edges.append((before, name))
        more = [other for other in made if made[other] == shape and other not in (before, name)]
        if more and draw(st.booleans()):
            edges.append((draw(st.sampled_from(more)), name))
    _close_cycles(
        draw, nodes, edges, made, {e: made[next(a for a, b in edges if b == e)] for e in dict(edges).values()}
    )
    if draw(st.booleans()):
        _wrap(draw, numbers, nodes, made)
    leaves = [n for n in nodes if not any(a == n for a, _ in edges)]
    for k, name in enumerate(leaves or [list(nodes)[-1]]):
        nodes[f"out{k}"] = nir.Output({"output": np.array(made[name])})
        edges.append((name, f"out{k}"))
    return nir.NIRGraph(nodes, edges, type_check=False), inputs


def _close_cycles(
    draw: st.DrawFn,
    nodes: dict[str, nir.NIRNode],
    edges: list[tuple[str, str]],
    made: dict[str, Shape],
    reads: dict[str, Shape],
) -> None:
    for _ in range(draw(st.integers(0, 3))):
        possible = [(a, b) for a in made for b in reads if reads[b] == made[a] and (a, b) not in edges]
        if possible:
            edge = draw(st.sampled_from(possible))
            if not _linear_cycle(nodes, [*edges, edge]):
                edges.append(edge)


def _wrap(draw: st.DrawFn, numbers: GraphNumbers, nodes: dict[str, nir.NIRNode], made: dict[str, Shape]) -> None:
    """Put a neuron into a sub-graph, with a linear node and recurrence of its own, two graphs deep."""
    inside = [n for n, node in nodes.items() if hasattr(node, "v_threshold") or isinstance(node, nir.LI)]
    if not inside:
        return
    name = draw(st.sampled_from(inside))
    ports = {
        "input": nir.Input({"input": np.array(made[name])}),
        "output": nir.Output({"output": np.array(made[name])}),
    }
    size = made[name][0]
    back = (
        nir.Affine(numbers.weights(size, size), numbers.weights(size))
        if made[name] == (size,)
        else nir.Scale(numbers.of([0.5, -0.5], made[name], "neuron"))
    )
    inner = nir.NIRGraph(
        {**ports, "cell": nodes[name], "back": back},
        [("input", "cell"), ("cell", "back"), ("back", "cell"), ("cell", "output")],
        type_check=False,
    )
    outer = {k: type(v)({k: np.array(made[name])}) for k, v in ports.items()}
    nodes[name] = nir.NIRGraph({**outer, "deep": inner}, [("input", "deep"), ("deep", "output")], type_check=False)
