"""Fashion-MNIST's files: read, looked for and fetched. The server is a thread, the files are tiny."""

from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from alade_brian.data import fashion_mnist, load_dataset
from alade_brian.data.fashion_mnist import RemoteFile, fetch, read_fashion_mnist, read_idx
from alade_brian.errors import UserError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


def idx(array: np.ndarray) -> bytes:
    """IDX bytes of an array of unsigned bytes."""
    header = bytes((0, 0, 8, array.ndim)) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10


TRAIN, TEST = split(20, 0), split(10, 1)
CONTENTS = {
    name: gzip.compress(idx(array), mtime=0)
    for name, array in zip((TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS), (*TRAIN, *TEST), strict=True)
}
PUBLISHED = {name: RemoteFile(len(b), hashlib.md5(b).hexdigest()) for name, b in CONTENTS.items()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch) -> None:
    """No file of this machine is found by chance, and none is written outside the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")


def put(folder: Path, **changes: bytes) -> Path:
    """The four files in a folder; `changes` by the beginning of the name ("train_images")."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        key = "_".join(name.split("-")[:2])
        (folder / name).write_bytes(changes.get(key, content))
    return folder


def assert_same_data(found, expected=(TRAIN, TEST)) -> None:
    for part, wanted in zip(found, expected, strict=True):
        for array, other in zip(part, wanted, strict=True):
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, other)


# Reading


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_bytes_written_by_hand(tmp_path: Path, suffix: str) -> None:
    content = b"\0\0\x08\x03" + b"\0\0\0\2" + b"\0\0\0\1" + b"\0\0\0\3" + bytes([0, 1, 2, 253, 254, 255])
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    images = read_idx(path, 3)
    assert images.dtype == np.uint8
    assert images.tolist() == [[[0, 1, 2]], [[253, 254, 255]]]


def test_idx_labels_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(b"\0\0\x08\x01\0\0\0\4\7\0\x09\1")
    assert read_idx(tmp_path / "labels", 1).tolist() == [7, 0, 9, 1]


GOOD_LABELS = b"\0\0\x08\x01\0\0\0\3\1\2\3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number missing"),
        (b"\0\0\x08", "magic number 000008"),
        (b"\0\0\x08\x01\0\0", "IDX file of labels"),
        (b"\0\1\x08\x01" + GOOD_LABELS[4:], "magic number 00010801"),
        (b"\0\0\x0d\x01" + GOOD_LABELS[4:], "magic number 00000d01"),
        (idx(np.zeros((3, 1, 1))), "IDX file of labels.*magic number 00000803"),
        (GOOD_LABELS[:-1], "announces 3 values, but 2 follow"),
        (GOOD_LABELS + b"\4", "announces 3 values, but 4 follow"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_is_refused_and_named(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path, 1)
    assert str(path) in str(caught.value)


COMPRESSED = gzip.compress(GOOD_LABELS, mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD_LABELS, id="not compressed"),
        pytest.param(b"<html>not found</html>", id="a web page"),
        pytest.param(COMPRESSED[:-9], id="cut in the data"),
        pytest.param(COMPRESSED[:-2], id="cut in the checksum"),
        pytest.param(COMPRESSED[:10] + b"\xff\xff" + COMPRESSED[12:], id="broken data"),
        pytest.param(COMPRESSED[:-8] + b"abcd" + COMPRESSED[-4:], id="wrong checksum"),
    ],
)
def test_damaged_gzip_is_refused_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a gzip file") as caught:
        read_idx(path, 1)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named", "message"),
    [
        ({"train_labels": gzip.compress(idx(TRAIN[1][:-1]))}, [TRAIN_IMAGES, TRAIN_LABELS], "20 images.*19 labels"),
        ({"t10k_images": gzip.compress(idx(TEST[0][:4]))}, [TEST_IMAGES, TEST_LABELS], "4 images.*10 labels"),
        ({"train_images": CONTENTS[TRAIN_LABELS]}, [TRAIN_IMAGES], "IDX file of images"),
        ({"t10k_labels": CONTENTS[TEST_IMAGES]}, [TEST_LABELS], "IDX file of labels"),
        ({"t10k_labels": gzip.compress(idx(TEST[1] + 1))}, [TEST_LABELS], r"label 10, beyond 0\.\.9"),
        ({"train_images": gzip.compress(idx(TRAIN[0][:, :27]))}, [TRAIN_IMAGES], r"\(27, 28\) pixels, not 28x28"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_and_named(tmp_path: Path, changes, named, message) -> None:
    put(tmp_path / "data", **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_fashion_mnist(tmp_path / "data")
    assert all(str(tmp_path / "data" / name) in str(caught.value) for name in named)


def test_the_data_set_has_its_classes_and_is_normalised(tmp_path: Path) -> None:
    dataset = load_dataset("fashion-mnist", put(tmp_path / "data"))
    assert dataset.image_shape == (1, 28, 28) and dataset.classes == 10
    assert dataset.class_names[0] == "T-shirt/top" and dataset.class_names[9] == "Ankle boot"
    assert dataset.mean == pytest.approx(TRAIN[0].mean() / 255)
    np.testing.assert_allclose(
        dataset.test_images[:, 0], (TEST[0] / 255 - dataset.mean) / dataset.std, rtol=1e-5, atol=1e-6
    )


# Looking for the files


@pytest.mark.parametrize("below", [".", "fashion-mnist"])
def test_found_in_the_named_folder_or_below(tmp_path: Path, below: str) -> None:
    put(tmp_path / "data" / below)
    assert_same_data(read_fashion_mnist(tmp_path / "data"))


@pytest.mark.parametrize("place", ["cache/alade_brian/fashion-mnist", "debian"])
def test_found_in_cache_and_where_debian_puts_them(tmp_path: Path, place: str) -> None:
    put(tmp_path / place)
    assert_same_data(read_fashion_mnist(None))


def test_the_cache_comes_before_debian(tmp_path: Path) -> None:
    put(tmp_path / "debian")
    other = split(20, 2)
    put(tmp_path / "cache/alade_brian/fashion-mnist", train_images=gzip.compress(idx(other[0])))
    assert_same_data(read_fashion_mnist(None), (other, TEST))


def test_uncompressed_files_are_found_too(tmp_path: Path) -> None:
    put(tmp_path / "data")
    for name in (TRAIN_IMAGES, TEST_LABELS):
        (tmp_path / "data" / name).unlink()
        (tmp_path / "data" / name.removesuffix(".gz")).write_bytes(gzip.decompress(CONTENTS[name]))
    assert_same_data(read_fashion_mnist(tmp_path / "data"))


def test_three_of_four_files_are_not_enough(tmp_path: Path) -> None:
    put(tmp_path / "data")
    (tmp_path / "data" / TEST_LABELS).unlink()
    with pytest.raises(UserError, match="not found"):
        read_fashion_mnist(tmp_path / "data")


def test_nothing_found_names_the_folder_and_the_ways_out(tmp_path: Path) -> None:
    put(tmp_path / "debian")  # A named folder stands alone.
    with pytest.raises(UserError) as caught:
        read_fashion_mnist(tmp_path / "data")
    sentence = str(caught.value)
    for part in (str(tmp_path / "data"), str(tmp_path / "data" / "fashion-mnist"), "--data-root", "--download"):
        assert part in sentence
    assert "dataset-fashion-mnist" in sentence and str(tmp_path / "debian") not in sentence


def test_nothing_found_names_cache_and_debian(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("fashion-mnist")
    for place in ("cache/alade_brian/fashion-mnist", "debian"):
        assert str(tmp_path / place) in str(caught.value)


# Fetching


class Server:
    """A loopback server: its files by name, the names asked for, and how many bytes to hold back of a file."""

    def __init__(self) -> None:
        self.files, self.requests, self.held_back = dict(CONTENTS), [], {}
        outer = self

        class FileHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/")
                outer.requests.append(name)
                if name not in outer.files:
                    self.send_error(404)
                    return
                content = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - outer.held_back.get(name, 0)])

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), FileHandler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


def test_download_puts_the_files_in_the_named_folder(server, tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    assert_same_data(read_fashion_mnist(data, download=True, address=server.address, files=PUBLISHED))
    assert {p.name: p.read_bytes() for p in data.iterdir()} == CONTENTS


def test_download_without_a_folder_goes_to_the_cache(server, tmp_path: Path) -> None:
    assert_same_data(read_fashion_mnist(None, download=True, address=server.address, files=PUBLISHED))
    assert left(tmp_path / "cache/alade_brian/fashion-mnist") == sorted(CONTENTS)


def test_a_second_call_fetches_nothing(server, tmp_path: Path) -> None:
    for _ in range(2):
        assert_same_data(read_fashion_mnist(tmp_path, download=True, address=server.address, files=PUBLISHED))
    fetch(tmp_path, server.address, PUBLISHED)
    assert sorted(server.requests) == sorted(CONTENTS)


def test_files_that_are_there_are_not_fetched(server, tmp_path: Path) -> None:
    put(tmp_path / "data")
    read_fashion_mnist(tmp_path / "data", download=True, address=server.address, files=PUBLISHED)
    assert server.requests == []


def test_only_missing_and_damaged_files_are_fetched(server, tmp_path: Path) -> None:
    damaged = bytes(len(CONTENTS[TEST_IMAGES]))
    put(tmp_path / "data", t10k_images=damaged)
    (tmp_path / "data" / TRAIN_LABELS).unlink()
    fetch(tmp_path / "data", server.address, PUBLISHED)
    assert sorted(server.requests) == sorted([TEST_IMAGES, TRAIN_LABELS])
    assert {p.name: p.read_bytes() for p in (tmp_path / "data").iterdir()} == CONTENTS


def wrong_checksum(server: Server) -> None:
    server.files[TEST_LABELS] = bytes(len(CONTENTS[TEST_LABELS]))


def too_short(server: Server) -> None:
    server.files[TEST_LABELS] = CONTENTS[TEST_LABELS][:-5]


def too_long(server: Server) -> None:
    server.files[TEST_LABELS] = CONTENTS[TEST_LABELS] + b"more"


def broken_off(server: Server) -> None:
    server.held_back[TEST_LABELS] = 5


def not_there(server: Server) -> None:
    del server.files[TEST_LABELS]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_checksum, "not the published file"),
        (too_short, "not the published file"),
        (too_long, "not the published file"),
        (broken_off, "not the published file"),
        (not_there, "could not be downloaded.*Not Found"),
    ],
)
def test_a_bad_download_is_named_and_leaves_nothing(server, tmp_path: Path, spoil, message: str) -> None:
    spoil(server)
    with pytest.raises(UserError, match=message) as caught:
        read_fashion_mnist(tmp_path / "data", download=True, address=server.address, files=PUBLISHED)
    assert server.address + TEST_LABELS in str(caught.value)
    # The last file was bad, so that three good ones had come before.
    assert server.requests == list(PUBLISHED)
    assert left(tmp_path / "data") == []


def test_a_right_checksum_does_not_excuse_a_wrong_size(server, tmp_path: Path) -> None:
    stated = PUBLISHED[TEST_LABELS]
    files = {TEST_LABELS: RemoteFile(stated.size - 1, stated.md5)}
    with pytest.raises(UserError, match="not the published file"):
        fetch(tmp_path / "data", server.address, files)
    assert left(tmp_path / "data") == []


def test_a_bad_download_leaves_what_was_there(server, tmp_path: Path) -> None:
    wrong_checksum(server)
    put(tmp_path / "data")
    (tmp_path / "data" / TEST_LABELS).unlink()
    with pytest.raises(UserError, match="not the published file"):
        fetch(tmp_path / "data", server.address, PUBLISHED)
    assert left(tmp_path / "data") == sorted(set(CONTENTS) - {TEST_LABELS})


def test_a_server_that_is_not_there(server, tmp_path: Path) -> None:
    # A bound port that nobody listens on refuses every connection.
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(UserError, match="could not be downloaded") as caught:
            read_fashion_mnist(tmp_path / "data", download=True, address=address, files=PUBLISHED)
    assert address in str(caught.value) and "dataset-fashion-mnist" in str(caught.value)
    assert left(tmp_path / "data") == []


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written.*--data-root") as caught:
        fetch(tmp_path / "file", server.address, PUBLISHED)
    assert str(tmp_path / "file") in str(caught.value)
    assert server.requests == []


def test_the_published_files_are_stated_in_full() -> None:
    assert set(fashion_mnist.FILES) == set(CONTENTS)
    for remote in fashion_mnist.FILES.values():
        assert remote.size > 5000 and len(bytes.fromhex(remote.md5)) == 16
