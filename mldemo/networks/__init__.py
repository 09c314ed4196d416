"""Score networks F(x, log-SNR), built on parts of neuraloperator."""

from inspect import signature
from typing import Any

import torch
from torch import nn

from mldemo.networks.fno import FourierNeuralOperator
from mldemo.networks.spectral_convolution import SpectralConvolution
from mldemo.networks.unet import UNet
from mldemo.networks.ushaped import UShapedOperator
from mldemo.networks.wavelet import WaveletNeuralOperator

NETWORKS: dict[str, type[nn.Module]] = {
    "fno": FourierNeuralOperator,
    "ushaped": UShapedOperator,
    "unet": UNet,
    "wavelet": WaveletNeuralOperator,
}
# The allowed values. Records come from files and are checked before memory is allocated.
RANGES = {
    "width": (1, 1024),
    "modes": (0, 127),
    "depth": (0, 64),
    "scales": (1, 6),
    "core_grid": (1, 256),
    "core_patch": (1, 16),
    "core_widths": (8, 1024),
    "widths": (8, 1024),
}
LISTS = ("core_widths", "widths")
MOST_WEIGHTS = 100_000_000  # 17 times the largest that is shipped: 400 MB


def complete_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record like {"kind": "ushaped", "width": 16}, completed with default values.

    Checkpoints hold the complete record, so that a later default cannot change its meaning. Its
    values are JSON types: lists where the network's own defaults are tuples.
    """
    kind = record.get("kind")
    if kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {', '.join(NETWORKS)}, got {kind!r}")
    parameters = signature(NETWORKS[kind]).parameters.values()
    options = {"kind": kind} | {p.name: p.default for p in parameters} | record
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_parameter(name: str, value: Any) -> None:
    """Raise `ValueError` unless a parameter of a record is of its type and in its range."""
    low, high = RANGES[name]
    if name not in LISTS:
        if not _whole(value, low, high):
            raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        return
    several = isinstance(value, list | tuple) and 1 <= len(value) <= 4
    if not several or not all(_whole(width, low, high) and width % 8 == 0 for width in value):
        raise ValueError(
            f"{name} must be one to four multiples of 8 from {low} to {high}, got {value!r}"
        )


def build_network(record: dict[str, Any]) -> nn.Module:
    """The network that a record describes, channels-last.

    Raises `ValueError` before anything is allocated if a parameter is unknown, of the wrong type
    or out of range, or if together they would make more than `MOST_WEIGHTS` weights.
    """
    options = complete_record(record)
    kind = options.pop("kind")
    for name, value in options.items():
        if name not in signature(NETWORKS[kind]).parameters:
            known = ", ".join(signature(NETWORKS[kind]).parameters)
            raise ValueError(f"the {kind} network has no parameter {name!r}; it has {known}")
        _check_parameter(name, value)
    with torch.device("meta"):
        count = sum(p.numel() for p in NETWORKS[kind](**options).parameters())
    if count > MOST_WEIGHTS:
        raise ValueError(f"a network may have {MOST_WEIGHTS} weights, {options} make {count}")
    network = NETWORKS[kind](**options)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.data.contiguous(memory_format=torch.channels_last)
            module.weight.data = weight
    return network


__all__ = [
    "NETWORKS",
    "FourierNeuralOperator",
    "SpectralConvolution",
    "UNet",
    "UShapedOperator",
    "WaveletNeuralOperator",
    "build_network",
    "complete_record",
]
