"""The U-shaped operator: a convolutional core on a latent grid of fixed size, Fourier blocks.

The content of an image is decided at low frequencies, where convolutions are good and a Fourier
layer is not; its fine detail is decided on the full grid. The core sees the restriction of the
field to a grid that does not depend on N, so ordinary 3x3 convolutions in it are one operator at
every resolution and its cost is constant in N.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks.blocks import (
    CONDITIONS,
    FIELDS,
    Embedding,
    FourierBlock,
    Modulation,
    check_inputs,
    to_one_channel,
    with_coordinates,
)
from mldemo.networks.channels_last import resample_features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm, SiLU and FiLM between them, and a skip.

    Zero padding: on a latent grid of fixed size it marks the border for the core.
    """

    def __init__(self, channels: int, out_channels: int, features: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.modulation = Modulation(features, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        same = channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(B, channels, n, n) -> (B, out_channels, n, n)."""
        g = self.conv1(functional.silu(self.norm1(h)))
        g = self.modulation(self.norm2(g), embedding)
        return self.skip(h) + self.conv2(g)


class Attention(nn.Module):
    """One head of self-attention over the points of a small grid, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, n, n) -> (B, C, n, n)."""
        b, c, n, _ = h.shape
        qkv = self.qkv(self.norm(h)).permute(0, 2, 3, 1).reshape(b, 1, n * n, 3 * c)
        q, k, v = qkv.chunk(3, 3)
        a = functional.scaled_dot_product_attention(q, k, v)
        return h + self.out(a.view(b, n, n, c).permute(0, 3, 1, 2))


class Core(nn.Module):
    """A U-Net on the latent grid: one residual block per level down, one or two per level up.

    It works on patches of `patch` x `patch` points, as vision transformers do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: tuple[int, ...],
        patch: int,
        features: int,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.enter = nn.Conv2d(in_channels * patch**2, widths[0], 3, padding=1)
        self.leave = nn.Conv2d(widths[0], out_channels * patch**2, 1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(ResidualBlock(w, w, features) for w in widths[:-1])
        self.widen = nn.ModuleList(ResidualBlock(a, b, features) for a, b in pairs)
        self.middle = ResidualBlock(widths[-1], widths[-1], features)
        self.attention = Attention(widths[-1])
        self.last = ResidualBlock(widths[-1], widths[-1], features)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = nn.ModuleList(ResidualBlock(w, w, features) for w in widths[:-1])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, in, n, n) -> (B, out, n, n)."""
        h, kept = self.enter(functional.pixel_unshuffle(x, self.patch)), []
        for down, widen in zip(self.down, self.widen, strict=True):
            h = down(h, embedding)
            kept.append(h)
            h = widen(functional.avg_pool2d(h, 2), embedding)
        h = self.last(self.attention(self.middle(h, embedding)), embedding)
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            h = functional.interpolate(narrow(h), scale_factor=2, mode="nearest")
            h = up(h + kept.pop(), embedding)
        return functional.pixel_shuffle(self.leave(h), self.patch)


class UShapedOperator(nn.Module):
    """Restrict to a fixed grid, a U-Net there, prolong, then Fourier blocks on the full grid.

    The latent grid has `core_grid` points per side and enters the core in patches of
    `core_patch`²; `core_widths` channels there and after every halving; `width` channels and
    |k|∞ ≤ `modes` in the `depth` Fourier blocks. (B, 2, N, N) at any N ≥ 8 and scaled log-SNRs,
    (B, 11) or (1, 11) for all -> (B, 1, N, N).
    `core_grid` must be a multiple of `core_patch` · 2^(len(`core_widths`) - 1), else `ValueError`.
    """

    def __init__(
        self,
        width: int = 32,
        modes: int = 8,
        depth: int = 1,
        core_grid: int = 16,
        core_patch: int = 2,
        core_widths: tuple[int, ...] | list[int] = (48, 96),
    ) -> None:
        super().__init__()
        multiple = core_patch * 2 ** (len(core_widths) - 1)
        if core_grid < multiple or core_grid % multiple:
            raise ValueError(f"core_grid must be a multiple of {multiple}, got {core_grid}")
        features = 4 * width
        self.core_grid = core_grid
        self.embedding = Embedding(CONDITIONS, features)
        self.core = Core(FIELDS + 4, width, tuple(core_widths), core_patch, features)
        self.lift = nn.Conv2d(FIELDS + 4, width, 1)
        self.blocks = nn.ModuleList(FourierBlock(width, modes, features) for _ in range(depth))
        self.hidden = nn.Conv2d(width, width, 1)
        self.project = nn.Conv2d(width, 1, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)  # so that D is the linear filter at first

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        """Evaluate the operator on fields sampled at any N."""
        check_inputs(x, snr, self.project.weight)
        n, e = x.shape[-1], self.embedding(snr)
        latent = resample_features(x, self.core_grid)
        latent = self.core(with_coordinates(latent), e)
        h = resample_features(latent, n, added=self.lift(with_coordinates(x)))
        for block in self.blocks:
            h = block(h, e)
        return to_one_channel(self.project, functional.silu(self.hidden(h)))
