"""A neuron's step that a network's own forward spells out: its lines as a module, for the refusal that asks for one."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable

from torch import fx

from alade_brian.conversion.from_torch.places import SOURCE

COMPARISONS = frozenset({"gt", "ge", "lt", "le"})
_STEP = COMPARISONS | {
    "add", "sub", "mul", "truediv", "div", "neg", "to", "float", "double", "type_as", "detach", "rsub", "where",
    "setitem",
}  # fmt: skip


def as_module(comparison: fx.Node) -> str:
    """The lines around a comparison of the state as a module of one step; empty where they are no such lines.

    comparison   the node of a trace that compares
    """
    functions: dict[tuple[str, str], set[int]] = {}
    for file, line, function in (node.meta[SOURCE] for node in _step_of(comparison) if node.meta.get(SOURCE)):
        functions.setdefault((file, function), set()).add(line)
    own = len(comparison.meta.get("nn_module_stack") or ()) < 2
    # A surrogate's lines are those of another function.
    made = (_written_as_module(file, sorted(lines), own) for (file, _), lines in functions.items())
    return next((text for text in made if text), "")


def _written_as_module(file: str, lines: list[int], own: bool) -> str:
    """The lines as a module; `own` says that they stand in the network's own forward, not in that of a part of it."""
    statements = [(line, each) for line in lines if (each := _assignment(file, line))]
    states = [target for _, each in statements if (target := _target(each))]
    if len(statements) < 2 or len(set(states)) != 2 or not _reads(statements[0][1].value, states[0]):
        return ""
    mem, spikes = states[0], next(target for target in states if target != states[0])
    before = [ast.unparse(each) for _, each in statements]
    shown = [(line, _with_current(each, mem)) for line, each in statements]
    given = "current"
    if before == [ast.unparse(each) for _, each in shown]:
        # Without a call of a layer among them, the lines read one other name.
        others = {n.id for _, each in shown for n in ast.walk(each) if isinstance(n, ast.Name)} - {mem, spikes, "self"}
        if not own or len(others) != 1:
            return ""
        given = others.pop()
    code = [f"        {ast.unparse(each)}  # line {line}" for line, each in shown]
    return "\n    ".join(
        [
            "a neuron written in the network's own forward is understood as a module of one step; write",
            "class Neuron(nn.Module):",
            f"    def forward(self, {given}, {mem}):",
            *code,
            f"        return {spikes}, {mem}",
            f"and call {spikes}, {mem} = self.neuron({given}, {mem}) in the loop",
        ]
    )


def _step_of(comparison: fx.Node) -> Iterable[fx.Node]:
    """The nodes of the step that a comparison belongs to: what it compares, and what is made of it up to the next."""
    found: set[fx.Node] = set()
    waiting = [(comparison, False), (comparison, True)]
    while waiting:
        node, onward = waiting.pop()
        found.add(node)
        beside = node.users if onward else node.all_input_nodes
        for other in beside:
            name = getattr(other.target, "__name__", other.target)
            if other not in found and other.op != "call_module" and name in _STEP - (COMPARISONS if onward else set()):
                waiting.append((other, onward))
    return found


def _assignment(file: str, line: int) -> ast.Assign | ast.AugAssign | None:
    """The assignment that stands on one line; None where there is something else."""
    try:
        body = ast.parse(linecache.getline(file, line).strip()).body
    except SyntaxError:
        return None
    return body[0] if len(body) == 1 and isinstance(body[0], ast.Assign | ast.AugAssign) else None


def _target(statement: ast.Assign | ast.AugAssign) -> str:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _reads(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _with_current(statement: ast.Assign | ast.AugAssign, state: str) -> ast.AST:
    """A statement in which calls of layers, which do not read the state, are the argument `current`."""

    class Replaced(ast.NodeTransformer):
        def visit_Call(self, call: ast.Call) -> ast.AST:
            layer = isinstance(call.func, ast.Attribute) and _reads(call.func, "self") and not _reads(call, state)
            return ast.Name("current") if layer else self.generic_visit(call)

    return ast.fix_missing_locations(Replaced().visit(statement))
