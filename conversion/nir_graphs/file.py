"""A NIR file, or a graph in memory, as a flat list of nodes and edges; everything damaged in it, listed at once.

`nir.read` stops at the first fault with whatever Python raises there, and its type check refuses valid graphs (grouped
convolutions), so the file's content is taken apart here and each node is made on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from nir.ir.graph import Identity as PassOn
from nir.serialization import hdf2dict

from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.nir_graphs.content import completed
from alade_brian.conversion.nir_graphs.links import check_tree
from alade_brian.conversion.refusals import Refusal
from alade_brian.errors import UserError

METADATA_KEY = "alade_brian"


class RefusedNodes(UserError):
    """Everything in a NIR graph that cannot be read: node, attribute, value and remedy, all at once."""

    def __init__(self, source: str, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        if len(self.refusals) == 1:
            super().__init__(f"{source}: {self.refusals[0]}")
        else:
            lines = [f"{source}: {len(self.refusals)} things cannot be read:", *(f"  {r}" for r in self.refusals)]
            super().__init__("\n".join(lines))


@dataclass(frozen=True)
class FlatGraph:
    """A NIR graph without sub-graphs: the nodes of a sub-graph stand under ``sub-graph.node``.

    inputs, outputs   the graph's own `Input` and `Output` nodes, in the order in which the edges first name them, or
                      those that stand for its open ends; those of sub-graphs are nodes that pass their input on
    metadata          that of the outermost graph
    """

    nodes: Mapping[str, nir.NIRNode]
    edges: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any]


def load_graph(source: Path | str | nir.NIRGraph) -> nir.NIRGraph:
    """The graph in a file (a graph is passed on as it is).

    UserError where there is no such file, it is no HDF5, refers to other files (see `links`) or is of a NIR version
    that is not known; RefusedNodes where nodes
    cannot be made of what stands in it.
    """
    if isinstance(source, nir.NIRGraph):
        return source
    path = Path(source)
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    try:
        with h5py.File(path, "r") as file:
            check_tree(file, path)
            version = file["version"][()] if "version" in file else None
            content = hdf2dict(file["node"]) if isinstance(file.get("node"), h5py.Group) else None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} is damaged or no HDF5 file ({reason}): write it again with nir.write") from None
    _check_version(path, version)
    if content is None:
        raise UserError(f"{path} holds no NIR graph (no group 'node'): write it again with nir.write")
    refusals: list[Refusal] = []
    graph = _node("graph", content, refusals)
    if graph is not None and not isinstance(graph, nir.NIRGraph):
        graph = nir.NIRGraph.from_list(graph, type_check=False)
    if refusals or graph is None:
        raise RefusedNodes(str(path), refusals)
    return graph


def _check_version(path: Path, version: object) -> None:
    text = version.decode("utf8", "replace") if isinstance(version, bytes) else str(version)
    if version is None or text.split(".")[0] not in ("0", "1"):
        said = "says no NIR version" if version is None else f"is of the NIR version '{text}'"
        raise UserError(f"{path} {said}, this program reads 0.x and 1.x: write it with the package nir, version 1")


def _node(name: str, content: Any, refusals: list[Refusal]) -> nir.NIRNode | None:
    """A node made of what a file says about it; None, and a refusal more, where that is not possible."""
    kind = content.get("type") if isinstance(content, Mapping) else None
    if isinstance(kind, str) and kind == "NIRGraph":
        return _subgraph(name, content, refusals)
    known = [k for k in nir.ir.__all__ if isinstance(getattr(nir, k), type) and k != "NIRNode"]
    if not isinstance(kind, str) or kind not in known:
        refusals.append(Refusal(f"node '{name}'", "type", repr(kind), f"is unknown; use one of {', '.join(known)}"))
        return None
    try:
        return nir.dict2NIRNode(completed(kind, content))
    except CannotLower as fault:
        refusals.append(Refusal(f"node '{name}'", fault.argument, str(fault.value), fault.remedy))
        return None
    except Exception as error:  # nir raises AssertionError, KeyError, TypeError, AttributeError and more
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).strip() or type(error).__name__
        refusals.append(
            Refusal(f"node '{name}'", "type", str(kind), f"cannot be made ({reason}); write the node again")
        )
        return None


def _subgraph(name: str, content: Mapping[str, Any], refusals: list[Refusal]) -> nir.NIRGraph | None:
    prefix = "" if name == "graph" else f"{name}."
    inner = content.get("nodes", {})
    if not isinstance(inner, Mapping) or not inner:
        refusals.append(
            Refusal(f"graph '{name}'", "nodes", "none", "are missing; write at least an Input and an Output")
        )
        return None
    made = {str(key): _node(f"{prefix}{key}", value, refusals) for key, value in inner.items()}
    edges = np.asarray(content.get("edges", np.zeros((0, 2))))
    if edges.ndim != 2 or edges.shape[1] != 2:
        refusals.append(Refusal(f"graph '{name}'", "edges", f"of shape {edges.shape}", "are no pairs of node names"))
        return None
    pairs = [(_text(a), _text(b)) for a, b in edges.tolist()]
    metadata = content.get("metadata", {})
    nodes = {key: node for key, node in made.items() if node is not None}
    return nir.NIRGraph(
        nodes, pairs, metadata=dict(metadata) if isinstance(metadata, Mapping) else {}, type_check=False
    )


def _text(name: object) -> str:
    return name.decode("utf8", "replace") if isinstance(name, bytes) else str(name)


def flatten(graph: nir.NIRGraph) -> FlatGraph:
    """The graph without sub-graphs. RefusedNodes where an edge's end cannot be found or names are used twice."""
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    refusals: list[Refusal] = []
    _unfold("", graph, nodes, edges, refusals)
    for edge in sorted({e for e in edges if edges.count(e) > 1}):
        refusals.append(Refusal("edge", "ends", f"'{edge[0]}' -> '{edge[1]}'", "stands there twice; keep one of them"))
    if refusals:
        raise RefusedNodes("the NIR graph", refusals)
    first, last = (_ports(graph, nodes, edges, port) for port in (nir.Input, nir.Output))
    named = list(dict.fromkeys([*(end for edge in edges for end in edge), *nodes]))
    ordered = {name: nodes[name] for name in named}
    inputs, outputs = (tuple(name for name in named if name in ports) for ports in (first, last))
    return FlatGraph(ordered, tuple(edges), inputs, outputs, graph.metadata or {})


def _ports(
    graph: nir.NIRGraph, nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], port: type[nir.NIRNode]
) -> set[str]:
    """The graph's own Input (or Output) nodes. Where it has none, one is added before every node that nothing leads to
    (behind every node that leads nowhere), as `nir` does; a sub-graph's open port is one itself."""
    own = {name for name, node in _named_nodes(graph).items() if isinstance(node, port)}
    if own:
        return own
    key, end = ("input", 1) if port is nir.Input else ("output", 0)
    joined = {edge[end] for edge in edges}
    for name in [name for name in nodes if name not in joined]:
        shape = (getattr(nodes[name], f"{key}_type", None) or {}).get(key)
        if isinstance(nodes[name], port):
            own.add(name)
        elif shape is not None and np.size(shape) and f"{key}_{name}" not in nodes:
            added = f"{key}_{name}"
            nodes[added] = port({key: np.asarray(shape)})
            edges.append((added, name) if port is nir.Input else (name, added))
            own.add(added)
    return own


def _unfold(
    prefix: str,
    graph: nir.NIRGraph,
    nodes: dict[str, nir.NIRNode],
    edges: list[tuple[str, str]],
    refusals: list[Refusal],
) -> None:
    held = _named_nodes(graph)
    for key, node in held.items():
        name = f"{prefix}{key}"
        if isinstance(node, nir.NIRGraph):
            _unfold(f"{name}.", node, nodes, edges, refusals)
        elif name in nodes:
            refusals.append(Refusal(f"node '{name}'", "name", repr(name), "is used twice; rename one of the two"))
        else:
            nodes[name] = node
    for a, b in graph.edges:
        start = _end(graph, held, prefix, _text(a), nir.Output, refusals)
        end = _end(graph, held, prefix, _text(b), nir.Input, refusals)
        if start is not None and end is not None:
            edges.append((f"{prefix}{start}", f"{prefix}{end}"))


def _named_nodes(graph: nir.NIRGraph) -> dict[str, nir.NIRNode]:
    """The nodes by name; a graph in memory may have numbers for names, which become text in a file."""
    return {_text(name): node for name, node in graph.nodes.items()}


def _end(
    graph: nir.NIRGraph,
    held: Mapping[str, nir.NIRNode],
    prefix: str,
    name: str,
    port: type[nir.NIRNode],
    refusals: list[Refusal],
) -> str | None:
    """The node that an edge's end means: a sub-graph stands for its only Input or Output, ``sub.port`` for one of
    several."""
    node = held.get(name)
    if isinstance(node, nir.NIRGraph):
        ports = [key for key, inner in _named_nodes(node).items() if isinstance(inner, port)]
        if len(ports) == 1:
            return f"{name}.{ports[0]}"
        refusals.append(
            Refusal(
                f"sub-graph '{name}'",
                port.__name__,
                f"{len(ports)} of them",
                "leaves open which one an edge means; give it one, or write the edge to 'sub-graph.node'",
            )
        )
        return None
    if node is not None:
        return name
    for outer, value in held.items():
        inner = name.removeprefix(f"{outer}.")
        if isinstance(value, nir.NIRGraph) and inner != name and isinstance(_named_nodes(value).get(inner), port):
            return name
    named = {_text(end) for edge in graph.edges for end in edge}
    unnamed = [repr(key) for key in held if key not in named]
    instead = f", or write {' or '.join(unnamed)}, which no edge names" if unnamed else ", or remove the edge"
    where = f"edge of sub-graph '{prefix.removesuffix('.')}'" if prefix else "edge"
    refusal = Refusal(where, "end", repr(name), f"is no node of the graph; add the node{instead}")
    if refusal not in refusals:
        refusals.append(refusal)
    return None


def passes_on(graph: FlatGraph, name: str) -> bool:
    """Whether a node only passes its input on: the ports of sub-graphs, and the graph's outputs."""
    node = graph.nodes[name]
    return isinstance(node, nir.Input | nir.Output | PassOn) and name not in graph.inputs
