"""The baseline: a U-Net on the grid it is given, as image diffusion models use it.

Its 3x3 convolutions cover the same number of grid points on every grid, so their reach on the
torus halves when N doubles: at each N it is another operator, and weights trained at one N need
not work at the next. It is here for comparison with the operators, which apply at every N.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks.blocks import CONDITIONS, FIELDS, Embedding, check_inputs
from mldemo.networks.ushaped import Attention, ResidualBlock


class UNet(nn.Module):
    """A residual block per level down and up, concatenated skips, attention on the coarsest grid.

    `widths` channels at N, N/2, N/4, …: convolutions of stride 2 lead down, nearest neighbours and
    a convolution up, like diffusers' `UNet2DModel` but smaller: one block a level up where it has
    two at least, and FiLM for the time. About 0.54 million parameters by default.
    (B, 2, N, N) at any N ≥ 8 and scaled log-SNRs, (B, 11) or (1, 11) for all -> (B, 1, N, N).
    Source: J. Ho, A. Jain, P. Abbeel, arXiv 2006.11239.
    """

    def __init__(self, widths: tuple[int, ...] | list[int] = (16, 32, 96)) -> None:
        super().__init__()
        features = 4 * widths[0]
        pairs = list(pairwise(widths))
        self.embedding = Embedding(CONDITIONS, features)
        self.enter = nn.Conv2d(FIELDS, widths[0], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(w, w, features) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.middle = ResidualBlock(widths[-1], widths[-1], features)
        self.attention = Attention(widths[-1])
        self.last = ResidualBlock(widths[-1], widths[-1], features)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(ResidualBlock(2 * w, w, features) for w in widths[:-1])
        self.norm = nn.GroupNorm(8, widths[0])
        self.project = nn.Conv2d(widths[0], 1, 3, padding=1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)  # so that D is the linear filter at first

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        """Evaluate the network on the grid of `x`; an odd side n is halved to (n + 1)/2."""
        check_inputs(x, snr, self.project.weight)
        e = self.embedding(snr)
        h, kept = self.enter(x.contiguous(memory_format=torch.channels_last)), []
        for down, shrink in zip(self.down, self.shrink, strict=True):
            h = down(h, e)
            kept.append(h)
            h = shrink(h)
        h = self.last(self.attention(self.middle(h, e)), e)
        for grow, up in zip(reversed(self.grow), reversed(self.up), strict=True):
            skip = kept.pop()
            n = skip.shape[-1]
            h = grow(functional.interpolate(h, scale_factor=2, mode="nearest")[..., :n, :n])
            h = up(torch.cat([h, skip], 1), e)
        return self.project(functional.silu(self.norm(h)))
