"""A spectral convolution that is symmetric, exact at odd N, and quick on a CPU.

(Kv)^_k = W_k v̂_k for |k|∞ ≤ m and 0 beyond, with complex matrices W_k = conj W_{-k}. Nyquist modes
of an even grid are left out, so the layer is the same operator on every level that resolves m.

The transform is a truncated DFT written as real matrix products, one for each axis: of N
frequencies only those up to m are ever formed. Fields may be contiguous or channels-last, and the
answer has the layout of the question; the products are taken in the order that suits each layout,
so that what they read and write lies in memory as they need it.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mldemo.networks.kept import Kept
from mldemo.networks.parts import BaseSpectralConv
from mldemo.spectral import bandwidth, constant


def _angles(n: int, k: Tensor) -> Tensor:
    """2π k x / N, (modes, N), float64; k x is reduced mod N first so that no digits are lost."""
    return (torch.outer(k, torch.arange(n)) % n).double() * (2 * math.pi / n)


def _columns(n: int, m: int) -> tuple[Tensor, Tensor]:
    """DFT of a real axis and its inverse, (2(m+1), N) and (N, 2(m+1)), k = 0..m.

    v -> [re; im] of Σ_x v(x) e^{-2πikx/N}/N, and back to the real part of Σ_k c_k e^{2πikx/N},
    k > 0 counted twice.
    """
    angle = _angles(n, torch.arange(m + 1))
    c, s = angle.cos(), angle.sin()
    twice = torch.full((m + 1, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    return torch.cat([c, -s]) / n, torch.cat([twice * c, -twice * s]).T


def _placed(matrices: list[Tensor], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [x.to(device=device, dtype=dtype).contiguous() for x in matrices]


@constant
def _exponentials(n: int, m: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For channels-last fields: the rows' DFT, the complex DFT of the columns, their inverses.

    rows (2(m+1), N): v -> pairs (k, re/im) of Σ_x v(x) e^{-2πikx/N}/N, k = 0..m
    columns (2(2m+1), 2N): pairs (re/im, x) -> pairs (k, re/im), k = -m..m
    """
    re, im = _columns(n, m)[0].chunk(2)
    re_inverse, im_inverse = _columns(n, m)[1].T.chunk(2)
    rows, rows_inverse = (
        torch.stack(v, 1).flatten(0, 1) for v in ((re, im), (re_inverse, im_inverse))
    )
    angle = _angles(n, torch.arange(-m, m + 1))
    c, s = angle.cos(), angle.sin()
    waves = torch.stack([torch.cat([c, s], 1), torch.cat([-s, c], 1)], 1).flatten(0, 1)
    return _placed([rows, waves / n, waves.T, rows_inverse.T], dtype, device)


@constant
def _cosines(n: int, m: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For contiguous fields, whose rows are best read by the fewest real functions: six matrices.

    rows (2m+1, N): v -> P_k = Σ_x v(x) cos(2πkx/N)/N for k = 0..m, then Q_k with sin, k = 1..m
    columns (2m+1, 2(m+1), N): the columns' DFT, times -i on the rows Q
    modes (2m+1, 2m+1): P_|k| ∓ iQ_|k| for k = -m..m
    waves (2m+1, 2m+1): c_k + c_{-k} for k = 0..m, then c_k - c_{-k} for k = 1..m
    rows⁻¹ (N, 2m+1): Σ_k a_k cos(2πkx/N) + b_k sin(2πkx/N);  columns⁻¹
    """
    columns, columns_inverse = _columns(n, m)
    angle = _angles(n, torch.arange(m + 1))
    rows = torch.cat([angle.cos(), angle.sin()[1:]])
    re, im = columns.chunk(2)
    turned = torch.cat([im, -re])
    both = torch.cat([columns.expand(m + 1, -1, -1), turned.expand(m, -1, -1)])
    one, none = torch.eye(m, dtype=torch.float64), torch.zeros(m, 1, dtype=torch.float64)
    middle = torch.eye(2 * m + 1, dtype=torch.float64)[:1]
    back = one.flip(0)
    modes = torch.cat([torch.cat([none, back, -back], 1), middle, torch.cat([none, one, one], 1)])
    matrices = [rows / n, both, modes, modes.T, rows.T, columns_inverse]
    return _placed(matrices, dtype, device)


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

    def _real_weight(self, m: int, rows_first: bool) -> Tensor:
        """W_k for |k|∞ ≤ m as real matrices from [re; im] to [re; im]: (modes, 2 in, 2 out).

        Modes k₁ = -m..m, k₂ = 0..m as stored, or `rows_first` the other half, k₁ = 0..m and
        k₂ = -m..m, by W_k = conj W_{-k}.
        """
        cut = self.modes - m
        weight = self.weight
        if cut:  # a negative padding, because its backward pass writes the gradient once
            weight = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, -cut, -cut, -cut))
        if rows_first:
            conjugate = weight.new_tensor([1.0, -1.0])[:, None]
            right, left = weight[m:], weight[: m + 1].flip(0, 1) * conjugate
            middle = (right[:, :1] + left[:, -1:]) / 2  # the Hermitian part
            weight = torch.cat([left[:, :-1], middle, right[:, 1:]], 1)
        re, im = weight.unbind(3)
        top, bottom = torch.cat([re, im], 3), torch.cat([-im, re], 3)
        return torch.cat([top, bottom], 2).flatten(0, 1)

    def forward(self, x: Tensor, output_shape: Any = None, added: Tensor | None = None) -> Tensor:
        """(B, in, N, N) -> (B, out, N, N), plus a field `added`, which may be overwritten."""
        n = x.shape[-1]
        if x.shape[-2] != n or output_shape not in (None, (n, n), [n, n]):
            raise ValueError(f"a square field on one grid is needed, got {tuple(x.shape)}")
        m = min(self.modes, bandwidth(n))
        channels_last = not x.is_contiguous() and x.is_contiguous(
            memory_format=torch.channels_last
        )
        which = m, channels_last
        matrices = self._kept(self.weight, which, partial(self._real_weight, *which))
        act = _act_channels_last if channels_last else _act_contiguous
        y = act(x, matrices, m, added)
        return y if self.bias is None else y + self.bias


def _in_order(z: Tensor, parts: int) -> Tensor:
    """`contiguous`, one part after the other: 2 to 5 times as quick, for the loops are longer."""
    return torch.stack(z.unbind(parts), parts)


class _Onto(torch.autograd.Function):
    """Add one matrix times each of many to a channels-last field, in place.

    Autograd's own `baddbmm` would copy the field first.
    """

    @staticmethod
    def forward(ctx: Any, field: Tensor, matrix: Tensor, many: Tensor) -> Tensor:
        ctx.mark_dirty(field)
        ctx.save_for_backward(matrix)
        ctx.shape = len(many), len(matrix), many.shape[2]
        rows = field.permute(0, 2, 3, 1).view(ctx.shape)
        rows.baddbmm_(matrix.expand(len(many), -1, -1), many)
        return field

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, Tensor]:
        (matrix,) = ctx.saved_tensors
        rows = d.permute(0, 2, 3, 1).reshape(ctx.shape)
        return d, None, matrix.T.expand(len(rows), -1, -1).bmm(rows)


def _product(matrix: Tensor, many: Tensor, b: int, added: Tensor | None) -> Tensor:
    """One matrix times each of many as `b` channels-last fields, onto a field if there is one."""
    if added is not None:
        added = added.contiguous(memory_format=torch.channels_last)
        field: Any = _Onto.apply(added, matrix, many)
        return field
    y = matrix.expand(len(many), -1, -1).bmm(many)
    return y.view(b, len(matrix), len(matrix), -1).permute(0, 3, 1, 2)


def _act_channels_last(x: Tensor, matrices: Tensor, m: int, added: Tensor | None) -> Tensor:
    """Rows, then columns, then mode by mode, and back; only the last product is put in order."""
    b, c, n, _ = x.shape
    r, k, o = 2 * m + 1, m + 1, matrices.shape[2] // 2
    rows, columns, columns_inverse, rows_inverse = _exponentials(n, m, x.dtype, x.device)
    y = rows.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    z = columns.expand(b * k, -1, -1).bmm(y.view(b * k, 2 * n, c)).view(b, k * r, 2 * c)
    w = z.transpose(0, 1).bmm(matrices).transpose(0, 1).reshape(b * k, r * 2, o)
    y = columns_inverse.expand(b * k, -1, -1).bmm(w).view(b, 2 * k, n * o)
    return _product(rows_inverse, y, b, added)


def _act_contiguous(x: Tensor, matrices: Tensor, m: int, added: Tensor | None) -> Tensor:
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
    y = y.permute(0, 2, 3, 1)
    return y if added is None else y + added


@constant
def _interpolation(source: int, target: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(target, source): exact trigonometric resampling of one axis between two levels."""
    k = torch.arange(1, bandwidth(min(source, target)) + 1).double()
    x = torch.arange(target).double() / target
    y = torch.arange(source).double() / source
    phase = 2 * math.pi * (x[:, None, None] - y[None, :, None]) * k
    return ((1 + 2 * phase.cos().sum(-1)) / source).to(device=device, dtype=dtype)


def resample_features(x: Tensor, resolution: int, added: Tensor | None = None) -> Tensor:
    """`mldemo.spectral.resample` as two real matrix products: quick for many channels.

    The answer is channels-last; `added` of its shape is added, and may be overwritten.
    """
    matrix = _interpolation(x.shape[-1], resolution, x.dtype, x.device)
    b, c, n, _ = x.shape
    y = matrix.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    return _product(matrix, y.view(b * resolution, n, c), b, added)
