"""The side of the other Python: read a network from files, answer to the images that come through a pipe.

... FOLDER                           serve the network that `bridge.Bridge` left in a folder
... --check BACKEND CONNECTIVITY     say whether this Python can simulate in that way
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alade_brian.errors import UserError
from alade_brian.simulation.engines.make import make_engine
from alade_brian.simulation.other_python.messages import SETTINGS, SPEC, answer_parts, frame, read_frame
from alade_brian.simulation.planning import check_machine, draft_plan
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec import SpecError
from alade_brian.spec.file import load_spec


def main(arguments: list[str]) -> None:
    """What the command line asks for."""
    questions, answers = sys.stdin.buffer, _own_output()
    if arguments[0] == "--check":
        answers.write(json.dumps({"refusal": _refusal(*arguments[1:])}).encode())
        answers.flush()
        return
    try:
        _serve(Path(arguments[0]), questions, answers)
    except (UserError, SpecError) as error:
        answers.write(frame(error=str(error)))
        answers.flush()


def _own_output() -> BinaryIO:
    """Standard output for answers alone: what libraries print goes where errors go."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _refusal(backend: str, connectivity: str) -> str | None:
    try:
        check_machine(SimulationSettings(backend=backend, connectivity=connectivity, python=Path(sys.executable)))
    except UserError as error:
        return str(error)
    return None


def _serve(folder: Path, questions: BinaryIO, answers: BinaryIO) -> None:
    spec, given = load_spec(folder / SPEC), json.loads((folder / SETTINGS).read_text())
    paths = {"cache": Path(given["settings"]["cache"]), "python": Path(sys.executable)}
    settings = SimulationSettings(**given["settings"] | paths)
    engine, images = make_engine(draft_plan(spec, settings), given["traces"])

    def exactly(size: int) -> bytes:
        found = questions.read(size)
        if len(found) < size:
            # Nobody asks any more.
            os._exit(0)
        return found

    def blocks() -> Iterator[np.ndarray]:
        while "pixels" in (message := read_frame(exactly)):
            yield message["pixels"]

    answers.write(frame(compiled=engine.compiled, images=images))
    answers.flush()
    while True:
        for answer in engine.stream(blocks(), bool(read_frame(exactly)["record"])):
            answers.write(frame(**answer_parts(answer)))
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
