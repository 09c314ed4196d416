"""The exponential moving average of a network's weights, which is used for sampling."""

from copy import deepcopy

import torch
from torch import nn


class Average:
    """a <- d a + (1 - d) w after each step, d = min(`decay`, (1 + n)/(10 + n)) after n others.

    The decay warms up, so that short runs are averaged too; the first step (d = 0) replaces the
    initial weights. `torch.optim.swa_utils.AveragedModel` keeps n in a tensor, so that reading it
    would synchronise with the device at every step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = deepcopy(network), decay, 0
        self.module.requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update the average with the weights after one more step."""
        n = self.steps
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        for average, weight in zip(self.module.parameters(), network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        self.steps += 1
