"""Checkpoints that differ only in the size of the network, and the one that suits a device."""

from pathlib import Path

import torch

from mldemo.networks.sizes import size_of
from mldemo.store.manifest import (
    BUNDLE,
    CheckpointError,
    checkpoint_names,
    prior_names,
    read_manifest,
)


def counterparts(name: str, folder: Path = BUNDLE) -> dict[str, str]:
    """By size, the checkpoints that differ from this one only in the size of the network.

    They include the checkpoint itself. Data, priors and levels of training are the same, numbers
    of steps may differ. Of several in one size it is the first. Empty for a network of neither
    size. A manifest may name another pair under "sizes", for instance where the large network is
    not at its best after the finest level.
    """
    manifest = read_manifest(folder)
    files, pair = manifest["files"], manifest.get("sizes", {})
    if name in pair.values():
        for size, other in pair.items():
            if size_of(files[other].get("network", {})) != size:
                raise CheckpointError(f"the manifest calls {other} {size}, which it is not")
        return dict(pair)

    def trained(other: str) -> tuple[object, ...]:
        entry = files[other]
        levels = [resolution for resolution, _ in entry["levels"]]
        varied = bool(entry.get("variations"))
        return entry.get("data"), sorted(prior_names(entry)), varied, levels

    if name not in files or size_of(files[name].get("network", {})) is None:
        return {}
    found: dict[str, str] = {}
    for other in [name, *checkpoint_names(folder)]:
        size = size_of(files[other].get("network", {}))
        if size is not None and trained(other) == trained(name):
            found.setdefault(size, other)
    return found


def suited(name: str, device: torch.device | str, folder: Path = BUNDLE) -> str:
    """A checkpoint in the size for a device: the large one on a GPU, the light one on a CPU.

    The checkpoint itself if there is no such counterpart.
    """
    size = "light" if torch.device(device).type == "cpu" else "large"
    return counterparts(name, folder).get(size, name)
