"""Reading IDX files and folders as people have them, against known arrays."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mldemo.data.idx import LARGEST_BYTES, home_of, read_idx, read_part
from mldemo.data.sets import IdxFolder

ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
HEADER = b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 3, 5)
RAW = HEADER + ARRAY.tobytes()
IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize("packed", [False, True])
def test_idx_is_read_back(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(RAW) if packed else RAW)
    np.testing.assert_array_equal(read_idx(path), ARRAY)


def test_labels_are_read_too(idx_folder: Path) -> None:
    labels = read_part(idx_folder, "train", "labels-idx1")
    assert labels.shape == (960,)
    assert set(labels) == {0, 1, 2, 3}


PACKED = gzip.compress(RAW)
DAMAGED = {
    "empty": b"",
    "cut in the magic": RAW[:3],
    "cut in the header": RAW[:9],
    "cut in the body": RAW[:-1],
    "more than it promises": RAW + b"\x01",
    "much more, all zeros": RAW + bytes(2**17),
    "another magic": b"\x00\x00\x0d" + RAW[3:],
    "rank 9": b"\x00\x00\x08\x09" + RAW[4:],
    "html": b"<html>not found</html>",
    "cut gzip": PACKED[:-9],
    "gzip of nothing like it": gzip.compress(b"hello"),
    "gzip with a flipped byte": PACKED[:12] + bytes([PACKED[12] ^ 0xFF]) + PACKED[13:],
    "gzip with a wrong check sum": PACKED[:-8] + b"\x00\x00\x00\x00" + PACKED[-4:],
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_raise_one_kind_of_error_that_names_them(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / IMAGES
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=IMAGES):
        read_idx(path)


@pytest.mark.parametrize(
    "shape",
    [3 * (2**32 - 1,), 3 * (2**31,), (2**16, 2**16, 1), (LARGEST_BYTES + 1, 1, 1)],
    ids=["all ones", "overflows to 0 in 64 bits", "overflows to 0 in 32 bits", "just too large"],
)
def test_a_promise_beyond_the_bound_is_refused_before_reading(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    path = tmp_path / IMAGES
    path.write_bytes(b"\x00\x00\x08\x03" + struct.pack(">3I", *shape))
    with pytest.raises(ValueError, match=rf"bytes; the bound is {LARGEST_BYTES}"):
        read_idx(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """50 MB of zeros behind 30 promised bytes, packed to 50 kB, take less than 1 MB."""
    path = tmp_path / IMAGES
    path.write_bytes(gzip.compress(RAW + bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="30 bytes, but holds more"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("padding", [b"\x00" * 500, b"\n", b"\r\n"])
def test_padding_at_the_end_is_no_damage(tmp_path: Path, padding: bytes) -> None:
    (tmp_path / IMAGES).write_bytes(RAW + padding)
    (tmp_path / "packed").write_bytes(gzip.compress(RAW + padding))
    np.testing.assert_array_equal(read_idx(tmp_path / IMAGES), ARRAY)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), ARRAY)


def test_missing_files_and_wrong_shapes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"holds no {IMAGES} or {IMAGES}.gz$"):
        IdxFolder(tmp_path).fields()
    flat = b"\x00\x00\x08\x01" + struct.pack(">I", 30) + ARRAY.tobytes()
    (tmp_path / IMAGES).write_bytes(flat)
    with pytest.raises(ValueError, match=r"\(count, height, width\) needed, got \(28,\)"):
        IdxFolder(tmp_path).fields()
    with pytest.raises(ValueError, match="cannot be read"):
        read_idx(tmp_path / "nowhere")


def test_the_name_with_a_point_is_as_good(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(RAW)
    np.testing.assert_array_equal(read_part(tmp_path, "train"), ARRAY)
    (tmp_path / IMAGES).write_bytes(RAW)  # the same twice: no contradiction
    np.testing.assert_array_equal(read_part(tmp_path, "train"), ARRAY)
    (tmp_path / IMAGES).write_bytes(HEADER + bytes(30))
    with pytest.raises(ValueError, match=rf"{IMAGES} and train-images.idx3-ubyte, which differ"):
        read_part(tmp_path, "train")


def test_a_damaged_file_is_passed_over_where_a_whole_one_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / f"{IMAGES}.gz").write_bytes(PACKED[:-9])
    with pytest.raises(ValueError, match=rf"{IMAGES}.gz cannot be read"):
        read_part(tmp_path, "train")
    (tmp_path / IMAGES).write_bytes(RAW)
    np.testing.assert_array_equal(read_part(tmp_path, "train"), ARRAY)


@pytest.mark.parametrize("near", ["train-image-idx3-ubyte.gz", "Train-Images-IDX3-ubyte"])
def test_a_name_that_is_nearly_right_is_named(tmp_path: Path, near: str) -> None:
    (tmp_path / near).write_bytes(RAW)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=rf"holds no {IMAGES} or {IMAGES}.gz, but {near}$"):
        read_part(tmp_path, "train")


def test_torchvisions_folders(tmp_path: Path) -> None:
    """ROOT/MNIST/raw is found from each of the three; two data sets in one root are ambiguous."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / IMAGES).write_bytes(RAW)
    assert home_of(tmp_path) == home_of(tmp_path / "MNIST") == home_of(raw) == raw
    other = tmp_path / "FashionMNIST" / "raw"
    other.mkdir(parents=True)
    (other / IMAGES).write_bytes(RAW)
    with pytest.raises(ValueError, match=r"holds several data sets: .*FashionMNIST/raw, .*MNIST"):
        home_of(tmp_path)
