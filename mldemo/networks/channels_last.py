"""Channels-last fields: Fourier layer with a skip, resampling; as products with real matrices.

On real fields the layer is K = Fᵀ W F, where F takes a field to the modes of a half plane, scaled
so that Fᵀ takes them back. F is a truncated DFT written as two products, one for each axis: of N
frequencies only those up to m are ever formed. The backward pass is the same layer with Wᵀ.

Sums are taken in place, forward and backward, where autograd would copy one of the terms.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mldemo.space.spectral import bandwidth, constant

ROWS = torch.channels_last  # the layout that the products want: (B, N, N, C) in memory


def _wave_numbers(m: int) -> Tensor:
    """0..m, then -1..-m: the order of modes along the second axis."""
    k = torch.arange(1, m + 1)
    return torch.cat([torch.zeros(1, dtype=k.dtype), k, -k])


def angles(n: int, k: Tensor) -> Tensor:
    """2π k x / N, (modes, N), float64; k x is reduced mod N first so that no digits are lost."""
    return (torch.outer(k, torch.arange(n)) % n).double() * (2 * math.pi / n)


def _wave(n: int, k: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of e^{-2πikx/N}/√N, (modes, N), float64."""
    angle = angles(n, k)
    return angle.cos() / math.sqrt(n), -angle.sin() / math.sqrt(n)


@constant
def _transform(n: int, m: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """F along the first axis and along the second.

    first (2(m+1), N): a real axis -> pairs (k, re/im), k = 0..m; k > 0 stands for -k as well and
    is weighted by √2.
    second (2(2m+1), 2N): a complex axis, pairs (re/im, x) -> pairs (k, re/im), `_wave_numbers`.
    """
    k = torch.arange(m + 1)
    weight = torch.where(k > 0, 2.0, 1.0).double().sqrt()[:, None, None]
    first = weight * torch.stack(_wave(n, k), 1)
    re, im = _wave(n, _wave_numbers(m))
    second = torch.stack([torch.cat([re, -im], 1), torch.cat([im, re], 1)], 1)
    a, b = (v.flatten(0, 1).to(device, dtype).contiguous() for v in (first, second))
    return a, b


def _analysis(x: Tensor, m: int) -> Tensor:
    """F: channels-last (B, C, N, N) -> (modes, B, 2C), real parts, then imaginary parts.

    The modes are (k₁, k₂), k₁ = 0..m, k₂ as in `_wave_numbers`: a half plane, k₁ = 0 twice.
    """
    b, c, n, _ = x.shape
    first, second = _transform(n, m, x.dtype, x.device)
    y = first.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    y = second.expand(b * (m + 1), -1, -1).bmm(y.view(-1, 2 * n, c))
    return y.view(b, -1, 2 * c).transpose(0, 1)


def _synthesis(modes: Tensor, m: int, n: int, onto: Tensor | None = None) -> Tensor:
    """Fᵀ: (modes, B, 2C) -> channels-last (B, C, N, N), added to a field if there is one."""
    b, c = modes.shape[1], modes.shape[2] // 2
    first, second = _transform(n, m, modes.dtype, modes.device)
    y = modes.transpose(0, 1).reshape(b * (m + 1), len(second), c)
    y = second.T.expand(b * (m + 1), -1, -1).bmm(y).view(b, len(first), n * c)
    return _product(first.T, y, b, onto)


def _product(matrix: Tensor, many: Tensor, b: int, onto: Tensor | None = None) -> Tensor:
    """One matrix times each of many, as `b` channels-last fields, onto a field if there is one."""
    n, matrices = len(matrix), matrix.expand(len(many), -1, -1)
    if onto is None:
        return matrices.bmm(many).view(b, n, n, -1).permute(0, 3, 1, 2)
    onto = onto.contiguous(memory_format=ROWS)
    rows = onto.permute(0, 2, 3, 1).view(len(many), n, -1)
    torch.baddbmm(rows, matrices, many, out=rows)
    return onto


class _FourierLayer(torch.autograd.Function):
    """Fᵀ W F x + A x + a, with W_k as real matrices (modes, 2 in, 2 out); A is a 1x1 convolution.

    Every sum is taken in place, where autograd would copy or keep both terms.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrices: Tensor, m: int, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        modes = _analysis(x, m)
        y = None if weight is None else functional.conv2d(x, weight, bias)
        ctx.m, ctx.n = m, x.shape[-1]
        ctx.save_for_backward(modes, matrices, *(() if weight is None else (x, weight)))
        return _synthesis(modes.bmm(matrices), m, ctx.n, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        modes, matrices, *skip = ctx.saved_tensors
        dy = dy.contiguous(memory_format=ROWS)
        dx = dmatrices = dweight = dbias = None
        if skip:
            x, weight = skip
            if ctx.needs_input_grad[0]:
                dx = functional.conv2d(dy, weight.transpose(0, 1))
            # a product per sample, then their sum: quicker than torch's own backward pass
            dweight = dy.flatten(2).bmm(x.flatten(2).mT).sum(0)[:, :, None, None]
            dbias = dy.sum((0, 2, 3)) if ctx.needs_input_grad[4] else None
        d = _analysis(dy, ctx.m)
        if ctx.needs_input_grad[0]:
            dx = _synthesis(d.bmm(matrices.transpose(1, 2)), ctx.m, ctx.n, dx)
        if ctx.needs_input_grad[1]:
            dmatrices = modes.transpose(1, 2).bmm(d)
        return dx, dmatrices, None, dweight, dbias


def _write(matrices: Tensor, weight: Tensor) -> None:
    """Write [[re, im], [-im, re]], (…, 2, in, 2, out), from (…, in, 2, out)."""
    re, im = weight.unbind(-2)
    matrices[..., 0, :, :, :] = weight
    matrices[..., 1, :, 1, :] = re
    torch.neg(im, out=matrices[..., 1, :, 0, :])


def _read(matrices: Tensor, gradient: Tensor) -> None:
    """The adjoint of `_write`, into (…, in, 2, out)."""
    top, bottom = matrices.unbind(-4)
    torch.add(top[..., 0, :], bottom[..., 1, :], out=gradient[..., 0, :])
    torch.sub(top[..., 1, :], bottom[..., 0, :], out=gradient[..., 1, :])


class _HalfPlaneMatrices(torch.autograd.Function):
    """The W_k of `_analysis`'s modes as real matrices from [re; im] to [re; im].

    (2M+1, M+1, in, 2, out) -> (modes, 2 in, 2 out), [[re, im], [-im, re]]. Of k₂ < 0 the stored
    half plane has W_{-k} = conj W_k; of k₂ = 0 the Hermitian part is taken.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, m: int) -> Tensor:
        ctx.m, ctx.shape = m, weight.shape
        middle, (i, _, o) = len(weight) // 2, weight.shape[2:]
        right = weight[middle : middle + m + 1, : m + 1]
        left = weight[middle - m : middle + 1, : m + 1].flip(0)
        matrices = weight.new_empty(m + 1, 2 * m + 1, 2, i, 2, o)
        left[:, :, :, 1].neg_()
        _write(matrices[:, : m + 1], right)
        _write(matrices[:, m + 1 :], left[:, 1:])
        _write(matrices[:, 0], (right[:, 0] + left[:, 0]) / 2)
        return matrices.view(-1, 2 * i, 2 * o)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        m, (i, _, o) = ctx.m, ctx.shape[2:]
        middle = ctx.shape[0] // 2
        plus, minus = d.view(m + 1, 2 * m + 1, 2, i, 2, o).split([m + 1, m], 1)
        gradient = d.new_zeros(ctx.shape)
        right = gradient[middle : middle + m + 1, : m + 1]
        _read(plus, right)
        right[:, 0] /= 2
        left = torch.empty_like(right)
        _read(minus, left[:, 1:])
        left[:, 0] = right[:, 0]
        left[:, :, :, 1].neg_()
        gradient[middle - m : middle + 1, : m + 1] += left.flip(0)
        return gradient, None


def half_plane_matrices(weight: Tensor, m: int) -> Tensor:
    """The weight of a `SpectralConvolution` as the matrices that `fourier_layer` wants.

    (2M+1, M+1, in, 2, out) -> (modes, 2 in, 2 out), m ≤ M.
    """
    matrices: Any = _HalfPlaneMatrices.apply(weight, m)
    return matrices


def fourier_layer(x: Tensor, matrices: Tensor, m: int, skip: nn.Conv2d | None = None) -> Tensor:
    """Channels-last (B, in, N, N) -> (B, out, N, N): Fᵀ W F x, plus a 1x1 convolution of x."""
    convolution = (None, None) if skip is None else (skip.weight, skip.bias)
    y: Any = _FourierLayer.apply(x, matrices, m, *convolution)
    return y


@constant
def _interpolation(source: int, target: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(target, source): exact trigonometric resampling of one axis between two levels."""
    k = torch.arange(1, bandwidth(min(source, target)) + 1).double()
    x = torch.arange(target).double() / target
    y = torch.arange(source).double() / source
    phase = 2 * math.pi * (x[:, None, None] - y[None, :, None]) * k
    return ((1 + 2 * phase.cos().sum(-1)) / source).to(device=device, dtype=dtype)


class _Resampling(torch.autograd.Function):
    """R x Rᵀ on channels-last fields, onto another; autograd's `baddbmm` would copy that first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, onto: Tensor | None) -> Tensor:
        if onto is not None:
            ctx.mark_dirty(onto)
        ctx.save_for_backward(matrix)
        return _resampled(x, matrix, onto)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (matrix,) = ctx.saved_tensors
        dx = _resampled(dy, matrix.T) if ctx.needs_input_grad[0] else None
        return dx, None, dy if ctx.needs_input_grad[2] else None


def _resampled(x: Tensor, matrix: Tensor, onto: Tensor | None = None) -> Tensor:
    b, c, n, _ = x.shape
    y = matrix.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    return _product(matrix, y.view(-1, n, c), b, onto)


def resample_features(x: Tensor, resolution: int, added: Tensor | None = None) -> Tensor:
    """`mldemo.space.spectral.resample` as two real matrix products: quick for many channels.

    The answer is channels-last; `added` of its shape is added, and may be overwritten.
    """
    matrix = _interpolation(x.shape[-1], resolution, x.dtype, x.device)
    if added is not None:
        added = added.contiguous(memory_format=ROWS)
    y: Any = _Resampling.apply(x, matrix, added)
    return y
