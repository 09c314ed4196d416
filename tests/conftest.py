"""Shared fixtures: a small data set in the format of MNIST, drawn here."""

import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.machine import granted_cores


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Workers of pytest-xdist share the cores, however many threads the test before has set."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, granted_cores() // workers))


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the bytes of an IDX file."""
    header = b"\x00\x00\x08" + bytes([array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def strokes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digit-like images (count, 28, 28), white on black, and labels: ring, bar, cross or wave."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count).astype(np.uint8)
    rows, columns = np.mgrid[0:28, 0:28] - 13.5
    images = np.empty((count, 28, 28), np.uint8)
    for i, label in enumerate(labels):
        angle, size, shift = rng.normal(0, 0.2), rng.uniform(6, 9), rng.normal(0, 1, 2)
        x, y = columns - shift[0], rows - shift[1]
        x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        outside = np.maximum(np.abs(y) - size, 0)
        distance = [
            np.abs(np.hypot(x, y) - 0.8 * size),
            np.hypot(x, outside),
            np.minimum(np.hypot(x, outside), np.hypot(y, np.maximum(np.abs(x) - size, 0))),
            np.hypot(x - 4 * np.sin(y / 3), outside),
        ][label]
        images[i] = 255 * np.clip(2.2 - distance, 0, 1)
    return images, labels


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 960 training and 60 test images, the former gzipped as MNIST is."""
    folder = tmp_path_factory.mktemp("idx")
    for part, count, seed in (("train", 960, 0), ("t10k", 60, 1)):
        images, labels = strokes(count, seed)
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            raw, name = idx_bytes(array), f"{part}-{what}-ubyte"
            if part == "train":
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
    return folder


TINY = {"kind": "ushaped", "width": 8, "modes": 4, "depth": 1, "core_grid": 8}
TINY |= {"core_widths": [8, 16]}


@pytest.fixture(scope="session")
def tiny_plan() -> dict:
    """A plan of seconds: two levels, three steps each, a network of a few thousand weights."""
    from mldemo.space.priors import Bessel

    return {
        "priors": (Bessel(trace=0.2).to_dict(),),
        "network": TINY,
        "levels": ((8, 3), (16, 3)),
        "batch": 8,
    }


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory, idx_folder: Path, tiny_plan: dict
) -> Path:
    """A bundle with one checkpoint, "tiny", trained for six steps."""
    from mldemo.data.sets import IdxFolder
    from mldemo.training.loop import Training, export
    from mldemo.training.plan import Plan

    folder = tmp_path_factory.mktemp("bundle")
    training = Training(Plan(**tiny_plan), IdxFolder(idx_folder).fields()[:50])
    for _ in training.run():
        pass
    export(training, folder, "tiny", "strokes")
    return folder


@pytest.fixture
def copied_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    from mldemo.store import checkpoints

    checkpoints._load.cache_clear()
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
