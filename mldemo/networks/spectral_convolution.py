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
    """Real matrices of the truncated DFT (forward-normalised) and its inverse.

    rows (2m+1, N): v -> Σ_x v(x) cos(2πkx/N)/N for k = 0..m, then with sin for k = 1..m
    columns (2(m+1), N): v -> [re; im] of Σ_x v(x) e^{-2πikx/N}/N for k = 0..m
    columns⁻¹ (N, 2(m+1)): [re; im] -> the real part of Σ_k c_k e^{2πikx/N}, k > 0 counted twice
    rows⁻¹ (N, 2m+1): Σ_k a_k cos(2πkx/N) + b_k sin(2πkx/N)
    """
    angle = _angles(n, torch.arange(m + 1))
    c, s = angle.cos(), angle.sin()
    rows, columns = torch.cat([c, s[1:]]), torch.cat([c, -s])
    twice = torch.full((m + 1, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    matrices = (rows / n, columns / n, torch.cat([twice * c, -twice * s]), rows)
    a, b, c, d = (x.to(device=device, dtype=dtype).contiguous() for x in matrices)
    return a, b, c.T, d.T  # the products run faster when the inverses are stored transposed


def _exponentials(t: Tensor) -> Tensor:
    """Cosine and sine coefficients along k₁ as those of e^{-iθ}: (2m+1, 2, …) -> (2m+1, 2, …).

    With P = Σ v cos and Q = Σ v sin, both complex along axis 1, the mode ±k₁ is P ∓ iQ. The
    answer runs over k₁ = -m..m.
    """
    m = len(t) // 2
    p, q = t[1 : m + 1], t[m + 1 :]
    turned = torch.stack([q[:, 1], -q[:, 0]], 1)  # -iQ
    return torch.cat([(p - turned).flip(0), t[:1], p + turned])


def _waves(z: Tensor) -> Tensor:
    """The inverse: c_k e^{iθ} + c_{-k} e^{-iθ} = (c_k + c_{-k}) cos θ + i(c_k - c_{-k}) sin θ."""
    m = len(z) // 2
    minus, plus = z[:m].flip(0), z[m + 1 :]
    gap = plus - minus
    turned = torch.stack([-gap[:, 1], gap[:, 0]], 1)  # i(c_k - c_{-k})
    return torch.cat([z[m : m + 1], plus + minus, turned])


class SpectralConvolution(BaseSpectralConv):
    """Multiply the modes |k|∞ ≤ m of a (B, C, N, N) field by learned complex matrices.

    `n_modes` follows neuralop: the number of modes kept per axis, so (17, 17) keeps |k|∞ ≤ 8; it
    must be odd, for the kept set to be symmetric. Of the other arguments that neuralop passes to a
    `conv_module`, those that would ask for another layer are refused.

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
        rows, columns, columns_inverse, rows_inverse = _transforms(n, m, x.dtype, x.device)
        channels_last = not x.is_contiguous() and x.is_contiguous(
            memory_format=torch.channels_last
        )

        if channels_last:
            y = rows.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
            y = columns.expand(b * r, -1, -1).bmm(y.view(b * r, n, c))
            t = y.view(b, r, 2, k, c).permute(1, 2, 3, 0, 4)
        else:
            y = rows.expand(b * c, -1, -1).bmm(x.reshape(b * c, n, n))
            t = (y.view(b * c * r, n) @ columns.T).view(b, c, r, 2, k)
            t = t.permute(2, 3, 4, 0, 1).contiguous()  # the sums that follow want it in order
        z = _exponentials(t)  # (r, 2, k, b, c)
        z = z.transpose(1, 2).reshape(r * k, 2 * b, c)  # mode by mode, [re; im] as rows

        w = z.bmm(weight).view(r, k, 2, b, 2, o)
        re, im = w[:, :, 0, :, 0] - w[:, :, 1, :, 1], w[:, :, 0, :, 1] + w[:, :, 1, :, 0]

        t = _waves(torch.stack([re, im], 1))  # (r, 2, k, b, o)
        if channels_last:
            y = columns_inverse.expand(b * r, -1, -1).bmm(
                t.permute(3, 0, 1, 2, 4).reshape(b * r, 2 * k, o)
            )
            y = rows_inverse.expand(b, -1, -1).bmm(y.view(b, r, n * o))
            y = y.view(b, n, n, o).permute(0, 3, 1, 2)
        else:
            y = t.permute(3, 4, 0, 1, 2).reshape(b * o * r, 2 * k) @ columns_inverse.T
            y = rows_inverse.expand(b * o, -1, -1).bmm(y.view(b * o, r, n)).view(b, o, n, n)
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
