"""The one kind of registry: entries by name, added by a decorator, found with an error that helps."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from alade_brian.errors import UserError

Key = TypeVar("Key")
Entry = TypeVar("Entry")


class Registry(Mapping[Key, Entry], Generic[Key, Entry]):
    """Entries by name (or by class), in the order in which they were registered; readers cannot change it.

    kind      what an entry is, as an error message calls it: "method"
    entries   the first entries; more are added by `register`
    also      what may stand in place of a name, for error messages: "path/to/file.py:Name"
    """

    def __init__(self, kind: str, entries: Mapping[Key, Entry] | None = None, *, also: tuple[str, ...] = ()) -> None:
        self.kind, self.also = kind, also
        self._entries: dict[Key, Entry] = dict(entries or {})

    def register(self, *names: Key) -> Callable[[Entry], Entry]:
        """A decorator that adds an entry under these names and returns it unchanged.

        ValueError if no name is given, or if one is taken: a second entry would silently replace the first.
        """
        if not names:
            raise ValueError(f"a {self.kind} needs a name to be registered under")

        def add(entry: Entry) -> Entry:
            taken = [_text(name) for name in names if name in self._entries]
            if taken or len(set(names)) != len(names):
                raise ValueError(f"the {self.kind} '{', '.join(taken or map(_text, names))}' is registered twice")
            self._entries.update(dict.fromkeys(names, entry))
            return entry

        return add

    def remove(self, *names: Key) -> None:
        """Take entries out again: for code that registers for a while only. KeyError if one is missing."""
        for name in names:
            del self._entries[name]

    def find(self, name: Key) -> Entry:
        """The entry of that name; UserError, with the nearest and all known names, if there is none."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(_text(name), list(map(_text, self._entries)), n=1)
        guess = f" (did you mean '{near[0]}'?)" if near else ""
        raise UserError(f"unknown {self.kind} '{_text(name)}'{guess}; use one of {self.choices}")

    @property
    def choices(self) -> str:
        """All names, and what may stand in place of one, for an error message or a help text."""
        return ", ".join([*map(_text, self._entries), *self.also])

    def for_class(self, cls: type) -> Entry | None:
        """The entry of a class or of the nearest class that it derives from; None if none is registered."""
        return next((self._entries[base] for base in cls.__mro__ if base in self._entries), None)

    def __getitem__(self, name: Key) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _text(name: object) -> str:
    return name.__name__ if isinstance(name, type) else str(name)
