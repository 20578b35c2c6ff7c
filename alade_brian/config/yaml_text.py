"""Read YAML that people write: plain values only, and no more of them than the text shows.

An alias stands for what its anchor holds. Nested, a few lines of aliases stand for more values than any memory holds,
and an anchor that contains its alias stands for values without end; so does text that is nested too deeply for Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from alade_brian.errors import UserError
from alade_brian.files import MOST_YAML_BYTES, read_bytes

# Far above any configuration or grid.
MOST_VALUES = 100_000
DEEPEST = 50
# Of a path, which is the longest text that there is.
LONGEST_TEXT = 4096


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises OSError if it is no plain file that can be read, ValueError or
    `yaml.YAMLError` if it is not valid YAML."""
    return parse_yaml(read_bytes(path, MOST_YAML_BYTES).decode("utf-8"))


def parse_yaml(text: str) -> Any:
    """The value that YAML text stands for. Raises ValueError or `yaml.YAMLError` if it is not valid YAML, is nested too
    deeply, or its aliases multiply it beyond `MOST_VALUES`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 0, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # what PyYAML raises for wrong explicit tags
        raise ValueError(f"a value is not of its tag: {error}") from None
    finally:
        loader.dispose()


def _count(node: yaml.Node, depth: int, known: dict[int, int]) -> int:
    """The number of values that a node stands for, aliases included; `known` are those counted already."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if id(node) not in known:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_count(part, depth + 1, known) for part in parts)
        if known[id(node)] > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return known[id(node)]


def reason_of(error: yaml.YAMLError | ValueError) -> str:
    """Where and why text is not valid YAML, in a few words, or an empty string."""
    where = getattr(error, "problem_mark", None)
    if where is not None:
        return f" in line {where.line + 1}"
    return "" if isinstance(error, yaml.YAMLError | UnicodeError) or not str(error) else f" ({error})"


def check_text(text: str, what: str) -> str:
    """A text that can be a name or a path; UserError if it holds what no file or page can."""
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{what} is text of {len(text):,} characters; use at most {LONGEST_TEXT:,}")
    if not text.isprintable():
        raise UserError(f"{what} is {text!a}; it needs text of printable characters")
    return text
