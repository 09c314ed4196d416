"""Speed, as ratios measured side by side in one run."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.diffusion.samplers import Denoise
from mldemo.machine import tune_process
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.store.manifest import BUNDLE


def _seconds(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Best time of each of several calls, taken in turn so that all share the machine's load."""
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
    shape = (2 * modes + 1, modes + 1, channels, 2, channels)
    w = torch.randn(shape, generator=_generator(seed)) / channels
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
    """Batch 16, 32 channels, |k|∞ ≤ 8, at 32, 64, 128: forward alone, then with backward.

    Measured twice, each time in a process of its own: with the default of glibc, which returns
    large blocks to the system at every free, and with `tune_process`, which keeps them and so
    saves the page faults of neuralop's many temporaries.
    """
    for keep in (False, True):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            yield from process.submit(_spectral_rows, rounds, keep).result()


def _spectral_rows(rounds: int, keep: bool) -> list[dict[str, Any]]:
    if keep:
        tune_process()
    return [row | {"freed_memory": "kept" if keep else "returned"} for row in _spectral(rounds)]


def _spectral(rounds: int) -> Iterator[dict[str, Any]]:
    """All forward passes come first, as in sampling: a backward pass leaves large free blocks."""
    ours, theirs = spectral_pair()
    inputs = {n: torch.randn(16, 32, n, n, generator=_generator(n)) for n in (32, 64, 128)}
    for n, x in inputs.items():
        with torch.no_grad():
            error = _relative(ours(x), theirs(x))
            t = _seconds([partial(ours, x), partial(theirs, x)], rounds)
        yield _row("forward", n, t, error)
    for n, x in inputs.items():
        (ga, wa), (gb, wb) = _gradients(ours, x), _gradients(theirs, x)
        wb = torch.view_as_real(wb).permute(2, 3, 0, 4, 1)
        error = max(_relative(ga, gb), _relative(_hermitian(wa), _hermitian(wb)))
        t = _seconds([partial(_gradients, ours, x), partial(_gradients, theirs, x)], rounds)
        yield _row("forward and backward", n, t, error)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gradients(layer: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """Gradients of Σ y² with respect to the input and the weights."""
    x = x.clone().requires_grad_()
    return list(torch.autograd.grad(layer(x).square().sum(), (x, *layer.parameters())))


def _row(what: str, n: int, seconds: list[float], error: float) -> dict[str, Any]:
    return {
        "bench": f"spectral convolution, {what}",
        "resolution": n,
        "ms": round(1e3 * seconds[0], 2),
        "neuralop_ms": round(1e3 * seconds[1], 2),
        "ratio": round(seconds[1] / seconds[0], 2),
        "largest_relative_error": float(f"{error:.1e}"),
    }


def _hermitian(weight: Tensor) -> Tensor:
    """The part of a weight gradient that acts on real fields."""
    w = weight.clone()
    sign = torch.tensor([1.0, -1.0])[:, None]
    w[:, 0] = (weight[:, 0] + sign * weight[:, 0].flip(0)) / 2
    return w


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def _settled(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call, followed on a GPU by a wait for the kernels that it has queued."""

    def work() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return work


def _gemm_rate(device: torch.device) -> float:
    """Floating-point operations per second of matrix products of size 1024: the roofline."""
    a = torch.randn(1024, 1024, generator=_generator(0)).to(device)
    (product,) = _seconds([_settled(partial(torch.matmul, a, a), device)], 10)
    return 2 * 1024**3 / product


def _flops(call: Callable[[], object]) -> int:
    """Floating-point operations of a call, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _kernels(call: Callable[[], object], device: torch.device) -> int | None:
    """How many kernels a call launches on a GPU; None elsewhere."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        _settled(call, device)()
    return sum(event.device_type.name == "CUDA" for event in seen.events() or ())


def training(device: torch.device, rounds: int = 30) -> Iterator[dict[str, Any]]:
    """A training step at N = 16 and 32, batch 128, against neuralop's FNO and the roofline.

    Our default FNO and neuralop's with the same width, modes and depth take the same step:
    forward, backward, AdamW. Neuralop's is not conditioned on time, so ours does a little more.
    The roofline of the U-shaped operator is the time in which matrix products of size 1024 do as
    many floating-point operations as its forward and backward pass. `ushaped_kernels` counts the
    kernels of its step on a GPU. There, whole steps of both sizes follow (`_whole_steps`).
    """
    from neuralop.models import FNO

    from mldemo.networks import build_network, complete_record
    from mldemo.networks.blocks import CONDITIONS, FIELDS

    rate = _gemm_rate(device)
    snr = torch.rand(128, CONDITIONS, generator=_generator(1)).to(device)
    record = complete_record({"kind": "fno"})
    n_modes = (2 * record["modes"] + 1,) * 2
    options = {"hidden_channels": record["width"], "n_layers": record["depth"]}
    for n in (16, 32):
        x = torch.randn(128, FIELDS, n, n, generator=_generator(n)).to(device)
        networks = {
            "fno": build_network(record).to(device),
            "ushaped": build_network({"kind": "ushaped"}).to(device),
            "neuralop": FNO(n_modes, FIELDS, 1, **options).to(device),
        }
        steps = [
            _settled(_training_step(network, (x,) if name == "neuralop" else (x, snr)), device)
            for name, network in networks.items()
        ]
        flops = _flops(lambda: networks["ushaped"](x, snr).square().mean().backward())  # noqa: B023
        fno, ushaped, neuralop = _seconds(steps, rounds)
        yield {
            "bench": "training step",
            "device": str(device),
            "resolution": n,
            "batch": 128,
            "fno_ms": round(1e3 * fno, 1),
            "neuralop_fno_ms": round(1e3 * neuralop, 1),
            "fno_ratio": round(neuralop / fno, 2),
            "ushaped_ms": round(1e3 * ushaped, 1),
            "ushaped_kernels": _kernels(steps[1], device),
            "ushaped_gflop": round(flops / 1e9, 2),
            "gemm_gflops_per_second": round(rate / 1e9, 1),
            "ushaped_times_roofline": round(ushaped * rate / flops, 2),
        }
    if device.type == "cuda":
        yield from _whole_steps(device, rate)


def _whole_steps(
    device: torch.device, rate: float, batch: int = 256, steps: int = 10
) -> Iterator[dict[str, Any]]:
    """Steps of `Training` and of `CapturedTraining`: draws, loss, optimiser, average; in turn.

    Random fields, six priors and as many variations as the shipped networks have. The time is that
    of `steps` steps which are not waited for one by one.
    """
    from mldemo.data.statistics import Statistics
    from mldemo.diffusion.captured import EAGER
    from mldemo.networks.sizes import SIZES
    from mldemo.space.priors import PRIORS
    from mldemo.training.captured import CapturedTraining
    from mldemo.training.loop import Training
    from mldemo.training.plan import Plan

    fields = torch.randn(2000, 1, 64, 64, generator=_generator(0)).clamp(-1, 1)
    priors = tuple(Statistics.of(fields).prior(name).to_dict() for name in PRIORS)
    for size, record in SIZES.items():
        for n in (16, 32, 64):
            plan = Plan(priors, 252, record, ((n, 10**6),), batch=batch)
            runs = Training(plan, fields, device), CapturedTraining(plan, fields, device)
            for run in runs:
                for _ in range(EAGER + 1):
                    run.advance()

            def several(run: Training) -> None:
                for _ in range(steps):
                    run.advance()

            calls = [_settled(partial(several, run), device) for run in runs]
            flops = _flops(lambda: runs[0]._objective(*runs[0]._batch(n)).backward())  # noqa: B023
            ordinary, captured = (seconds / steps for seconds in _seconds(calls, 3))
            yield {
                "bench": "whole training step",
                "device": torch.cuda.get_device_name(device),
                "network": size,
                "resolution": n,
                "batch": batch,
                "ordinary_ms": round(1e3 * ordinary, 2),
                "captured_ms": round(1e3 * captured, 2),
                "ratio": round(ordinary / captured, 2),
                "kernels": _kernels(runs[0].advance, device),
                "captured_times_roofline": round(captured * rate / flops, 2),
            }


def _training_step(network: torch.nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """A step of AdamW, fused as in `mldemo.training.optimizer` unless weights are complex."""
    fused = not any(parameter.is_complex() for parameter in network.parameters())
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        network(*inputs).square().mean().backward()
        optimizer.step()

    return step


def sampling(
    device: torch.device, folder: Path = BUNDLE, rounds: int = 3
) -> Iterator[dict[str, Any]]:
    """Sixteen images, 20 network calls, the default checkpoint, at 16, 32, 64, 128.

    `times_roofline` is the ratio of the seconds to the roofline's: matrix products of size 1024
    with as many floating-point operations. On a GPU calls are captured (`captured`): their time,
    in turn with that of ordinary calls, and the kernels of one.
    """
    rate = _gemm_rate(device)
    for n in (16, 32, 64, 128):
        run = prepare(Request(resolution=n), device, folder)
        (seconds,) = _seconds([_settled(run.result, device)], rounds)
        start = run.start(list(range(run.request.count)))
        time = torch.tensor(0.5, device=device)

        def call(denoise: Denoise, start: Tensor = start, time: Tensor = time) -> None:
            with torch.no_grad():
                denoise(start, time)

        ordinary = partial(call, getattr(run.denoise, "denoiser", run.denoise))
        flops = _flops(ordinary) * run.request.calls
        yield {
            "bench": "sampling",
            "device": str(run.device),
            "checkpoint": run.checkpoint,
            "resolution": n,
            "count": run.request.count,
            "network_calls": run.request.calls,
            "seconds": round(seconds, 3),
            "frames_per_second": round((run.request.steps + 1) / seconds, 1),
            "times_roofline": round(seconds * rate / flops, 2),
            **_calls(ordinary, partial(call, run.denoise), device),
        }


def _calls(
    ordinary: Callable[[], object], replayed: Callable[[], object], device: torch.device
) -> dict[str, Any]:
    """On a GPU, the milliseconds of a call, ordinary and captured, and its kernels."""
    if device.type != "cuda":
        return {}
    times = _seconds([_settled(call, device) for call in (ordinary, replayed)], 30)
    milliseconds = [round(1e3 * seconds, 2) for seconds in times]
    return {
        "call_ms": milliseconds[0],
        "captured_call_ms": milliseconds[1],
        "kernels_per_call": _kernels(ordinary, device),
    }
