"""Records as `.npz` archives, written atomically; reading a faulty file raises one clear UserError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.errors import UserError
from alade_brian.files import replacing
from alade_brian.numpy_files import open_npz


def write_archive(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, compressed, atomically; OSError as the file system raises it."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


@contextmanager
def reading_archive(path: Path, what: str, lacking: str = "incomplete") -> Iterator[np.lib.npyio.NpzFile]:
    """Yield the arrays of a file by name to a block that builds a record from them.

    what      what the file should hold, for the message
    lacking   what a file is said to be that has not all names

    UserError where the file is missing or damaged, or the block cannot make a record of it: whatever KeyError,
    ValueError, TypeError or UserError it raises.
    """
    try:
        with open_npz(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"There is no {what} {path}.") from None
    except KeyError as error:
        raise UserError(f"The {what} {path} is {lacking}: {error.args[0]}.") from None
    except (OSError, ValueError, TypeError, UserError) as error:
        raise UserError(f"The {what} {path} is damaged or of another kind ({error}).") from error
