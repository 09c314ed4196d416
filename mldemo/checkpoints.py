"""Checkpoints: safetensors files that carry all one needs to sample from them.

A file holds the averaged weights, the data's mean and radial spectrum, and under the metadata key
"mldemo" a JSON record: network, prior with every parameter, schedule, levels and steps trained,
seed, versions. `manifest.json` beside the files gives the size and sha256 of each; nothing is
opened before both agree, and nothing is ever unpickled.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from mldemo.data import Statistics
from mldemo.priors import Prior, prior_from_dict
from mldemo.sde import Schedule

BUNDLE = Path(__file__).resolve().parents[1] / "checkpoints"
FORMAT = 1
LARGEST_FILE = 512 * 2**20


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or not what its manifest says."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: D(x, t), and the record of how it came about."""

    name: str
    denoiser: nn.Module
    prior: Prior
    statistics: Statistics
    schedule: Schedule
    record: dict[str, Any]

    @property
    def trained_levels(self) -> list[int]:
        """The resolutions it was trained on, coarse to fine."""
        return [int(resolution) for resolution, _ in self.record["levels"]]


def read_manifest(folder: Path = BUNDLE) -> dict[str, Any]:
    """The manifest of a folder: {"default": name, "files": {name: {file, size, sha256, …}}}."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text("utf-8"))
        files = manifest["files"]
        if not isinstance(files, dict):
            raise TypeError("files")
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no manifest.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from None
    return manifest


def checkpoint_names(folder: Path = BUNDLE) -> list[str]:
    """The checkpoints of a folder, the default first."""
    manifest = read_manifest(folder)
    names = [n for n, entry in manifest["files"].items() if entry.get("kind") == "checkpoint"]
    return sorted(names, key=lambda n: n != manifest.get("default"))


def manifest_entry(name: str, folder: Path = BUNDLE) -> dict[str, Any]:
    """What the manifest says of one file; an unknown name raises, listing the known ones."""
    files = read_manifest(folder)["files"]
    if name not in files:
        known = ", ".join(sorted(files)) or "none"
        raise CheckpointError(f"no checkpoint is called {name!r}; there are: {known}")
    return files[name]


def read_verified(name: str, folder: Path = BUNDLE) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file whose size and sha256 are those of the manifest, and its entry."""
    entry = manifest_entry(name, folder)
    path = folder / Path(entry["file"]).name
    try:
        size = path.stat().st_size
        if size != entry["size"] or size > LARGEST_FILE:
            raise CheckpointError(f"{path} has {size} bytes, the manifest says {entry['size']}")
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path} is damaged: its sha256 is not that of the manifest")
    return raw, entry


def parse(raw: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float32) and record of a file's bytes; bad bytes raise `CheckpointError`."""
    try:
        tensors = load(raw)
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        record = json.loads(header.get("__metadata__", {})["mldemo"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{source} is no checkpoint of mldemo: {error!r}") from None
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{source} has format {record.get('format')!r}, this version reads {FORMAT}"
        )
    bad = sorted(k for k, v in tensors.items() if not torch.isfinite(v).all())
    if bad:
        raise CheckpointError(f"{source} holds values that are not finite, in {bad[0]}")
    return {k: v.float() for k, v in tensors.items()}, record


def assemble(name: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> Checkpoint:
    """Build the network of a record and fill it; missing, extra or misshapen tensors raise."""
    from mldemo.networks import build_network
    from mldemo.networks.preconditioning import Denoiser

    try:
        network = build_network(record["network"])
        prior = prior_from_dict(record["prior"])
        schedule = Schedule(**record["schedule"])
        statistics = Statistics(tensors["data.mean"], tensors["data.power"])
        weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
        network.load_state_dict(weights, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name} does not fit its own record: {error}") from None
    denoiser = Denoiser(network, prior, statistics, schedule).eval().requires_grad_(False)
    return Checkpoint(name, denoiser, prior, statistics, schedule, record)


@lru_cache(maxsize=4)
def _load(name: str, folder: Path, sha256: str, device: torch.device) -> Checkpoint:
    raw, entry = read_verified(name, folder)
    if entry["sha256"] != sha256:  # the manifest changed under us
        raise CheckpointError(f"{folder}/manifest.json changed while {name} was loaded")
    checkpoint = assemble(name, *parse(raw, name))
    checkpoint.denoiser.to(device)
    return checkpoint


def load_checkpoint(
    name: str, folder: Path = BUNDLE, device: torch.device | str = "cpu"
) -> Checkpoint:
    """A verified checkpoint, ready to denoise; loaded once and shared read-only."""
    entry = manifest_entry(name, folder)
    return _load(name, folder, entry["sha256"], torch.device(device))


def load_statistics(name: str, folder: Path = BUNDLE) -> tuple[Statistics, dict[str, Any]]:
    """Only the data's mean and spectrum, and the record: quick, without any network."""
    tensors, record = parse(read_verified(name, folder)[0], name)
    return Statistics(tensors["data.mean"], tensors["data.power"]), record


def save_checkpoint(
    folder: Path,
    name: str,
    network: nn.Module,
    statistics: Statistics,
    record: dict[str, Any],
) -> Path:
    """Write NAME.safetensors (weights in half precision) and enter it into the manifest.

    The first checkpoint of a folder is its default; later levels of the same data and prior take
    over from it.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in tensors.items()}
    tensors["data.mean"], tensors["data.power"] = statistics.mean, statistics.power
    metadata = {"mldemo": json.dumps({"format": FORMAT, **record})}
    summary = {k: record[k] for k in ("data", "prior", "levels", "network", "seconds")}
    manifest = _manifest_or_new(folder)
    current = manifest["files"].get(manifest["default"], record)
    default = all(current.get(k) == record[k] for k in ("data", "prior"))
    return write_file(folder, name, "checkpoint", tensors, metadata, summary, default)


def _manifest_or_new(folder: Path) -> dict[str, Any]:
    exists = (folder / "manifest.json").exists()
    return read_manifest(folder) if exists else {"default": None, "files": {}}


def write_file(
    folder: Path,
    name: str,
    kind: str,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    summary: dict[str, Any],
    default: bool = False,
) -> Path:
    """Write a safetensors file and its manifest entry; each is replaced in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata)
    raw = part.read_bytes()
    part.chmod(0o644)
    os.replace(part, path)
    entry = {"kind": kind, "file": path.name, "size": len(raw)}
    entry["sha256"] = hashlib.sha256(raw).hexdigest()
    manifest = _manifest_or_new(folder)
    manifest["files"][name] = entry | summary
    if default:
        manifest["default"] = name
    part = folder / "manifest.part"
    part.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    os.replace(part, folder / "manifest.json")
    return path
