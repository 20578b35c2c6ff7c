"""The order of a NIR graph's nodes within a time step, and which edges close a cycle.

The graph is walked from its inputs, depth first, along the edges in their order. An edge that leads back to a node
through which the walk came closes a cycle: what the neurons of the cycle send arrives over it one step later. A bias on
the way, and what comes from outside the cycle, does not wait. All other edges act in the same step, and the nodes are
ordered so that each stands behind those it hears in the same step.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence

Edge = tuple[str, str]


def late_edges(starts: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a cycle, seen from the nodes `starts`, and then from nodes that those do not reach."""
    following = _following(edges)
    late: set[Edge] = set()
    done: set[str] = set()
    for start in (*starts, *following):
        if start not in done:
            _walk(start, following, done, late)
    return late


def _walk(start: str, following: dict[str, list[str]], done: set[str], late: set[Edge]) -> None:
    """Depth first from a node, without recursion: `path` holds the nodes through which the walk came."""
    path = {start}
    stack = [(start, iter(following.get(start, ())))]
    while stack:
        node, rest = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            path.discard(node)
            done.add(node)
        elif step in path:
            late.add((node, step))
        elif step not in done:
            path.add(step)
            stack.append((step, iter(following.get(step, ()))))


def step_order(nodes: Sequence[str], edges: Iterable[Edge], late: set[Edge]) -> list[str]:
    """The nodes, each behind those it hears in the same step; among several that could come next, the first of
    `nodes`."""
    place = {name: number for number, name in enumerate(nodes)}
    prompt = [edge for edge in edges if edge not in late]
    following, waiting = _following(prompt), dict.fromkeys(nodes, 0)
    for _, end in prompt:
        waiting[end] += 1
    ready = [place[name] for name in nodes if not waiting[name]]
    heapq.heapify(ready)
    order = []
    while ready:
        name = nodes[heapq.heappop(ready)]
        order.append(name)
        for end in following.get(name, ()):
            waiting[end] -= 1
            if not waiting[end]:
                heapq.heappush(ready, place[end])
    return order


def prompt_through(edges: Sequence[Edge], late: set[Edge]) -> set[Edge]:
    """Pairs of nodes of which the first acts on the second in the same step, although only over a late edge: it lies
    outside the cycle, so that what it sends does not wait."""
    backward = [(end, start) for start, end in edges]
    pairs: set[Edge] = set()
    for start, end in late:
        outside = reached([start], backward) - reached([end], edges)
        pairs |= {(name, end) for name in outside}
    return pairs


def reached(starts: Iterable[str], edges: Iterable[Edge]) -> set[str]:
    """The nodes to which a way leads from the nodes `starts`, those included."""
    following = _following(edges)
    found, waiting = set(starts), list(starts)
    while waiting:
        for end in following.get(waiting.pop(), ()):
            if end not in found:
                found.add(end)
                waiting.append(end)
    return found


def cycle_among(nodes: set[str], edges: Iterable[Edge]) -> list[str]:
    """The nodes of one cycle that stays within `nodes`; empty where there is none."""
    inside = [(a, b) for a, b in edges if a in nodes and b in nodes]
    for start, end in sorted(late_edges((), inside)):
        back = _path(end, start, _following(inside))
        if back:
            return back
    return []


def _path(start: str, end: str, following: dict[str, list[str]]) -> list[str]:
    came = {start: start}
    waiting = [start]
    for node in waiting:
        if node == end:
            path = [end]
            while path[-1] != start:
                path.append(came[path[-1]])
            return path[::-1]
        for step in following.get(node, ()):
            if step not in came:
                came[step] = node
                waiting.append(step)
    return []


def _following(edges: Iterable[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        found[start].append(end)
    return dict(found)
