"""What is converted and what is not, class by class, read from the registries: the table of the documentation."""

from __future__ import annotations

from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS, Framework, same_class
from alade_brian.conversion.from_torch.layers import is_refused_class
from alade_brian.conversion.from_torch.lowerings import LOWERINGS
from alade_brian.conversion.nir_graphs.linear import linear_kinds
from alade_brian.conversion.nir_graphs.neurons import neuron_kinds

FAITHFUL = "faithful"
UNSUPPORTED = "unsupported"


def framework_rows(framework: Framework) -> list[tuple[str, str, str]]:
    """(class, faithful or unsupported, how) for every layer class of a framework, in their order."""
    rows = []
    for cls, name in framework.classes.items():
        if same_class(cls, framework.neurons):
            rows.append((name, FAITHFUL, "as equations"))
        elif same_class(cls, framework.layers):
            rows.append((name, FAITHFUL, "as a layer of connections"))
        elif same_class(cls, framework.containers):
            rows.append((name, FAITHFUL, "its layers in their order"))
        elif is_refused_class(cls):
            rows.append((name, UNSUPPORTED, "differs from step to step"))
        elif cls in framework.refused:
            rows.append((name, UNSUPPORTED, framework.refused[cls]))
        else:
            rows.append((name, UNSUPPORTED, "no lowering"))
    return rows


def torch_rows() -> list[tuple[str, str, str]]:
    """The same for torch's own layers and this package's; whatever is not named is unsupported."""
    rows = []
    for cls, lowering in LOWERINGS.items():
        origin = "torch.nn" if cls.__module__.startswith("torch") else "alade_brian.models"
        rows.append((f"{origin}.{cls.__name__}", FAITHFUL, lowering.conditions))
    return sorted(rows)


def nir_rows() -> list[tuple[str, str, str]]:
    """The same for the nodes of NIR."""
    names = sorted({*linear_kinds(), *neuron_kinds(), "Input", "Output", "NIRGraph"})
    return [(name, FAITHFUL, "read and written") for name in names]


def markdown(title: str, rows: list[tuple[str, str, str]]) -> str:
    """Rows as a Markdown table; what is unsupported stands below it, in one line."""
    faithful = [row for row in rows if row[1] == FAITHFUL]
    lines = [f"### {title}", "", "| class | path | how |", "|---|---|---|"]
    lines += [f"| `{name}` | {path} | {how} |" for name, path, how in faithful]
    missing = ", ".join(f"`{name}`" for name, path, _ in rows if path == UNSUPPORTED)
    return "\n".join([*lines, *(["", f"Unsupported: {missing}."] if missing else [])])


def sections(frameworks: tuple[str, ...]) -> dict[str, str]:
    """Title and text of every section of the documentation's table, for torch, NIR and the frameworks named."""
    rows = {"torch.nn and alade_brian.models": torch_rows(), "NIR 1.0.8": nir_rows()}
    found = [FRAMEWORKS[name]() for name in frameworks]
    rows |= {f"{framework.title} {framework.version}": framework_rows(framework) for framework in found}
    return {title: markdown(title, each) for title, each in rows.items()}
