"""The exponential moving average of a network's weights, which is what is sampled from."""

from copy import deepcopy

import torch
from torch import nn


class Average:
    """a <- d a + (1 - d) w after each step, d = min(`decay`, (1 + n)/(10 + n)) when n were taken.

    The decay warms up, so that a short run has an average of its own too; the first step replaces
    the initial weights. `torch.optim.swa_utils.AveragedModel` counts the steps in a tensor and
    would have to ask the device for n at every step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = deepcopy(network), decay, 0
        self.module.requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of one more step."""
        n = self.steps
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        for average, weight in zip(self.module.parameters(), network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        self.steps += 1
