"""What two Pythons say to each other in files and through pipes: messages of named arrays, each behind its length."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping

import numpy as np

from alade_brian.spikes.packed import PackedResponses

# The files in the folder that is handed over.
SPEC, SETTINGS = "network.npz", "settings.json"
LENGTH = struct.Struct("<Q")
Message = Mapping[str, np.ndarray]


def frame(**parts: np.ndarray | str | int | bool) -> bytes:
    """A message as bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(part) for name, part in parts.items()})  # type: ignore[arg-type]
    return LENGTH.pack(buffer.tell()) + buffer.getvalue()


def read_frame(read: Callable[[int], bytes | np.ndarray]) -> Message:
    """The next message; `read` gives so many bytes."""
    (size,) = LENGTH.unpack(bytes(read(LENGTH.size)))
    with np.load(io.BytesIO(bytes(read(size))), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def answer_parts(answer: PackedResponses) -> dict[str, np.ndarray]:
    """An answer as the parts of a message."""
    parts = {f"spikes {name}": bits for name, bits in answer.spikes.items()}
    parts |= {f"trace {name}": values for name, values in answer.traces.items()}
    parts |= {f"shape {name}": np.array(shape) for name, shape in answer.shapes.items()}
    return parts | {"logits": answer.logits} | ({} if answer.events is None else {"events": answer.events})


def answer_from(message: Message) -> PackedResponses:
    """The answer in a message."""

    def named(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(f"{kind} "): part for name, part in message.items() if name.startswith(f"{kind} ")}

    shapes = {name: tuple(int(n) for n in shape) for name, shape in named("shape").items()}
    return PackedResponses(named("spikes"), shapes, message["logits"], named("trace"), message.get("events"))
