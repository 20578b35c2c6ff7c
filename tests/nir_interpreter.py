"""NIR graphs run by numpy alone, node by node and edge by edge: what the reader is held against.

It shares nothing with the reader: it knows no specification, no operators and no order of populations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import nir
import numpy as np

Edge = tuple[str, str]
CONSTANT = ""


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


def leads(start: str, end: str, edges: list[Edge]) -> bool:
    """Whether a way leads from one node to another, or they are the same."""
    seen, waiting = {start}, [start]
    for node in waiting:
        more = [b for a, b in edges if a == node and b not in seen]
        seen |= set(more)
        waiting += more
    return end in seen


def has_state(node: nir.NIRNode) -> bool:
    """Whether a node is a neuron."""
    return isinstance(node, nir.IF | nir.LIF | nir.I | nir.LI | nir.CubaLIF | nir.CubaLI | nir.Threshold)


class NirInterpreter:
    """What a node sends is kept in parts by their origin: a neuron, an input, or (CONSTANT) the biases on the way. Over
    an edge that closes a cycle the parts of the cycle's neurons come one step late, and no others."""

    def __init__(self, graph: nir.NIRGraph, dt: float, method: str) -> None:
        self.nodes, self.edges = unfold(graph)
        self.dt, self.method = dt, method
        first = list(dict.fromkeys(end for edge in self.edges for end in edge))
        self.inputs = [n for n in first if n in graph.nodes and isinstance(self.nodes[n], nir.Input)]
        self.late = closing(self.inputs, self.edges)
        self.origins = [CONSTANT, *(n for n in self.nodes if n in self.inputs or has_state(self.nodes[n]))]
        self.cycle = {(o, end) for _, end in self.late for o in self.origins if leads(end, o, self.edges)}
        self.state: dict[tuple[str, str], np.ndarray | float] = {}
        self.parts: dict[tuple[str, str, int], np.ndarray] = {}
        self.run_ = Run()

    def run(self, shown: dict[str, np.ndarray]) -> Run:
        """`shown` by input: ``(steps, *shape)``."""
        self.silence = {name: np.zeros(array.shape[1:]) for name, array in shown.items()}
        while len(self.silence) < len(self.nodes):
            for start, end in self.edges:
                if start in self.silence and end not in self.silence:
                    silent = self.linear(end, self.silence[start], CONSTANT)
                    self.silence[end] = np.zeros(np.shape(silent))
        for t in range(len(next(iter(shown.values())))):
            for name in self.inputs:
                self.parts[name, name, t] = shown[name][t]
            for name in self.nodes:
                sent = sum((self.part(name, o, t) for o in self.origins), self.silence[name])
                self.run_.sent.setdefault(name, []).append(sent)
        return self.run_

    def part(self, name: str, origin: str, t: int) -> np.ndarray:
        """What of a node's output at step t goes back to that origin."""
        if t < 0 or (name in self.origins and name != origin):
            return self.silence[name]
        if (name, origin, t) not in self.parts:
            if name == origin:
                whole = sum((self.incoming(name, o, t) for o in self.origins), np.zeros(()))
                self.parts[name, origin, t] = np.asarray(self.neuron(name, self.nodes[name], whole), dtype=float)
            elif isinstance(self.nodes[name], nir.Delay):
                self.parts[name, origin, t] = self.delayed(name, origin, t)
            else:
                self.parts[name, origin, t] = self.linear(name, self.incoming(name, origin, t), origin)
        return self.parts[name, origin, t]

    def incoming(self, name: str, origin: str, t: int) -> np.ndarray:
        starts = [start for start, end in self.edges if end == name]
        ago = {s: int((s, name) in self.late and (origin, name) in self.cycle) for s in starts}
        return sum((self.part(s, origin, t - ago[s]) for s in starts), np.zeros(()))

    def delayed(self, name: str, origin: str, t: int) -> np.ndarray:
        steps = np.broadcast_to(np.round(self.nodes[name].delay / self.dt).astype(int), self.silence[name].shape)
        out = np.zeros(steps.shape)
        for index, d in np.ndenumerate(steps):
            out[index] = np.broadcast_to(self.incoming(name, origin, t - d), steps.shape)[index] if t >= d else 0.0
        return out

    def keep(self, tau: np.ndarray) -> np.ndarray:
        return self.dt / tau if self.method == "euler" else 1 - np.exp(-self.dt / tau)

    def linear(self, name: str, x, origin: str):  # type: ignore[no-untyped-def]
        node, constant = self.nodes[name], float(origin == CONSTANT)
        match node:
            case nir.Linear():
                return np.einsum("...ij,...j->...i", node.weight, x)
            case nir.Affine():
                return np.einsum("...ij,...j->...i", node.weight, x) + constant * node.bias
            case nir.Scale():
                return node.scale * x
            case nir.Flatten():
                x = np.asarray(x)
                end = node.end_dim + x.ndim if node.end_dim < 0 else node.end_dim
                return x.reshape(*x.shape[: node.start_dim], -1, *x.shape[end + 1 :])
            case nir.Conv1d():
                bias = constant * node.bias[:, None]
                return convolve(node, x[:, None, :], node.weight[:, :, None, :], (0, 1))[:, 0] + bias
            case nir.Conv2d():
                return convolve(node, x, node.weight, (0, 1)) + constant * node.bias[:, None, None]
            case nir.SumPool2d() | nir.AvgPool2d():
                return pool(node, x)
            case _:
                return x

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
