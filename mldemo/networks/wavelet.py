"""A wavelet neural operator: convolutions of wavelet coefficients, scale by scale.

Scales are physical: V_n and W_n, n = 4, 8, 16, …, are spanned by n functions each per axis of the
torus, whatever the grid. The functions are Meyer's, which are orthonormal and whose Fourier
transforms have compact support; so the coefficients of a field of H_N are exact sums over its
modes, on even grids and odd ones, and a layer is one operator K at every N, as a spectral
convolution is: it maps u in H_N to P_N K u. Filters of compact support (Haar's, Daubechies') act
on samples, and are another operator on every grid. The price is a tail: Meyer's functions decay
as the inverse fifth power of the distance and do not vanish.

Sources: T. Tripura, S. Chakraborty, arXiv 2205.02191 (learned weights for wavelet coefficients;
here a convolution of them, and one on every scale, as in G. Gupta, X. Xiao, P. Bogdan,
arXiv 2109.13459). I. Daubechies, Ten Lectures on Wavelets (1992), pages 117 and 137 (Meyer's).
"""

import math

import torch
from torch import Tensor, nn

from mldemo.networks.blocks import OperatorBlock
from mldemo.networks.channels_last import on_both_axes
from mldemo.networks.fno import NeuralOperator
from mldemo.space.spectral import bandwidth, constant

COARSEST = 4  # scaling functions per axis on the coarsest scale


def _scaling(s: Tensor) -> Tensor:
    """φ̂(s): 1 for |s| ≤ 1/3, then cos(π/2 ν(3|s| - 1)), 0 from |s| = 2/3 on."""
    x = (3 * s.abs() - 1).clamp(0, 1)
    return torch.cos(math.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))


def _wavelet(s: Tensor) -> Tensor:
    """|ψ̂(s)| = √(φ̂(s/2)² - φ̂(s)²), between |s| = 1/3 and 4/3."""
    return (_scaling(s / 2) ** 2 - _scaling(s) ** 2).clamp(min=0).sqrt()


def _functions(n: int, gains: Tensor, points: int) -> Tensor:
    """⟨f, g⟩ of the functions f of V_n, then of W_n, with g_x = Σ_k gains_|k| e_k(· - x/points).

    φ_i = n^-½ Σ_k φ̂(k/n) e_k(· - i/n), ψ_i = n^-½ Σ_k |ψ̂(k/n)| e_k(· - (i + ½)/n), i < n.
    (2n, points), float64.
    """
    k, i = torch.arange(len(gains)).double(), torch.arange(n).double()
    x = torch.arange(points).double() / points
    twice = torch.where(k > 0, 2.0, 1.0) * gains / math.sqrt(n)
    rows = []
    for transform, first in ((_scaling, 0.0), (_wavelet, 0.5)):
        angle = 2 * math.pi * (x[None, :, None] - (i[:, None, None] + first) / n) * k
        rows.append((angle.cos() * twice * transform(k / n)).sum(-1))
    return torch.cat(rows)


@constant
def analysis(n: int, resolution: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Samples on N points -> √N times the coefficients in V_n and W_n, (2n, N), without Nyquist.

    Its transpose is the synthesis.
    """
    gains = torch.ones(bandwidth(resolution) + 1).double() / math.sqrt(resolution)
    return _functions(n, gains, resolution).to(device=device, dtype=dtype)


@constant
def halving(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients in V_2n -> those in V_n and W_n: an orthogonal matrix (2n, 2n)."""
    k = torch.arange(2 * n).double()
    gains = _scaling(k / (2 * n)) / math.sqrt(2 * n)
    return _functions(n, gains, 2 * n).to(device=device, dtype=dtype)


def to_bands(u: Tensor) -> Tensor:
    """Quadrants of (B, C, 2n, 2n) as channels (B, 4C, n, n): V⊗V first, then the details."""
    b, c, n = u.shape[0], u.shape[1], u.shape[2] // 2
    u = u.permute(0, 2, 3, 1).reshape(b, 2, n, 2, n, c).permute(0, 2, 4, 1, 3, 5)
    return u.reshape(b, n, n, 4 * c).permute(0, 3, 1, 2)


def from_bands(u: Tensor) -> Tensor:
    """The inverse of `to_bands`."""
    b, c, n = u.shape[0], u.shape[1] // 4, u.shape[2]
    u = u.permute(0, 2, 3, 1).reshape(b, n, n, 2, 2, c).permute(0, 3, 1, 4, 2, 5)
    return u.reshape(b, 2 * n, 2 * n, c).permute(0, 3, 1, 2)


class WaveletConvolution(nn.Module):
    """Circular 3x3 convolutions of the coefficients of each scale, over channels and directions.

    The details of scale n = 4, 8, …, of which there are `scales`, are W_n⊗V_n, V_n⊗W_n and
    W_n⊗W_n; V_4⊗V_4 joins those of scale 4. Finer scales are mapped to 0. The filters start
    at zero, as those of a spectral convolution do. (B, C, N, N) at any N -> the same shape.
    """

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList()
        for scale in range(scales):
            width = channels * (3 if scale else 4)
            like = {"padding": 1, "padding_mode": "circular", "bias": False}
            self.filters.append(nn.Conv2d(width, width, 3, **like))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def _on_scales(self, u: Tensor, scale: int) -> Tensor:
        """Filter the coefficients in V_n and W_n of this scale, and those of all coarser ones."""
        bands = to_bands(u)
        if scale == 0:
            return from_bands(self.filters[0](bands))
        approximation, details = bands.tensor_split([u.shape[1]], 1)
        matrix = halving(COARSEST * 2 ** (scale - 1), u.dtype, u.device)
        below = self._on_scales(on_both_axes(matrix, approximation), scale - 1)
        return from_bands(
            torch.cat([on_both_axes(matrix.T, below), self.filters[scale](details)], 1)
        )

    def forward(self, x: Tensor, skip: nn.Conv2d | None = None) -> Tensor:
        """Filter a field, and add a 1x1 convolution of it if one is given."""
        finest = len(self.filters) - 1
        matrix = analysis(COARSEST * 2**finest, x.shape[-1], x.dtype, x.device)
        u = self._on_scales(on_both_axes(matrix, x), finest)
        return on_both_axes(matrix.T, u, None if skip is None else skip(x))


class WaveletNeuralOperator(NeuralOperator):
    """Lift to `width` channels, `depth` blocks that filter wavelets on `scales`, project to one.

    One set of weights serves every N ≥ 8; the scales resolve |k|∞ ≤ 4·2^scales/3 fully, and what
    is finer is left to the point-wise part of a block. About 0.75 million parameters by default.
    (B, 2, N, N) and scaled log-SNRs, (B, 11) or (1, 11) for all -> (B, 1, N, N).
    """

    def __init__(self, width: int = 24, scales: int = 3, depth: int = 4) -> None:
        super().__init__(
            width,
            (
                OperatorBlock(WaveletConvolution(width, scales), width, 4 * width)
                for _ in range(depth)
            ),
        )
