"""A cluster by its address: Dask's ``tcp://host:8786`` (or tls, ucx, ws), Ray's ``ray://host:10001``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from alade_brian.errors import UserError

# Seconds for a cluster to answer, and for its first worker to come.
PATIENCE = 30
DASK_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")


def check_address(address: str) -> str:
    """The package that an address belongs to (UserError where it is none, or the package is missing)."""
    scheme = address.split("://")[0] if "://" in address else ""
    if scheme != "ray" and scheme not in DASK_SCHEMES:
        raise UserError(
            f"'{address}' is no address of a cluster; use tcp://HOST:PORT for Dask's scheduler or ray://HOST:PORT for "
            "Ray"
        )
    extra, module = ("ray", "ray") if scheme == "ray" else ("dask", "distributed")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"a {extra.capitalize()} cluster needs the package {module}; pip install 'alade-brian[{extra}]'"
        ) from error
    return extra


class Cluster:
    """A connection to a cluster (UserError where there is none to be had).

    in_order   whether answers come one by one while later ones are under way, or only all of a call at once
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._cluster: _Dask | _Ray = _Ray(address) if check_address(address) == "ray" else _Dask(address)

        self.in_order = isinstance(self._cluster, _Dask)

    def cores(self) -> int:
        """How many blocks the cluster can answer at once."""
        return self._cluster.cores()

    @contextmanager
    def serving(self, work: object) -> Iterator[None]:
        """Within it joblib hands out to the cluster; `work`, part of every task, is sent to a worker once."""
        with self._cluster.serving(work):
            try:
                yield
            except ModuleNotFoundError as error:
                raise UserError(
                    f"the workers of the cluster at {self.address} cannot import {error.name}; install alade_brian on "
                    "all of them"
                ) from error
            except self._cluster.lost as error:
                raise UserError(
                    f"the cluster at {self.address} was lost, or its workers kept dying ({error}); see its logs"
                ) from error


class _Dask:
    def __init__(self, address: str) -> None:
        self._distributed: Any = importlib.import_module("distributed")
        self.lost: tuple[type[BaseException], ...] = (
            OSError,
            self._distributed.scheduler.KilledWorker,
            self._distributed.client.FutureCancelledError,
        )
        try:
            self._client = self._distributed.Client(address, timeout=PATIENCE, set_as_default=False)
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError) as error:
            raise UserError(
                f"no cluster with a worker answers at {address} within {PATIENCE} s; check the address and the workers"
            ) from error

    def cores(self) -> int:
        return sum(self._client.ncores().values())

    @contextmanager
    def serving(self, work: object) -> Iterator[None]:
        with self._client.as_current(), joblib.parallel_config(backend="dask", client=self._client, scatter=[work]):
            yield


class _Ray:
    lost: tuple[type[BaseException], ...]

    def __init__(self, address: str) -> None:
        self._ray: Any = importlib.import_module("ray")
        self.lost = (OSError, self._ray.exceptions.RayError)
        try:
            if not self._ray.is_initialized():
                self._ray.init(address, logging_level="error")
        except (ConnectionError, OSError, RuntimeError) as error:
            raise UserError(f"no Ray cluster answers at {address} ({error}); check the address") from error
        importlib.import_module("ray.util.joblib").register_ray()

    def cores(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    @contextmanager
    def serving(self, work: object) -> Iterator[None]:
        with joblib.parallel_config(backend="ray"):
            yield
