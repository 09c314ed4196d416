"""Small tools of the tests of the Hub."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from mldemo.store.manifest import manifest_update

REPO, FILE = "somebody/fields", "tiny.safetensors"


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does when the client is imported."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def pin(folder: Path, commit: str, repo: str = REPO) -> None:
    with manifest_update(folder) as manifest:
        manifest |= {"repo": repo, "revision": commit}


def await_that(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
