"""What a network is to learn, classes or values: one object for each knows its metrics, keys, tables and figures.

A new kind of problem is a class in a file of its own and a line below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alade_brian.analysis.problems.classification import Classification
from alade_brian.analysis.problems.problem import Measure, Problem, Tested
from alade_brian.analysis.problems.regression import Regression
from alade_brian.registry import Registry

__all__ = ["PROBLEMS", "Classification", "Measure", "Problem", "Regression", "Tested", "problem_of"]

PROBLEMS: Registry[str, Problem] = Registry(
    "problem", {problem.name: problem for problem in (Classification(), Regression())}
)


def problem_of(found: Mapping[str, Any]) -> Problem:
    """The problem of the contents of a metrics.json, or of a study of perturbations; a classification if none is named.
    UserError where it is unknown."""
    return PROBLEMS.find(found.get("problem", Classification.name))
