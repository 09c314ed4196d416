"""Channels-last fields: Fourier layer and resampling, as products with real matrices.

On real fields the layer is K = Fᵀ W F, where F takes a field to the modes of a half plane, scaled
so that Fᵀ takes them back. F is a truncated DFT written as two products, one for each axis: of N
frequencies only those up to m are ever formed. The backward pass is the same layer with Wᵀ.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mldemo.space.spectral import bandwidth, constant


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

    first (2(m+1), N): a real axis -> pairs (k, re/im), k = 0..m; k > 0 represents -k as well
    and is weighted by √2.
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
    """F: (B, C, N, N) -> (modes, B, 2C), real parts, then imaginary parts.

    The modes are (k₁, k₂), k₁ = 0..m, k₂ as in `_wave_numbers`: a half plane, in which
    those with k₁ = 0 occur twice, as ±k₂.
    """
    b, c, n, _ = x.shape
    first, second = _transform(n, m, x.dtype, x.device)
    y = first.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    y = second.expand(b * (m + 1), -1, -1).bmm(y.view(-1, 2 * n, c))
    return y.view(b, -1, 2 * c).transpose(0, 1)


def _synthesis(modes: Tensor, m: int, n: int, added: Tensor | None) -> Tensor:
    """Fᵀ: (modes, B, 2C) -> (B, C, N, N), plus the field `added` if given."""
    b, c = modes.shape[1], modes.shape[2] // 2
    first, second = _transform(n, m, modes.dtype, modes.device)
    y = modes.transpose(0, 1).reshape(b * (m + 1), len(second), c)
    y = second.T.expand(b * (m + 1), -1, -1).bmm(y).view(b, len(first), n * c)
    return _product(first.T, y, b, added)


def _product(matrix: Tensor, many: Tensor, b: int, added: Tensor | None) -> Tensor:
    """One matrix times each of many, as `b` channels-last fields, plus the field `added` if given.

    The addition is fused with the product, and overwrites `added` where no gradient is recorded:
    each further pass over fields at 64² costs a few per cent of a frame.
    """
    n, matrices = len(matrix), matrix.expand(many.shape[0], -1, -1)
    if added is None:
        y = matrices.bmm(many)
    else:
        rows = added.permute(0, 2, 3, 1).reshape(many.shape[0], n, -1)
        out = None if torch.is_grad_enabled() else rows
        y = torch.baddbmm(rows, matrices, many, out=out)
    return y.view(b, n, n, -1).permute(0, 3, 1, 2)


def half_plane_matrices(weight: Tensor, m: int) -> Tensor:
    """The W_k of `_analysis`'s modes as real matrices from [re; im] to [re; im].

    (2M+1, M+1, in, 2, out), m ≤ M -> (modes, 2 in, 2 out), [[re, im], [-im, re]]. For k₂ < 0 the
    stored half plane has W_{-k} = conj W_k; for k₂ = 0 the Hermitian part is taken.
    """
    cut = weight.shape[1] - 1 - m
    # a negative padding, because its backward pass writes the gradient once
    re, im = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, -cut, -cut, -cut)).unbind(3)

    def unfold(right: Tensor, left: Tensor) -> Tensor:
        return torch.cat([(right[:, :1] + left[:, :1]) / 2, right[:, 1:], left[:, 1:]], 1)

    re = unfold(re[m:], re[: m + 1].flip(0))
    im = unfold(im[m:], -im[: m + 1].flip(0))
    rows = torch.cat([re, im], 3), torch.cat([-im, re], 3)
    return torch.cat(rows, 2).flatten(0, 1)


class _FourierLayer(torch.autograd.Function):
    """Fᵀ W F x + A x + a, with W_k as real matrices (modes, 2 in, 2 out); A is a 1x1 convolution.

    Autograd alone would copy a term of every sum: together with `blocks._ModulatedSilu` this saves
    6 % of a training step of the FNO at 32², and 4 % of one of the shipped network.
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
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = dmatrices = dweight = dbias = None
        if skip:
            x, weight = skip
            if ctx.needs_input_grad[0]:
                dx = functional.conv2d(dy, weight.transpose(0, 1))
            # a product per sample, then their sum: faster than torch's own backward pass
            dweight = dy.flatten(2).bmm(x.flatten(2).mT).sum(0)[:, :, None, None]
            dbias = dy.sum((0, 2, 3)) if ctx.needs_input_grad[4] else None
        d = _analysis(dy, ctx.m)
        if ctx.needs_input_grad[0]:
            dx = _synthesis(d.bmm(matrices.transpose(1, 2)), ctx.m, ctx.n, dx)
        if ctx.needs_input_grad[1]:
            dmatrices = modes.transpose(1, 2).bmm(d)
        return dx, dmatrices, None, dweight, dbias


def act(x: Tensor, matrices: Tensor, m: int, skip: nn.Conv2d | None = None) -> Tensor:
    """Fᵀ W F x, (B, in, N, N) -> (B, out, N, N), plus a 1x1 convolution of x if one is given."""
    if not torch.is_grad_enabled():  # saves 4 % of a call of 16 images at 32²
        added = None if skip is None else skip(x)
        return _synthesis(_analysis(x, m).bmm(matrices), m, x.shape[-1], added)
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


def on_both_axes(matrix: Tensor, x: Tensor, added: Tensor | None = None) -> Tensor:
    """An (M, N) matrix along both axes of a field, (B, C, N, N) -> (B, C, M, M), channels-last.

    Plus the field `added` if given, which may be overwritten.
    """
    b, c, n, _ = x.shape
    y = matrix.expand(b, -1, -1).bmm(x.permute(0, 2, 3, 1).reshape(b, n, n * c))
    return _product(matrix, y.view(-1, n, c), b, added)


def resample_features(x: Tensor, resolution: int, added: Tensor | None = None) -> Tensor:
    """`mldemo.space.spectral.resample` as two real matrix products, plus `added` if given.

    Fast for many channels. The result is channels-last; `added` may be overwritten.
    """
    return on_both_axes(_interpolation(x.shape[-1], resolution, x.dtype, x.device), x, added)
