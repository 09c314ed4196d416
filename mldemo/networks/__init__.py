"""Score networks F(x, log-SNR): the only package that imports neuralop."""

from typing import Any

import torch
from torch import nn

from mldemo.networks.fno import FourierNeuralOperator
from mldemo.networks.spectral_convolution import SpectralConvolution
from mldemo.networks.ushaped import UShapedOperator

NETWORKS: dict[str, type[nn.Module]] = {"fno": FourierNeuralOperator, "ushaped": UShapedOperator}


def build_network(record: dict[str, Any]) -> nn.Module:
    """The network that a record {"kind": "ushaped", "width": 32, …} describes, channels-last."""
    options = dict(record)
    kind = options.pop("kind", None)
    if kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {', '.join(NETWORKS)}, got {kind!r}")
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
    "UShapedOperator",
    "build_network",
]
