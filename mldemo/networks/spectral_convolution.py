"""A spectral convolution that is symmetric, exact at odd N, and quick on a CPU.

(Kv)^_k = W_k v̂_k for |k|∞ ≤ m and 0 beyond, with complex matrices W_k = conj W_{-k}. Nyquist modes
of an even grid are left out, so the layer is the same operator on every level that resolves m.

The transform is a truncated DFT written as real matrix products: of N frequencies only those up
to m are ever formed, the grid is read by one thin product, and all that follows is smaller by
2m/N. Fields may be contiguous or channels-last; the answer has the layout of the question.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from neuralop.layers.base_spectral_conv import BaseSpectralConv
from torch import Tensor, nn

from mldemo.spectral import bandwidth


def _angles(n: int, k: Tensor) -> Tensor:
    """2π k x / N, (modes, N), float64; k x is reduced mod N first so that no digits are lost."""
    return (torch.outer(k, torch.arange(n)) % n).double() * (2 * math.pi / n)


@lru_cache(maxsize=64)
def _transforms(
    n: int, m: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four real matrices of the truncated DFT (forward-normalised) and its inverse.

    columns (2(m+1), N): v -> [re; im] of Σ_x v(x) e^{-2πikx/N}/N, k = 0..m
    rows (2(2m+1), 2N): [re; im] -> [re; im] of the same over k = -m..m
    rows⁻¹ (2N, 2(2m+1)): [re; im] -> [re; im] of Σ_k c_k e^{2πikx/N}
    columns⁻¹ (N, 2(m+1)): [re; im] -> the real part, where k > 0 stands for ±k
    """
    half, full = _angles(n, torch.arange(m + 1)), _angles(n, torch.arange(-m, m + 1))
    columns = torch.cat([half.cos(), -half.sin()]) / n
    c, s = full.cos(), full.sin()
    rows = torch.cat([torch.cat([c, s], 1), torch.cat([-s, c], 1)]) / n
    rows_inverse = torch.cat([torch.cat([c, s], 1), torch.cat([-s, c], 1)])
    twice = torch.full((m + 1, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    columns_inverse = torch.cat([twice * half.cos(), -twice * half.sin()])
    matrices = (columns, rows, rows_inverse, columns_inverse)
    a, b, c, d = (x.to(device=device, dtype=dtype).contiguous() for x in matrices)
    return a, b, c.T, d.T  # the products run faster when the inverses are stored transposed


class SpectralConvolution(BaseSpectralConv):
    """Multiply the modes |k|∞ ≤ m of a (B, C, N, N) field by learned complex matrices.

    `n_modes` follows neuralop: the number of modes kept per axis, so (17, 17) keeps |k|∞ ≤ 8; it
    must be odd, for the kept set to be symmetric. The remaining keyword arguments of neuralop's
    `conv_module` are accepted at their defaults only, since they ask for another layer.

    The weights start at zero: a mode that no training level has reached then adds nothing.

    Shape of `weight`: (2m+1, m+1, in, 2, out), real and imaginary part of W_k for k₁ = -m..m and
    k₂ = 0..m. On k₂ = 0 only the Hermitian part acts on real fields.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_modes: int | tuple[int, int] | list[int],
        bias: bool = False,
        **neuralop_defaults: Any,
    ) -> None:
        super().__init__()
        sizes = (n_modes, n_modes) if isinstance(n_modes, int) else tuple(n_modes)
        if len(sizes) != 2 or sizes[0] != sizes[1] or sizes[0] % 2 == 0 or sizes[0] < 1:
            raise ValueError(f"n_modes must be two equal odd numbers, got {n_modes!r}")
        for option in ("separable", "complex_data", "factorization", "resolution_scaling_factor"):
            if neuralop_defaults.get(option):
                raise ValueError(f"{option} is not supported, got {neuralop_defaults[option]!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.modes = sizes[0] // 2
        shape = (2 * self.modes + 1, self.modes + 1, in_channels, 2, out_channels)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1)) if bias else None

    @property
    def n_modes(self) -> tuple[int, int]:
        """Modes kept per axis, as neuralop counts them."""
        return 2 * self.modes + 1, 2 * self.modes + 1

    def transform(self, x: Tensor, output_shape: Any = None) -> Tensor:
        """The skip connection's grid: the same as the layer's."""
        return x

    def forward(self, x: Tensor, output_shape: Any = None) -> Tensor:
        """(B, in, N, N) -> (B, out, N, N)."""
        b, c, n, width = x.shape
        if n != width or output_shape not in (None, (n, n), [n, n]):
            raise ValueError(f"a square field on one grid is needed, got {tuple(x.shape)}")
        m = min(self.modes, bandwidth(n))
        r, k, o = 2 * m + 1, m + 1, self.out_channels
        skip = self.modes - m
        weight = self.weight[skip : skip + r, :k].reshape(r * k, c, 2 * o)
        columns, rows, rows_inverse, columns_inverse = _transforms(n, m, x.dtype, x.device)
        channels_last = not x.is_contiguous() and x.is_contiguous(
            memory_format=torch.channels_last
        )

        if channels_last:
            y = columns.expand(b * n, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b * n, n, c))
            y = y.view(b, n, 2, k, c).transpose(1, 2)
        else:
            y = x.reshape(b * c * n, n) @ columns.T
            y = y.view(b, c, n, 2, k).permute(0, 3, 2, 4, 1)
        y = y.reshape(b, 2 * n, k * c)
        z = rows.expand(b, -1, -1).bmm(y).view(b, 2, r * k, c)
        z = z.permute(2, 1, 0, 3).reshape(r * k, 2 * b, c)  # mode by mode, [re; im] as rows

        w = z.bmm(weight).view(r * k, 2, b, 2, o)
        re, im = w[:, 0, :, 0] - w[:, 1, :, 1], w[:, 0, :, 1] + w[:, 1, :, 0]

        z = torch.stack([re, im]).permute(2, 0, 1, 3).reshape(b, 2 * r, k * o)
        y = rows_inverse.expand(b, -1, -1).bmm(z).view(b, 2, n, k, o)
        if channels_last:
            y = y.transpose(1, 2).reshape(b * n, 2 * k, o)
            y = columns_inverse.expand(b * n, -1, -1).bmm(y).view(b, n, n, o).permute(0, 3, 1, 2)
        else:
            y = y.permute(0, 4, 2, 1, 3).reshape(b * o * n, 2 * k)
            y = (y @ columns_inverse.T).view(b, o, n, n)
        return y if self.bias is None else y + self.bias


@lru_cache(maxsize=64)
def _interpolation(source: int, target: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(target, source): exact trigonometric resampling of one axis between two levels."""
    k = torch.arange(1, bandwidth(min(source, target)) + 1).double()
    x = torch.arange(target).double() / target
    y = torch.arange(source).double() / source
    phase = 2 * math.pi * (x[:, None, None] - y[None, :, None]) * k
    return ((1 + 2 * phase.cos().sum(-1)) / source).to(device=device, dtype=dtype)


def resample_features(x: Tensor, resolution: int) -> Tensor:
    """`mldemo.spectral.resample` as two real matrix products: quick for many channels."""
    matrix = _interpolation(x.shape[-1], resolution, x.dtype, x.device)
    b, c, n, _ = x.shape
    y = x.permute(0, 2, 3, 1).reshape(b, n, n * c)
    y = matrix.expand(b, -1, -1).bmm(y).view(b * resolution, n, c)
    y = matrix.expand(b * resolution, -1, -1).bmm(y)
    return y.view(b, resolution, resolution, c).permute(0, 3, 1, 2)
