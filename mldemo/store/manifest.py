"""The manifest of a folder of checkpoints; finding, verifying and writing the files it names.

`manifest.json` gives the size and sha256 of each file, wherever it comes from: the cache of the
Hugging Face client, the Hub, or the folder itself. Nothing is parsed before both agree.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from mldemo.store import hub, schema
from mldemo.store.files import (
    FileError,
    locked,
    make_folder,
    read_bounded,
    read_json,
    write_bytes,
    write_json,
)

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "checkpoints"  # where `pip install` puts the bundle; else the repository's
BUNDLE = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "checkpoints"
UPDATE_SECONDS = 30.0  # how long an update of a manifest waits for another one


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or does not match its manifest."""


def read_manifest(folder: Path = BUNDLE) -> dict[str, Any]:
    """The manifest of a folder: {"default": name, "files": {name: {file, size, sha256, …}}}."""
    path = folder / "manifest.json"
    if not path.exists():
        raise CheckpointError(f"{folder} holds no manifest.json")
    try:
        manifest = read_json(path)
        schema.check_manifest(manifest, path)
    except FileError as error:
        raise CheckpointError(str(error)) from None
    return manifest


def checkpoint_names(folder: Path = BUNDLE) -> list[str]:
    """The checkpoints of a folder, the default first."""
    manifest = read_manifest(folder)
    names = [n for n, entry in manifest["files"].items() if entry["kind"] == "checkpoint"]
    return sorted(names, key=lambda n: n != manifest["default"])


def prior_names(entry: dict[str, Any]) -> list[str]:
    """The priors that a file of a manifest was trained with; none if it is no checkpoint."""
    return [prior["name"] for prior in entry.get("priors", [])]


def manifest_entry(name: str, folder: Path = BUNDLE) -> dict[str, Any]:
    """The manifest entry of a file; an unknown name raises, listing the known ones."""
    files = read_manifest(folder)["files"]
    if name not in files:
        known = ", ".join(sorted(files)) or "none"
        raise CheckpointError(f"no checkpoint is called {name!r}; there are: {known}")
    return files[name]


@dataclass(frozen=True)
class Found:
    """The verified bytes of a file, its entry, its source, and why earlier sources failed."""

    raw: bytes
    entry: dict[str, Any]
    source: str
    failures: tuple[str, ...]


def find(name: str, folder: Path = BUNDLE, seconds: float = hub.SECONDS) -> Found:
    """The first intact copy of a file in the client's cache, on the Hub, or in the folder.

    Intact means that size and sha256 match the manifest. Cache and Hub are asked only if a
    repository is configured (`hub.pinned`), the Hub for at most `seconds`. If every place fails,
    `CheckpointError` says what was tried and why it failed.
    """
    deadline = time.monotonic() + seconds
    entry = manifest_entry(name, folder)
    file = entry["file"]
    bundled = folder / file

    def accept(path: Path) -> bytes:
        return verified(path, entry)

    places: dict[str, Callable[[], bytes]] = {"bundle": lambda: accept(bundled)}
    if pin := hub.pinned(read_manifest(folder), entry):
        places = {
            "cache": lambda: accept(hub.cached(pin, file)),
            "hub": lambda: hub.download(
                pin, file, entry["size"], accept, deadline - time.monotonic(), not bundled.exists()
            ),
        } | places
    failures: list[str] = []
    for source, read in places.items():
        try:
            return Found(read(), entry, source, tuple(failures))
        except (CheckpointError, hub.HubError) as error:
            failures.append(f"{source}: {error}")
    raise CheckpointError(f"no whole copy of {name}; {'; '.join(failures)}")


def verified(path: Path, entry: dict[str, Any]) -> bytes:
    """The bytes of a file; `CheckpointError` unless size and sha256 match its entry."""
    try:
        raw = read_bounded(path, schema.LARGEST_FILE)
    except FileError as error:
        raise CheckpointError(str(error)) from None
    if len(raw) != entry["size"]:
        raise CheckpointError(f"{path} has {len(raw)} bytes, the manifest says {entry['size']}")
    if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path} is damaged: its sha256 is not that of the manifest")
    return raw


def read_verified(name: str, folder: Path = BUNDLE) -> tuple[bytes, dict[str, Any]]:
    """The verified bytes of a file, wherever it is found, and its manifest entry."""
    found = find(name, folder)
    return found.raw, found.entry


def manifest_or_new(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, or an empty manifest if it has none."""
    exists = (folder / "manifest.json").exists()
    return read_manifest(folder) if exists else {"default": None, "files": {}}


def write_file(
    folder: Path,
    name: str,
    kind: str,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    summary: dict[str, Any],
    default: Callable[[dict[str, Any]], bool] = lambda _: False,
) -> Path:
    """Write a safetensors file and its manifest entry; each is replaced atomically.

    `default` decides whether the file becomes the default of the manifest as it was.
    """
    make_folder(folder)
    path = folder / f"{name}.safetensors"
    raw = save(tensors, metadata)
    with manifest_update(folder) as manifest:
        write_bytes(path, raw)
        entry: dict[str, Any] = {"kind": kind, "file": path.name, "size": len(raw)}
        entry["sha256"] = hashlib.sha256(raw).hexdigest()
        if "repo" in manifest:
            entry["repo"] = None  # the manifest pins the previous file
        chosen = name if default(manifest) else manifest["default"]
        manifest["files"][name] = entry | summary
        manifest["default"] = chosen
    return path


@contextmanager
def manifest_update(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest of a folder, to be changed in place and written atomically at the end.

    Updates by several processes take turns, so none is lost; after an exception inside the block
    nothing is written.
    """
    path = folder / "manifest.json"
    with locked(path, "another process is changing it", UPDATE_SECONDS):
        manifest = manifest_or_new(folder)
        yield manifest
        schema.check_manifest(manifest, path)
        write_json(path, manifest)
