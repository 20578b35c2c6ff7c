"""The run folder: what lies where, the resolved configuration, the environment, and how a run goes on after a stop."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from alade_brian import files
from alade_brian.analysis.metrics.metrics_file import TASK
from alade_brian.config.run import RunConfig, config_from, differing_keys, to_mapping
from alade_brian.config.yaml_text import read_yaml
from alade_brian.content import NOTHING, fault, first_line
from alade_brian.errors import UserError
from alade_brian.files import is_there, write_bytes, write_json, write_text
from alade_brian.machine import processor
from alade_brian.outputs import is_unused, remove_unfinished

log = logging.getLogger(__name__)

FORMAT = 3
# What is needed of `resume.pt` and `resume-epoch.pt`; the method checks what it put there itself.
_STATE: Mapping[str, Any] = {
    "task": int, "checkpoint_sha256": str, "tasks": [TASK], "method": {str: object},
    "memory": {"size": int, "per_class": (int, NOTHING), "lists": {int: [int]}},
}  # fmt: skip
_PROGRESS: Mapping[str, Any] = {
    "task": int,
    "state": {"stage": int, "history": list, "before": {str: object}, "now": {str: object}, "fitting": {str: object}},
}
PACKAGES = ("alade-brian", "brian2", "torch", "numpy", "scipy", "scikit-learn", "nir", "safetensors", "matplotlib")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    def checkpoint(self, task: int) -> Path:
        return self.path / "checkpoints" / f"task-{task:02d}.safetensors"

    def companion(self, task: int, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}-{task:02d}.safetensors"

    def spikes(self, task: int) -> Path:
        return self.path / "spikes" / f"task-{task:02d}.npz"

    def membranes(self, task: int) -> Path:
        return self.path / "membranes" / f"task-{task:02d}.npz"

    def nir(self, task: int) -> Path:
        return self.path / "models" / f"task-{task:02d}.nir"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def _config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def _environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def _resume(self) -> Path:
        return self.path / "resume.pt"

    @property
    def _progress(self) -> Path:
        return self.path / "resume-epoch.pt"

    def check_unused(self) -> None:
        """UserError if the folder holds anything of value."""
        if not is_unused(self.path):
            raise UserError(
                f"{self.path} holds another run or other files; resume it with --resume, or choose another folder with "
                "--out"
            )

    def begin(self, config: RunConfig) -> None:
        """Claim an empty or new folder for a run."""
        self.check_unused()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.path)
            write_text(self._config, yaml.safe_dump(to_mapping(config), sort_keys=False))
            write_json(self._environment, environment() | {"plugins": config.plugins})
        except OSError as error:
            raise UserError(
                f"the run folder {self.path} cannot be written ({error.strerror}); choose another with --out"
            ) from None

    def stored_config(self) -> dict[str, Any]:
        """The resolved configuration of the run in this folder."""
        if not self._config.is_file():
            raise UserError(
                f"{self.path} holds no run to resume (no config.yaml in it); leave out --resume, or name another "
                "folder with --out"
            )
        try:
            content = read_yaml(self._config)
            return to_mapping(config_from(content, str(self._config)))
        except (yaml.YAMLError, OSError, ValueError):
            raise UserError(
                f"{self._config} is damaged; restore it, or start again in another folder with --out"
            ) from None

    def check_same(self, config: RunConfig) -> None:
        """UserError that names the keys in which a configuration differs from this run's."""
        keys = differing_keys(self.stored_config(), to_mapping(config))
        if keys:
            raise UserError(
                f"the run in {self.path} was started with another value of {', '.join(keys)}; resume it without "
                "changing that, or use another --out"
            )
        before, now = self._recorded("plugins") or {}, config.plugins
        changed = [name for name, content in now.items() if before.get(name) != content]
        if changed:
            raise UserError(
                f"{', '.join(changed)} has changed since the run in {self.path} was started; restore the file, or use "
                "another --out"
            )

    def threads(self) -> int | None:
        """The number of threads of torch that the run was begun with; None where that is not known."""
        return self._recorded("torch_threads")

    def _recorded(self, key: str) -> Any:
        """A fact of the environment that the run was begun in; None if it is not known."""
        file = self._environment
        if not _is_there(file):
            return None
        content = read_json(file)
        if not isinstance(content, dict):
            raise UserError(f"{file} is damaged (it holds no keys); restore it, or start again in another folder")
        return content.get(key)

    def warn_of_threads(self) -> None:
        """Say it where sums will be rounded in another order than in the part of the run that is done."""
        before, now = self.threads(), torch.get_num_threads()
        if before is not None and before != now:
            log.warning(
                "%s was begun with %d threads of torch and goes on with %d: what it learns will differ in its last "
                "digits from a run without interruption; OMP_NUM_THREADS=%d keeps them equal",
                self.path, before, now, before,
            )  # fmt: skip

    def save_state(self, task: int, state: Mapping[str, Any]) -> None:
        """Note that a task is complete: the last thing written for it."""
        content = {"format": FORMAT, "task": task, "checkpoint_sha256": _sha256(self.checkpoint(task)), **state}
        _save(self._resume, content)
        self._progress.unlink(missing_ok=True)

    def save_progress(self, task: int, state: Mapping[str, Any]) -> None:
        """Note where a task stands between two epochs."""
        _save(self._progress, {"format": FORMAT, "task": task, "state": dict(state)})

    def load_progress(self, task: int) -> dict[str, Any] | None:
        """What `save_progress` wrote last for this task, or None; UserError where it is damaged."""
        if not _is_there(self._progress):
            return None
        content = self._load(self._progress, _PROGRESS)
        # A run may be stopped after a task was noted as complete and before this file was deleted.
        return content["state"] if content["task"] == task else None

    def load_state(self) -> dict[str, Any] | None:
        """What `save_state` wrote last, or None where no task was completed yet; UserError where it is damaged."""
        if not _is_there(self._resume):
            return None
        state = self._load(self._resume, _STATE)
        if len(state["tasks"]) != state["task"]:
            raise UserError(
                f"{self._resume} is damaged (it holds {len(state['tasks'])} tasks, not {state['task']}); restore "
                "it, or start anew in another folder with --out"
            )
        checkpoint = self.checkpoint(state["task"])
        if not checkpoint.is_file() or _sha256(checkpoint) != state["checkpoint_sha256"]:
            raise UserError(
                f"the checkpoint {checkpoint} is missing or damaged; restore it, or start anew in another folder "
                "with --out"
            )
        return state

    def _load(self, file: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
        try:
            state = torch.load(file, weights_only=True)
            found = state["format"]
        except Exception as error:  # torch raises many kinds for a damaged file
            reason = first_line(error)
            raise UserError(
                f"{file} is damaged ({reason}); restore it, or start anew in another folder with --out"
            ) from None
        if found != FORMAT:
            raise UserError(
                f"{file} has format {found}, this version reads {FORMAT}; resume the run with the version that began "
                "it, or start anew in another folder with --out"
            )
        wrong = fault(state, expected)
        if wrong is not None:
            raise UserError(f"{file} is damaged ({wrong}); restore it, or start anew in another folder with --out")
        return state

    def log_to_file(self) -> logging.Handler:
        """Append the package's log to run.log; the caller removes the handler."""
        handler = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger = logging.getLogger("alade_brian")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        return handler


def environment() -> dict[str, Any]:
    """Versions, git commit and processor, for the record of a run."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "packages": versions,
        "git_commit": _git_commit(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def read_json(path: Path) -> Any:
    """A JSON file's content; UserError where it is missing or damaged."""
    try:
        return files.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it or run again") from None


def _is_there(path: Path) -> bool:
    """Whether one of a run's files exists; UserError where something else has its name."""
    try:
        return is_there(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); restore it, or start anew in another folder with --out"
        ) from None


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _save(path: Path, content: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_bytes(path, buffer.getvalue())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
