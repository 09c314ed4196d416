"""Speed, as ratios measured side by side in one run."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.checkpoints import BUNDLE
from mldemo.pipeline import Request, prepare


def _seconds(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Best time of each of several calls, taken in turn so that all meet the same machine."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def hermitian_weight(channels: int, modes: int, seed: int = 0) -> Tensor:
    """Random (2m+1, m+1, in, 2, out) weights whose k₂ = 0 column is Hermitian."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * modes + 1, modes + 1, channels, 2, channels)
    w = torch.randn(shape, generator=generator) / channels
    w[:modes, 0, :, 0] = w[modes + 1 :, 0, :, 0].flip(0)
    w[:modes, 0, :, 1] = -w[modes + 1 :, 0, :, 1].flip(0)
    w[modes, 0, :, 1] = 0
    return w


def spectral_pair(channels: int = 32, modes: int = 8) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Our spectral convolution and neuralop's with the same weights."""
    from neuralop.layers.spectral_convolution import SpectralConv

    from mldemo.networks import SpectralConvolution

    n_modes = (2 * modes + 1, 2 * modes + 1)
    ours = SpectralConvolution(channels, channels, n_modes)
    theirs = SpectralConv(channels, channels, n_modes, bias=False)
    weight = hermitian_weight(channels, modes)
    with torch.no_grad():
        ours.weight.copy_(weight)
        pairs = weight.permute(2, 4, 0, 1, 3).contiguous()
        getattr(theirs.weight, "tensor").copy_(torch.view_as_complex(pairs))  # noqa: B009
    return ours, theirs


def spectral(rounds: int = 20) -> Iterator[dict[str, Any]]:
    """Batch 16, 32 channels, |k|∞ ≤ 8: forward, and forward with backward, at 32, 64, 128."""
    ours, theirs = spectral_pair()
    for n in (32, 64, 128):
        generator = torch.Generator().manual_seed(n)
        x = torch.randn(16, 32, n, n, generator=generator)
        grad = x.clone().requires_grad_()

        def forward(layer: torch.nn.Module, x: Tensor = x) -> Tensor:
            with torch.no_grad():
                return layer(x)

        def both(layer: torch.nn.Module, x: Tensor = grad) -> list[Tensor]:
            x.grad = None
            layer.zero_grad()
            layer(x).square().sum().backward()
            return [p.grad for p in (x, *layer.parameters()) if p.grad is not None]

        a, b = forward(ours), forward(theirs)
        (ga, wa), (gb, wb) = both(ours), both(theirs)
        wb = torch.view_as_real(wb).permute(2, 3, 0, 4, 1)
        error = max(_relative(a, b), _relative(ga, gb), _relative(_hermitian(wa), _hermitian(wb)))
        calls: list[Callable[[], object]] = [lambda: forward(ours), lambda: forward(theirs)]
        calls += [lambda: both(ours), lambda: both(theirs)]
        t = _seconds(calls, rounds)
        yield {
            "bench": "spectral convolution",
            "resolution": n,
            "forward_ms": round(1e3 * t[0], 2),
            "neuralop_forward_ms": round(1e3 * t[1], 2),
            "forward_ratio": round(t[1] / t[0], 2),
            "step_ms": round(1e3 * t[2], 2),
            "neuralop_step_ms": round(1e3 * t[3], 2),
            "step_ratio": round(t[3] / t[2], 2),
            "largest_relative_error": float(f"{error:.1e}"),
        }


def _hermitian(weight: Tensor) -> Tensor:
    """The part of a weight gradient that acts on real fields."""
    m = weight.shape[0] // 2
    w = weight.clone()
    sign = torch.tensor([1.0, -1.0])[:, None]
    w[:, 0] = (weight[:, 0] + sign * weight[:, 0].flip(0)) / 2
    assert w.shape[0] == 2 * m + 1
    return w


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def sampling(folder: Path = BUNDLE, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Sixteen images, 20 network calls, the default checkpoint, at 16, 32, 64, 128."""
    for n in (16, 32, 64, 128):
        run = prepare(Request(resolution=n), folder=folder)
        (seconds,) = _seconds([run.result], rounds)
        yield {
            "bench": "sampling",
            "resolution": n,
            "count": 16,
            "network_calls": run.request.calls,
            "seconds": round(seconds, 3),
            "frames_per_second": round((run.request.steps + 1) / seconds, 1),
            "device": str(run.device),
        }
