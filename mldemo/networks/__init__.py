"""Score networks F(x, log-SNR): the only package that imports neuralop."""

from inspect import signature
from typing import Any

import torch
from torch import nn

from mldemo.networks.fno import FourierNeuralOperator
from mldemo.networks.spectral_convolution import SpectralConvolution
from mldemo.networks.unet import UNet
from mldemo.networks.ushaped import UShapedOperator

NETWORKS: dict[str, type[nn.Module]] = {
    "fno": FourierNeuralOperator,
    "ushaped": UShapedOperator,
    "unet": UNet,
}


def complete_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record {"kind": "ushaped", "width": 16} with every other parameter at its default.

    A checkpoint carries the whole of it, so that a later default cannot change what it means.
    """
    kind = record.get("kind")
    if kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {', '.join(NETWORKS)}, got {kind!r}")
    parameters = signature(NETWORKS[kind]).parameters.values()
    return {"kind": kind} | {p.name: p.default for p in parameters} | record


def build_network(record: dict[str, Any]) -> nn.Module:
    """The network that a record describes, channels-last."""
    options = complete_record(record)
    kind = options.pop("kind")
    try:
        network = NETWORKS[kind](**options)
    except TypeError as error:
        raise ValueError(f"the {kind} network cannot be built from {options}: {error}") from None
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
    "build_network",
    "complete_record",
]
