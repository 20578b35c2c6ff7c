"""NIR graphs run by numpy alone, node by node and edge by edge: what the reader is held against.

It shares nothing with the reader: it knows no specification, no operators and no order of populations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import nir
import numpy as np

Edge = tuple[str, str]


@dataclass
class Run:
    """By node name and over the steps: spikes (bool), membranes behind the reset, and what every node sent."""

    spikes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    membranes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    sent: dict[str, list[np.ndarray]] = field(default_factory=dict)


def unfold(graph: nir.NIRGraph, prefix: str = "") -> tuple[dict[str, nir.NIRNode], list[Edge]]:
    """Nodes and edges with sub-graphs laid open; an edge to a sub-graph means its only Input, from it its only Output."""
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[Edge] = []

    def port(name: str, kind: type) -> str:
        node = graph.nodes[name]
        if not isinstance(node, nir.NIRGraph):
            return f"{prefix}{name}"
        (inner,) = [key for key, value in node.nodes.items() if isinstance(value, kind)]
        return f"{prefix}{name}.{inner}"

    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            inner_nodes, inner_edges = unfold(node, f"{prefix}{name}.")
            nodes |= inner_nodes
            edges += inner_edges
        else:
            nodes[f"{prefix}{name}"] = node
    edges += [(port(a, nir.Output), port(b, nir.Input)) for a, b in graph.edges]
    return nodes, edges


def closing(inputs: list[str], edges: list[Edge]) -> set[Edge]:
    """Edges that close a cycle: in a walk from the inputs, those that lead back to a node on the way."""
    late, seen = set(), set()

    def walk(node: str, way: tuple[str, ...]) -> None:
        seen.add(node)
        for start, end in edges:
            if start == node and end in (*way, node):
                late.add((start, end))
            elif start == node and end not in seen:
                walk(end, (*way, node))

    for name in inputs:
        if name not in seen:
            walk(name, ())
    return late


class Interpreter:
    def __init__(self, graph: nir.NIRGraph, dt: float, method: str) -> None:
        self.nodes, self.edges = unfold(graph)
        self.dt, self.method = dt, method
        first = list(dict.fromkeys(end for edge in self.edges for end in edge))
        self.inputs = [n for n in first if n in graph.nodes and isinstance(self.nodes[n], nir.Input)]
        self.late = closing(self.inputs, self.edges)
        self.state: dict[tuple[str, str], np.ndarray | float] = {}
        self.came: dict[str, list[np.ndarray]] = {}
        self.run_ = Run()

    def run(self, shown: dict[str, np.ndarray]) -> Run:
        """`shown` by input: ``(steps, *shape)``."""
        steps = len(next(iter(shown.values())))
        for t in range(steps):
            now: dict[str, np.ndarray] = {name: shown[name][t] for name in self.inputs}
            for name in self.nodes:
                self.value(name, now, t)
            for name, value in now.items():
                self.run_.sent.setdefault(name, []).append(value)
        return self.run_

    def value(self, name: str, now: dict[str, np.ndarray], t: int) -> np.ndarray:
        if name not in now:
            total: np.ndarray | float = 0.0
            for start, end in self.edges:
                if end == name and (start, end) in self.late:
                    total = total + (self.run_.sent[start][t - 1] if t else 0.0)
                elif end == name:
                    total = total + self.value(start, now, t)
            now[name] = np.asarray(self.step(name, total, t), dtype=float)
        return now[name]

    def keep(self, tau: np.ndarray) -> np.ndarray:
        return self.dt / tau if self.method == "euler" else 1 - np.exp(-self.dt / tau)

    def step(self, name: str, x, t: int):  # type: ignore[no-untyped-def]
        node = self.nodes[name]
        match node:
            case nir.Linear():
                return np.einsum("...ij,...j->...i", node.weight, x)
            case nir.Affine():
                return np.einsum("...ij,...j->...i", node.weight, x) + node.bias
            case nir.Scale():
                return node.scale * x
            case nir.Flatten():
                x = np.asarray(x)
                end = node.end_dim + x.ndim if node.end_dim < 0 else node.end_dim
                return x.reshape(*x.shape[: node.start_dim], -1, *x.shape[end + 1 :])
            case nir.Conv1d():
                bias = node.bias[:, None]
                return convolve(node, x[:, None, :], node.weight[:, :, None, :], (0, 1))[:, 0] + bias
            case nir.Conv2d():
                return convolve(node, x, node.weight, (0, 1)) + node.bias[:, None, None]
            case nir.SumPool2d() | nir.AvgPool2d():
                return pool(node, x)
            case nir.Delay():
                return self.delayed(name, x, t)
            case nir.Input() | nir.Output():
                return x
            case _:
                return self.neuron(name, node, x)

    def delayed(self, name: str, x, t: int):  # type: ignore[no-untyped-def]
        node = self.nodes[name]
        came = self.came.setdefault(name, [])
        came.append(np.asarray(x, dtype=float))
        steps = np.broadcast_to(np.round(node.delay / self.dt).astype(int), came[0].shape)
        out = np.zeros(came[0].shape)
        for index, d in np.ndenumerate(steps):
            out[index] = came[t - d][index] if t >= d else 0.0
        return out

    def neuron(self, name: str, node, x):  # type: ignore[no-untyped-def]
        v = self.state.get((name, "v"), 0.0)
        match node:
            case nir.Threshold():
                v = x + 0.0 * node.threshold
            case nir.IF() | nir.I():
                v = v + self.dt * node.r * x
            case nir.LIF() | nir.LI():
                v = v + self.keep(node.tau) * (node.v_leak - v + node.r * x)
            case nir.CubaLIF() | nir.CubaLI():
                syn = self.state.get((name, "syn"), 0.0)
                syn = syn + self.keep(node.tau_syn) * (node.w_in * x - syn)
                self.state[name, "syn"] = syn
                v = v + self.keep(node.tau_mem) * (node.v_leak - v + node.r * syn)
        fires = hasattr(node, "v_threshold") or isinstance(node, nir.Threshold)
        if not fires:
            self.state[name, "v"] = v
            self.run_.membranes.setdefault(name, []).append(np.array(v))
            return v
        z = v > (node.threshold if isinstance(node, nir.Threshold) else node.v_threshold)
        v = v if isinstance(node, nir.Threshold) else np.where(z, node.v_reset, v)
        self.state[name, "v"] = v
        self.run_.membranes.setdefault(name, []).append(np.array(v))
        self.run_.spikes.setdefault(name, []).append(z)
        return z


def _two(value: object) -> tuple[int, int]:
    first, second = np.broadcast_to(np.asarray(value), (2,))
    return int(first), int(second)


def padded(
    node, x: np.ndarray, kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:  # type: ignore[no-untyped-def]
    if isinstance(node.padding, str):
        total = [d * (k - 1) if node.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        around = [(n // 2, n - n // 2) for n in total]
    else:
        pads = _two(node.padding) if x.shape[1] > 1 or not isinstance(node, nir.Conv1d) else (0, int(node.padding))
        around = [(n, n) for n in pads]
    return np.pad(x, ((0, 0), *around))


def convolve(node, x: np.ndarray, weight: np.ndarray, _: tuple[int, int]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Cross-correlation, output by output."""
    line = isinstance(node, nir.Conv1d)
    stride = (1, int(node.stride)) if line else _two(node.stride)
    dilation = (1, int(node.dilation)) if line else _two(node.dilation)
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    x = padded(node, x, kernel, dilation, stride)
    rows, columns = (
        (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[1:], dilation, kernel, stride, strict=True)
    )
    per_group, outs = weight.shape[1], weight.shape[0] // int(node.groups)
    out = np.zeros((weight.shape[0], rows, columns))
    for o, i, j in np.ndindex(out.shape):
        first = o // outs * per_group
        for ky, kx in np.ndindex(*kernel):
            pixel = x[first : first + per_group, i * stride[0] + ky * dilation[0], j * stride[1] + kx * dilation[1]]
            out[o, i, j] += weight[o, :, ky, kx] @ pixel
    return out


def pool(node, x: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    (kh, kw), (sh, sw), pads = _two(node.kernel_size), _two(node.stride), _two(node.padding)
    x = np.pad(x, ((0, 0), *((p, p) for p in pads)))
    rows, columns = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    out = np.zeros((x.shape[0], rows, columns))
    for i, j in np.ndindex(rows, columns):
        out[:, i, j] = x[:, i * sh : i * sh + kh, j * sw : j * sw + kw].sum((1, 2))
    return out / (kh * kw) if isinstance(node, nir.AvgPool2d) else out
