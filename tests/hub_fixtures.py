"""Shared by the tests of the Hub: the double, the real client pointed at it, a pinned folder."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serve
from hub_tools import FILE, REPO, pin, point_at
from huggingface_hub import constants

from mldemo.store import checkpoints, hub


@pytest.fixture
def server() -> Iterator[Hub]:
    with serve() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def client(server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, pointed at the double and at an empty cache, with less patience."""
    point_at(server.api_url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(hub, "_one_at_a_time", threading.Lock())
    monkeypatch.setattr(hub, "_paused", {})
    for name in ("MLDEMO_HUB_REPO", "MLDEMO_HUB_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    checkpoints._load.cache_clear()


@pytest.fixture
def raw(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / FILE).read_bytes()


@pytest.fixture
def bundle(server: Hub, tiny_bundle: Path, tmp_path: Path, raw: bytes) -> Path:
    """A folder whose manifest pins what the double holds, and which holds it too."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    pin(folder, server.commit(REPO, {FILE: raw}))
    return folder


@pytest.fixture
def hub_only(bundle: Path) -> Path:
    """The same, with nothing in the folder but the manifest."""
    (bundle / FILE).unlink()
    return bundle
