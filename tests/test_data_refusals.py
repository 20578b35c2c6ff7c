"""Refusals of the data folder: each one sentence with its remedy, nothing changed or left behind."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from alade_brian.data import Dataset, ExemplarMemory, Scenario, class_order, fashion_mnist, herd, make_dataset
from alade_brian.data.fashion_mnist import RemoteFile, fetch
from alade_brian.errors import UserError


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that answers one connection with these bytes, or holds it open where there are none."""
    done = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            if answer:
                connection.sendall(answer)
            else:
                done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "answer", [b"this is no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b""]
)
def test_broken_or_silent_server_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(fashion_mnist, "TIMEOUT_SECONDS", 0.3)
    with answering(answer) as address, pytest.raises(UserError, match=r"could not be downloaded.*Debian") as caught:
        fetch(tmp_path, address, {"file": RemoteFile(10, "0" * 32)})
    assert address + "file" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_address_needs_no_final_slash(tmp_path: Path) -> None:
    class EchoHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), EchoHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        expected = RemoteFile(len("/data/file"), hashlib.md5(b"/data/file").hexdigest())
        fetch(tmp_path, f"http://127.0.0.1:{server.server_port}/data", {"file": expected})
        thread.join()
    assert (tmp_path / "file").read_text() == "/data/file"


def toy() -> Dataset:
    images, labels = np.arange(40.0).reshape(10, 1, 2, 2), np.arange(10) % 5
    return make_dataset("toy", (images, labels), (images, labels), tuple("abcde"))


@pytest.mark.parametrize(
    ("init_cls", "increment", "remedy"),
    [
        (0, 5, "init_cls is 0; use at least 1"),
        (5, 0, "increment is 0; use at least 1"),
        (6, 1, "only 5 classes; use at most that"),
    ],
)
def test_sizes_are_refused_with_ones_that_fit(init_cls: int, increment: int, remedy: str) -> None:
    with pytest.raises(UserError, match=f"{remedy}$"):
        Scenario(toy(), init_cls, increment, range(5))
    for first, step in ((1, 1), (1, 2), (1, 3), (1, 4), (2, 3), (5, 3)):
        assert Scenario(toy(), first, step, range(5))[-1].classes_seen == 5


def test_an_order_given_as_an_array_becomes_plain_numbers() -> None:
    scenario = Scenario(toy(), 1, 2, np.array([3, 0, 4, 1, 2]))  # type: ignore[arg-type]
    assert scenario.class_order == (3, 0, 4, 1, 2) and {type(c) for c in scenario.class_order} == {int}


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(UserError, match=f"seed is {seed}"):
        class_order(seed, 10)


def test_labels_in_a_column_are_refused() -> None:
    column = np.arange(2)[:, None]
    with pytest.raises(UserError, match="do not match"):
        make_dataset("toy", (np.zeros((2, 1, 2, 2)), column), (np.zeros((2, 1, 2, 2)), column), ("a", "b"))


@pytest.mark.parametrize("features", [np.ones(4), np.array([[1.0, np.nan]]), np.array([[np.inf, 1.0], [1.0, 1.0]])])
def test_herding_refuses_what_are_no_features(features: np.ndarray) -> None:
    with pytest.raises(UserError, match="features"):
        herd(features, 1)


def test_herding_nothing_gives_nothing() -> None:
    assert herd(np.zeros((0, 3)), 4).shape == (0,)


def test_a_remembered_class_is_not_chosen_again() -> None:
    memory = ExemplarMemory(4)
    memory.update(1, {0: np.array([1, 2])})
    with pytest.raises(ValueError, match="label 0"):
        memory.update(2, {0: np.array([3]), 1: np.array([4])})
    assert memory.indices.tolist() == [1, 2]


def test_the_memory_keeps_copies() -> None:
    memory, chosen = ExemplarMemory(4), np.array([1, 2])
    memory.update(1, {0: chosen})
    chosen[:] = 9
    memory.state()["lists"][0].append(9)
    assert memory.indices.tolist() == [1, 2]
