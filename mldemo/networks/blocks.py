"""The layers that the networks share: noise embedding, Fourier block, coordinates."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mldemo.networks.parts import SinusoidalEmbedding
from mldemo.networks.spectral_convolution import SpectralConvolution
from mldemo.space.spectral import check_precision, constant

FIELDS = 2  # what a network sees of x_t: the whitened field and the linear estimate
SHELLS = (0, 1, 2, 3, 4, 6, 8, 11, 15, 22)  # the |k| whose SNR a network is conditioned on
CONDITIONS = 1 + len(SHELLS)  # log-SNRs: that of t, then one per shell


def check_inputs(x: Tensor, snr: Tensor, weight: Tensor) -> None:
    """Raise `ValueError` unless fields, log-SNRs and weights are all float32 or all float64."""
    if not check_precision(x).dtype == snr.dtype == weight.dtype:
        raise ValueError(
            "fields, log-SNRs and weights of a network must be of one precision, "
            f"got {x.dtype}, {snr.dtype} and {weight.dtype}: convert them"
        )


class Embedding(nn.Module):
    """A feature vector of a sample's log-SNRs: sinusoids, then two linear layers.

    (B, `inputs`) log-SNRs scaled to [-1, 1] -> (B, `features`).
    """

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.waves = SinusoidalEmbedding(inputs, num_frequencies=4, embedding_type="nerf")
        self.first = nn.Linear(inputs + self.waves.out_channels, features)
        self.second = nn.Linear(features, features)

    def forward(self, snr: Tensor) -> Tensor:
        """Embed (B, inputs)."""
        x = torch.cat([snr, self.waves(snr)], 1)
        return functional.silu(self.second(functional.silu(self.first(x))))


class _ModulatedSilu(torch.autograd.Function):
    """silu(ah + b), a and b per sample and channel; autograd alone makes more passes over h."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        g = torch.addcmul(shift, h, scale)
        ctx.save_for_backward(h, scale, g)
        return functional.silu(g)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        h, scale, g = ctx.saved_tensors
        dg = torch.ops.aten.silu_backward(dy, g)
        dscale = dshift = None
        if any(ctx.needs_input_grad[1:]):
            dshift = dg.sum((2, 3), keepdim=True)
            dscale = (dg * h).sum((2, 3), keepdim=True)
        return dg.mul_(scale), dscale, dshift


class Modulation(nn.Module):
    """Per-sample FiLM and SiLU: h -> silu((1 + a(e)) h + b(e)), with a = b = 0 at first."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Modulate (B, C, N, N) by (B, features), or by (1, features) for all."""
        scale, shift = self.linear(embedding)[:, :, None, None].chunk(2, 1)
        if not torch.is_grad_enabled():
            return functional.silu(torch.addcmul(shift, h, 1 + scale))
        y: Any = _ModulatedSilu.apply(h, 1 + scale, shift)
        return y


class OperatorBlock(nn.Module):
    """h + B silu(FiLM(Kh + Ah, e)): a linear operator, modulated by the noise, a skip around it.

    K, called as K(h, skip=A), gives Kh + Ah; A and B act on channels point by point (1x1
    convolutions).
    """

    def __init__(self, convolution: nn.Module, channels: int, features: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.skip = nn.Conv2d(channels, channels, 1)
        self.modulation = Modulation(features, channels)
        self.outer = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, N, N) at any N -> the same shape."""
        g = self.modulation(self.convolution(h, skip=self.skip), embedding)
        return self.outer(g).add_(h)  # in place: saves half a pass over the field


class FourierBlock(OperatorBlock):
    """The block whose K is a spectral convolution on |k|∞ ≤ `modes`."""

    def __init__(self, channels: int, modes: int, features: int) -> None:
        convolution = SpectralConvolution(channels, channels, 2 * modes + 1)
        super().__init__(convolution, channels, features)


@constant
def coordinates(resolution: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Periodic coordinates of the grid points: cos and sin of 2πx₁ and 2πx₂, (1, 4, N, N)."""
    x = torch.arange(resolution, dtype=torch.float64) * (2 * math.pi / resolution)
    first, second = torch.meshgrid(x, x, indexing="ij")
    waves = torch.stack([first.cos(), first.sin(), second.cos(), second.sin()])
    return waves[None].to(device=device, dtype=dtype)


def with_coordinates(x: Tensor) -> Tensor:
    """Append the four coordinate channels to (B, C, N, N), channels-last."""
    place = coordinates(x.shape[-1], x.dtype, x.device).expand(x.shape[0], -1, -1, -1)
    return torch.cat([x, place], 1).contiguous(memory_format=torch.channels_last)


def to_one_channel(project: nn.Conv2d, h: Tensor) -> Tensor:
    """A 1x1 convolution to one channel as a matrix times a vector: twice as fast."""
    bias: Any = project.bias
    y = h.permute(0, 2, 3, 1) @ project.weight.flatten() + bias
    return y[:, None]
