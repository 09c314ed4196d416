"""Samplers: the loop once, as a generator of states; a sampler is one step.

All of them run from T = 1 to t_min = 1e-3 and then return D(x, t_min). They know the prior only
through the noise they are given and the score only through the denoiser D, so they are the same
algorithms on every level and in the limit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mldemo.data.statistics import Statistics
from mldemo.diffusion.sde import (
    END,
    Schedule,
    log_snr_times,
    per_sample,
    reverse_drift,
    uniform_times,
)
from mldemo.space.covariance import Prior
from mldemo.space.noise import BrownianPath, unit_modes
from mldemo.space.spectral import check_resolution, to_field, to_modes

Denoise = Callable[[Tensor, Tensor], Tensor]
Increment = Callable[[float, float], Tensor]
SAMPLERS = {
    "dpmpp2m": "DPM-Solver++(2M)",
    "ddim": "DDIM",
    "heun": "Heun",
    "euler": "Euler-Maruyama",
}
LARGEST_STEPS = 1000


@dataclass(frozen=True)
class State:
    """Where a run is: time t, the noisy x_t, the prediction x_0 = D(x_t, t), calls of D so far.

    The last state has t = 0 and x = x_0. `x` and `x0` have shape (B, 1, N, N).
    """

    step: int
    steps: int
    time: float
    x: Tensor
    x0: Tensor
    calls: int


def check_steps(steps: int) -> int:
    """Return a step count in [1, 1000], else raise `ValueError`."""
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise ValueError(f"steps must be a whole number, got {steps!r}")
    if not 1 <= steps <= LARGEST_STEPS:
        raise ValueError(f"steps must be from 1 to {LARGEST_STEPS}, got {steps}")
    return steps


def initial_state(
    prior: Prior,
    statistics: Statistics,
    schedule: Schedule,
    seed: int,
    indices: list[int],
    resolution: int,
    from_prior: bool = False,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """x_T = α_T m + √(α_T²Λ + σ_T²q) ζ on level N, shape (B, 1, N, N).

    Not N(0, Q): modes with q = 0 would never be generated, and steep priors do not reach Q by
    T = 1. `from_prior` starts from N(0, Q) all the same, to show what goes wrong.
    """
    white = unit_modes(seed, indices, check_resolution(resolution), dtype, device)
    if from_prior:
        return to_field(prior.colour(white), resolution)
    end = torch.tensor(END, dtype=torch.float64)
    alpha, sigma = schedule.alpha(end), schedule.sigma(end)
    variance = alpha**2 * statistics.spectrum(resolution)
    variance = variance + sigma**2 * prior.eigenvalues(resolution)
    mean = alpha * to_modes(statistics.mean_at(resolution).double())
    modes = mean.to(white) + variance.sqrt().to(device, white.real.dtype) * white
    return to_field(modes, resolution)


def brownian_fields(
    prior: Prior,
    seed: int,
    indices: list[int],
    resolution: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Increment:
    """Increments W^Q_a - W^Q_b as fields; coupled over levels, step counts and batches."""
    path = BrownianPath(seed, indices, check_resolution(resolution))

    def increment(start: float, end: float) -> Tensor:
        return to_field(prior.colour(path.increment(start, end, dtype, device)), resolution)

    return increment


class _Coefficients:
    """α, σ, λ of the grid as Python floats: the loop makes no small tensors on the device."""

    def __init__(self, schedule: Schedule, times: list[float]) -> None:
        t = torch.tensor(times, dtype=torch.float64)
        self.alpha = schedule.alpha(t).tolist()
        self.sigma = schedule.sigma(t).tolist()
        self.log_snr = schedule.log_snr(t).tolist()


def network_calls(sampler: str, steps: int) -> int:
    """How often `steps` steps of a sampler ask for D."""
    return 2 * steps - 1 if sampler == "heun" else steps


def default_times(schedule: Schedule, sampler: str, steps: int, start: float = END) -> list[float]:
    """The sampler's own grid from `start` down: equal steps in log-SNR, for "euler" in t."""
    if sampler == "euler":
        return uniform_times(steps, start)
    return log_snr_times(schedule, steps, start)


def sample(
    denoise: Denoise,
    x: Tensor,
    sampler: str = "dpmpp2m",
    steps: int = 20,
    schedule: Schedule | None = None,
    noise: Increment | None = None,
    times: list[float] | None = None,
) -> Iterator[State]:
    """Denoise x_T (B, 1, N, N), yielding every state; `steps` + 1 of them in all.

    sampler: "dpmpp2m" (Lu et al. 2022, algorithm 2), "ddim" (Song et al. 2021, its exponential
        integrator), "heun" (Karras et al. 2022, in σ/α; two calls a step), "euler" for
        Euler-Maruyama, the paper's, which needs `noise`.
    times: decreasing in (0, 1], `steps` of them. By default from 1 to 1e-3, equally spaced in
        log-SNR, for Euler-Maruyama in t: with the exact Gaussian score of the digits and 20 steps
        its W2 error, in units of √tr Λ, is then 0.036, on the log-SNR grid 0.062.

    Weak orders in the grid width: 2M 2, DDIM 1, Heun 2, Euler-Maruyama 1 (strong order 1 too, as
    the noise is additive). No gradient is recorded, and no thread state is held across a `yield`.
    """
    schedule = schedule or Schedule()
    check_steps(steps)
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if sampler == "euler" and noise is None:
        raise ValueError("Euler-Maruyama needs Brownian increments: pass noise=brownian_fields(…)")
    if times is None:
        times = default_times(schedule, sampler, steps)
    falling = all(a > b for a, b in pairwise(times))
    if len(times) != steps or not falling or not 0 < times[-1] <= times[0] <= END:
        raise ValueError(f"times must be {steps} decreasing numbers in (0, 1], got {times}")
    return _loop(denoise, x, sampler, schedule, noise, times)


def _loop(
    denoise: Denoise,
    x: Tensor,
    sampler: str,
    schedule: Schedule,
    noise: Increment | None,
    times: list[float],
) -> Iterator[State]:
    grid = _Coefficients(schedule, times)
    clock = torch.tensor(times, dtype=torch.float64).to(x.device, x.dtype)
    calls = 0

    def call(y: Tensor, i: int) -> Tensor:
        nonlocal calls
        calls += 1
        with torch.no_grad():
            return denoise(y, clock[i])

    steps, before = len(times), None
    x0 = call(x, 0)
    for i in range(steps - 1):
        yield State(i, steps, times[i], x, x0, calls)
        if sampler == "euler":
            x = _euler_maruyama(x, x0, schedule, clock[i], times[i], times[i + 1], noise)
            x0 = call(x, i + 1)
            continue
        h = grid.log_snr[i + 1] - grid.log_snr[i]
        if sampler == "dpmpp2m" and before is not None:
            # extrapolate D to the middle of the step from its last two values
            ratio = h / (grid.log_snr[i] - grid.log_snr[i - 1])
            target = x0 + 0.5 * ratio * (x0 - before)
        else:
            target = x0
        following = _exponential_step(x, target, grid, i)
        if sampler == "heun":
            following = _heun_correction(x, x0, call(following, i + 1), grid, i)
        before, x = x0, following
        x0 = call(x, i + 1)
    yield State(steps - 1, steps, times[-1], x, x0, calls)
    yield State(steps, steps, 0.0, x0, x0, calls)


def _exponential_step(x: Tensor, target: Tensor, grid: _Coefficients, i: int) -> Tensor:
    """The probability flow from t_i to t_{i+1} if D stayed at `target`: DDIM's step.

    x' = (σ'/σ) x + (α' - α σ'/σ) D.
    """
    shrink = grid.sigma[i + 1] / grid.sigma[i]
    return shrink * x + (grid.alpha[i + 1] - grid.alpha[i] * shrink) * target


def _heun_correction(
    x: Tensor, x0: Tensor, x0_ahead: Tensor, grid: _Coefficients, i: int
) -> Tensor:
    """The trapezoidal rule for dy/ds = (y - D)/s, y = x/α, s = σ/α (EDM, algorithm 1).

    The Euler step in (y, s) is the exponential step in x, so it served as the predictor.
    """
    s, s_ahead = grid.sigma[i] / grid.alpha[i], grid.sigma[i + 1] / grid.alpha[i + 1]
    y = x / grid.alpha[i]
    slope = (y - x0) / s
    predicted = y + (s_ahead - s) * slope
    slope_ahead = (predicted - x0_ahead) / s_ahead
    return grid.alpha[i + 1] * (y + (s_ahead - s) * 0.5 * (slope + slope_ahead))


def _euler_maruyama(
    x: Tensor,
    x0: Tensor,
    schedule: Schedule,
    clock: Tensor,
    time: float,
    ahead: float,
    noise: Increment | None,
) -> Tensor:
    """Y' = Y + [½βY + βQ∇log p] h + √β(t) ΔW^Q, h = t - t'."""
    assert noise is not None  # checked by `sample`
    beta = per_sample(schedule.beta(clock), x)
    drift = reverse_drift(schedule, x, x0, clock)
    return x + drift * (time - ahead) + beta.sqrt() * noise(ahead, time)
