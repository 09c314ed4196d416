"""A spectral convolution that is symmetric, exact at odd N, and quick on a CPU.

(Kv)^_k = W_k v̂_k for |k|∞ ≤ m and 0 beyond, with complex matrices W_k = conj W_{-k}. Nyquist modes
of an even grid are left out, so the layer is the same operator on every level that resolves m.

The transform is a truncated DFT written as real matrix products, one for each axis: of N
frequencies only those up to m are ever formed. Fields may be contiguous or channels-last, and the
answer has the layout of the question; the products are taken in the order that suits each layout,
so that what they read and write lies in memory as they need it: contiguous fields here,
channels-last ones, which the networks use, in `channels_last.py`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks.channels_last import angles, fourier_layer, half_plane_matrices
from mldemo.networks.kept import Kept
from mldemo.networks.parts import BaseSpectralConv
from mldemo.space.spectral import bandwidth, constant


@constant
def _cosines(n: int, m: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For contiguous fields, whose rows are best read by the fewest real functions: six matrices.

    rows (2m+1, N): v -> P_k = Σ_x v(x) cos(2πkx/N)/N for k = 0..m, then Q_k with sin, k = 1..m
    columns (2m+1, 2(m+1), N): the columns' DFT, times -i on the rows Q
    modes (2m+1, 2m+1): P_|k| ∓ iQ_|k| for k = -m..m
    waves (2m+1, 2m+1): c_k + c_{-k} for k = 0..m, then c_k - c_{-k} for k = 1..m
    rows⁻¹ (N, 2m+1): Σ_k a_k cos(2πkx/N) + b_k sin(2πkx/N);  columns⁻¹
    """
    k = torch.arange(m + 1)
    angle = angles(n, k)
    c, s = angle.cos(), angle.sin()
    rows = torch.cat([c, s[1:]])
    columns, turned = torch.cat([c, -s]) / n, torch.cat([-s, -c]) / n
    twice = torch.where(k > 0, 2.0, 1.0).double()[:, None]
    columns_inverse = torch.cat([twice * c, -twice * s]).T
    both = torch.cat([columns.expand(m + 1, -1, -1), turned.expand(m, -1, -1)])
    one, none = torch.eye(m, dtype=torch.float64), torch.zeros(m, 1, dtype=torch.float64)
    middle = torch.eye(2 * m + 1, dtype=torch.float64)[:1]
    back = one.flip(0)
    modes = torch.cat([torch.cat([none, back, -back], 1), middle, torch.cat([none, one, one], 1)])
    matrices = rows / n, both, modes, modes.T, rows.T, columns_inverse
    return [v.to(device=device, dtype=dtype).contiguous() for v in matrices]


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
        self._kept = Kept()

    @property
    def n_modes(self) -> tuple[int, int]:
        """Modes kept per axis, as neuralop counts them."""
        return 2 * self.modes + 1, 2 * self.modes + 1

    def transform(self, x: Tensor, output_shape: Any = None) -> Tensor:
        """The skip connection's grid: the same as the layer's."""
        return x

    def _stored_matrices(self, m: int) -> Tensor:
        """W_k, k₁ = -m..m and k₂ = 0..m, as real matrices from [re; im]: (modes, 2 in, 2 out)."""
        cut = self.modes - m
        # a negative padding, because its backward pass writes the gradient once
        weight = functional.pad(self.weight, (0, 0, 0, 0, 0, 0, 0, -cut, -cut, -cut))
        re, im = weight.unbind(3)
        top, bottom = torch.cat([re, im], 3), torch.cat([-im, re], 3)
        return torch.cat([top, bottom], 2).flatten(0, 1)

    def forward(
        self, x: Tensor, output_shape: Any = None, skip: nn.Conv2d | None = None
    ) -> Tensor:
        """(B, in, N, N) -> (B, out, N, N), plus a 1x1 convolution of x if one is given."""
        n = x.shape[-1]
        if x.shape[-2] != n or output_shape not in (None, (n, n), [n, n]):
            raise ValueError(f"a square field on one grid is needed, got {tuple(x.shape)}")
        m = min(self.modes, bandwidth(n))
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            compute = partial(half_plane_matrices, self.weight, m)
            y = fourier_layer(x, self._kept(self.weight, ("half plane", m), compute), m, skip)
        else:
            compute = partial(self._stored_matrices, m)
            y = _act_contiguous(x, self._kept(self.weight, ("stored", m), compute), m)
            y = y if skip is None else y + skip(x)
        return y if self.bias is None else y + self.bias


def _in_order(z: Tensor, parts: int) -> Tensor:
    """`contiguous`, one part after the other: 2 to 5 times as quick, for the loops are longer."""
    return torch.stack(z.unbind(parts), parts)


def _act_contiguous(x: Tensor, matrices: Tensor, m: int) -> Tensor:
    """Rows, then columns, then mode by mode, and back; the last product is a 1x1 convolution."""
    b, c, n, _ = x.shape
    r, k, o = 2 * m + 1, m + 1, matrices.shape[2] // 2
    rows, columns, modes, waves, rows_inverse, columns_inverse = _cosines(n, m, x.dtype, x.device)
    y = rows.expand(b * c, -1, -1).bmm(x.reshape(b * c, n, n)).view(b * c, r, n)
    z = modes @ columns.bmm(y.permute(1, 2, 0)).view(r, 2 * k * b * c)
    z = z.view(r, 2, k, b, c).permute(0, 2, 3, 1, 4)
    z = _in_order(z, 3).reshape(r * k, b, 2 * c)
    w = (waves @ z.bmm(matrices).view(r, k * b * 2 * o)).view(r, k, b, 2, o)
    re, im = (part.split([m + 1, m]) for part in w.unbind(3))  # of cosines, of sines
    # ce^{iθ} + c'e^{-iθ} = (c + c') cos θ + i(c - c') sin θ
    w = torch.stack([torch.cat([re[0], -im[1]]), torch.cat([im[0], re[1]])], 1)
    w = w.view(r * 2 * k, b * o).T.contiguous().view(b * o, r, 2 * k)
    y = rows_inverse.expand(b * o, -1, -1).bmm(w).view(b, o, n, 2 * k)
    y = functional.conv2d(y.permute(0, 3, 1, 2), columns_inverse[:, :, None, None])
    return y.permute(0, 2, 3, 1)
