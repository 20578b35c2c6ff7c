"""Check what a file from outside holds, key by key, before anything of it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alade_brian.errors import UserError

# Numbers and sizes that fit into 64 bits.
LARGEST = 2**63
NOTHING = type(None)
NUMBER = float
# What code raises that is given the wrong content.
WRONG_CONTENT = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, UserError)
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "keys", list: "a list"}


def fault(content: Any, expected: Any, place: str = "it") -> str | None:
    """The first place where content is of another kind than expected, in words, or None.

    expected   a type (`int` is no bool, `float` takes whole numbers too); a tuple of several; ``[kind]``, a list of
               these; ``{type: kind}``, any keys of a type; ``{"key": kind, "other?": kind}``, these keys, of which
               those with a question mark may be missing, among others
    """
    if isinstance(expected, tuple):
        return None if any(fault(content, kind) is None for kind in expected) else f"{place} is {shown(content)}"
    if isinstance(expected, list):
        if not isinstance(content, list | tuple):
            return f"{place} is {shown(content)}, not a list"
        return _first(fault(each, expected[0], f"{place}[{n}]") for n, each in enumerate(content))
    if isinstance(expected, Mapping):
        if not isinstance(content, Mapping):
            return f"{place} is {shown(content)}, not keys with values"
        return _first(_faults(content, expected, place))
    right = isinstance(content, (int, float) if expected is float else expected)
    if not right or (isinstance(content, bool) and expected is not bool):
        return f"{place} is {shown(content)}, not {_WORDS.get(expected, expected.__name__)}"
    if isinstance(content, int | float) and not abs(content) < LARGEST and not isinstance(content, float):
        return f"{place} is {shown(content)}, which is too large"
    return None


@contextmanager
def wrong_content(sentence: str) -> Iterator[None]:
    """UserError, the sentence with the reason in place of ``{}``, where the block fails with content of a file."""
    try:
        yield
    except WRONG_CONTENT as error:
        raise UserError(sentence.replace("{}", first_line(error))) from error


def first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _faults(content: Mapping[Any, Any], expected: Mapping[Any, Any], place: str) -> Iterator[str | None]:
    for key, kind in expected.items():
        if isinstance(key, type):
            for name, value in content.items():
                yield fault(name, key, f"a key of {place}")
                yield fault(value, kind, f"{place}.{name}")
        elif (name := key.removesuffix("?")) in content:
            yield fault(content[name], kind, name if place == "it" else f"{place}.{name}")
        elif name == key:
            yield f"{place} lacks {key}"


def _first(faults: Iterator[str | None]) -> str | None:
    return next((found for found in faults if found is not None), None)


def shown(value: Any, most: int = 60) -> str:
    """A wrong value, in so many characters that it can be read in a sentence."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of several thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."
