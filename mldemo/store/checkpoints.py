"""Checkpoints: safetensors files that hold everything needed to sample from them.

A file holds the averaged weights, the data's mean and radial spectrum, and under the metadata key
"mldemo" a JSON record: network, prior with every parameter, schedule, levels and steps trained,
seed, versions. Files are found through the manifest of their folder (`mldemo.store.manifest`), and
nothing is ever unpickled.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mldemo.data.statistics import Statistics
from mldemo.diffusion.sde import Schedule
from mldemo.space.covariance import Prior
from mldemo.space.priors import prior_from_dict
from mldemo.store import schema
from mldemo.store.files import FileError, brief, parse_json
from mldemo.store.manifest import (
    BUNDLE,
    CheckpointError,
    find,
    manifest_entry,
    verified,
    write_file,
)

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A loaded checkpoint: D(x, t), the record of its training, and the source of the file.

    `source` is "cache", "hub" or "bundle".
    """

    name: str
    network: nn.Module
    priors: tuple[Prior, ...]
    statistics: Statistics
    schedule: Schedule
    record: dict[str, Any]
    source: str
    _made: Callable[[Prior, float], nn.Module] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Denoisers, which hold spectra on each of their levels, are kept with the checkpoint."""
        made = partial(_denoiser, self.network, self.statistics, self.schedule)
        object.__setattr__(self, "_made", lru_cache(maxsize=16)(made))

    def denoiser(self, prior: Prior | None = None, guidance: float = 1.0) -> nn.Module:
        """D(x, t) under a prior, by default the first that it was trained with."""
        return self._made(prior or self.priors[0], guidance)

    @property
    def serves_any_prior(self) -> bool:
        """Whether training varied the priors, so that the network interpolates between them."""
        return bool(self.record.get("variations"))

    @property
    def trained_levels(self) -> list[int]:
        """The resolutions it was trained on, coarse to fine."""
        return [int(resolution) for resolution, _ in self.record["levels"]]


def open_tensors(
    raw: bytes, source: str, key: str = "mldemo"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors in the bytes of a safetensors file, and the JSON record under a key of its metadata.

    Any other bytes raise `CheckpointError`.
    """
    try:
        tensors = load(raw)
        length = int.from_bytes(raw[:8], "little")
        header = parse_json(raw[8 : 8 + length], source)
        record = parse_json(header["__metadata__"][key], source)
    except FileError as error:
        raise CheckpointError(str(error)) from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{source} is no checkpoint of mldemo: {error!r}") from None
    if not isinstance(record, dict):
        raise CheckpointError(f"{source} is damaged: its record is {str(record)[:60]}")
    return tensors, record


def parse(raw: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float32, finite) and record in the bytes of a checkpoint or a file like it."""
    tensors, record = open_tensors(raw, source)
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{source} has format {record.get('format')!r}, this version reads {FORMAT}"
        )
    single = {k: v.float() for k, v in tensors.items()}
    bad = sorted(k for k, v in single.items() if not torch.isfinite(v).all())
    if bad:
        raise CheckpointError(f"{source} holds values that are not finite, in {bad[0]}")
    return single, record


def assemble(
    name: str, tensors: dict[str, Tensor], record: dict[str, Any], source: str = "bundle"
) -> Checkpoint:
    """Build the network of a record with its weights; missing, extra or misshapen tensors raise.

    The record is first checked against the tensors without allocating anything, so memory is
    bounded by the size of the file, whatever the record says.
    """
    from mldemo.networks import build_network

    try:
        schema.check(record, schema.RECORD, name, "its record")
        weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
        with torch.device("meta"):
            shapes = build_network(record["network"])
        shapes.load_state_dict({k: v.to("meta") for k, v in weights.items()}, assign=True)
        network = build_network(record["network"])
        network.load_state_dict(weights)
        priors = tuple(prior_from_dict(prior) for prior in record["priors"])
        schedule = Schedule(**record["schedule"])
        statistics = _statistics(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{name} does not fit its own record: {brief(error)}") from None
    network.eval().requires_grad_(False)
    return Checkpoint(name, network, priors, statistics, schedule, record, source)


def _statistics(tensors: dict[str, Tensor]) -> Statistics:
    mean, power = tensors["data.mean"], tensors["data.power"]
    side = mean.shape[-1] if mean.ndim else 0
    if mean.shape != (1, 1, side, side) or not 8 <= side <= 1024:
        raise ValueError(f"data.mean must be a field (1, 1, N, N), got {tuple(mean.shape)}")
    if power.ndim != 1 or not side // 2 <= len(power) <= side or not (power >= 0).all():
        raise ValueError(f"data.power must hold {side // 2} powers, got {tuple(power.shape)}")
    return Statistics(mean, power)


def _denoiser(
    network: nn.Module, statistics: Statistics, schedule: Schedule, prior: Prior, guidance: float
) -> nn.Module:
    from mldemo.diffusion.denoiser import Denoiser

    return Denoiser(network, prior, statistics, schedule, guidance).eval()


@lru_cache(maxsize=4)
def _load(name: str, folder: Path, sha256: str, device: torch.device) -> Checkpoint:
    found = find(name, folder)
    if found.entry["sha256"] != sha256:  # the manifest changed under us
        raise CheckpointError(f"{folder}/manifest.json changed while {name} was loaded")
    checkpoint = assemble(name, *parse(found.raw, name), found.source)
    checkpoint.network.to(device)
    return checkpoint


def load_checkpoint(
    name: str, folder: Path = BUNDLE, device: torch.device | str = "cpu"
) -> Checkpoint:
    """A verified checkpoint, ready to denoise; loaded once and shared read-only."""
    entry = manifest_entry(name, folder)
    return _load(name, folder, entry["sha256"], torch.device(device))


def load_statistics(name: str, folder: Path = BUNDLE) -> tuple[Statistics, dict[str, Any]]:
    """The data's mean and spectrum, and the record, without building the network.

    An intact copy in the folder takes precedence over the Hub, so that building the page does not
    wait for a download.
    """
    entry = manifest_entry(name, folder)
    try:
        raw = verified(folder / entry["file"], entry)
    except CheckpointError:
        raw = find(name, folder).raw
    tensors, record = parse(raw, name)
    try:
        return _statistics(tensors), record
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{name} holds no statistics of its data: {error}") from None


def save_checkpoint(
    folder: Path,
    name: str,
    network: nn.Module,
    statistics: Statistics,
    record: dict[str, Any],
) -> Path:
    """Write NAME.safetensors (weights in half precision) and enter it into the manifest.

    The first checkpoint of a folder is its default; a later one with the same data, priors and
    network replaces it as the default.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in tensors.items()}
    tensors["data.mean"], tensors["data.power"] = statistics.mean, statistics.power
    metadata = {"mldemo": json.dumps({"format": FORMAT, **record})}
    summary = {
        k: record[k] for k in ("data", "priors", "variations", "levels", "network", "seconds")
    }

    def continues(manifest: dict[str, Any]) -> bool:
        default = manifest["files"].get(manifest["default"], record)
        return all(default.get(k) == record[k] for k in ("data", "priors", "network"))

    return write_file(folder, name, "checkpoint", tensors, metadata, summary, continues)
