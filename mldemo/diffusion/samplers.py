"""The sampling loop of all samplers, as a generator of states; the samplers are in `steps`.

By default they run from T = 1 to a last time t ≥ 1e-3 and then return D(x, t). The prior enters
only through the noise they are given and the score only through the denoiser D, so they are the
same algorithms on every level and in the limit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from mldemo.data.statistics import Statistics
from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.sde import END, Schedule
from mldemo.diffusion.steps import Increment, Past, Sampler, Step, check_sampler, points
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.noise import BrownianPath, unit_modes
from mldemo.space.spectral import check_precision, check_resolution, to_field, to_modes
from mldemo.space.streams import Stream

Denoise = Callable[[Tensor, Tensor], Tensor]
LARGEST_STEPS = 1000


@dataclass(frozen=True)
class State:
    """A state of a run: time t, the noisy x_t, the prediction D(x_t, t), calls of D so far.

    The last state has t = 0 and x = x0. `x` and `x0` have shape (B, 1, N, N).
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
    time: float = END,
) -> Tensor:
    """x_t = α_t m + √(α_t²Λ + σ_t²q) ζ on level N, shape (B, 1, N, N), by default at T.

    Not N(0, Q): modes with q = 0 would never be generated, and for steep priors the law of x_t
    is not close to N(0, Q) at T = 1. `from_prior` starts from N(0, Q), to show what goes wrong.
    """
    white = unit_modes(seed, indices, check_resolution(resolution), dtype, device)
    if from_prior:
        return to_field(prior.colour(white), resolution)
    model = _model(prior, statistics, schedule, resolution, time)
    mean = model.alpha * to_modes(statistics.mean_at(resolution).double())
    modes = mean.to(white) + model.variance.root().like(white.real).on_modes(white)
    return to_field(modes, resolution)


def initial_pair(
    prior: Prior,
    statistics: Statistics,
    schedule: Schedule,
    seed: int,
    indices: list[int],
    resolution: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Fields x_0 ~ N(m, Λ) and η ~ N(0, Q), independent, with α_T x_0 + σ_T η = `initial_state`.

    The start of a conditioned run (`editing.complete`), coupled to the unconditioned one.
    """
    white, other = (
        unit_modes(seed, indices, check_resolution(resolution), torch.float64, stream=stream)
        for stream in (Stream.START, Stream.CLEAN)
    )
    model = _model(prior, statistics, schedule, resolution, END)
    clean, noise = (to_field(modes, resolution) for modes in model.split(white, other))
    clean = clean + statistics.mean_at(resolution).double()
    return clean.to(device, dtype), noise.to(device, dtype)


def _model(
    prior: Prior, statistics: Statistics, schedule: Schedule, resolution: int, time: float
) -> Marginal:
    """The Gaussian model of the data at a time, in double precision on the CPU."""
    data, noise = statistics.spectrum(resolution), prior.eigenvalues(resolution)
    t = torch.tensor(time, dtype=torch.float64)
    return Marginal.at(schedule, t, Diagonal(data), Diagonal(noise))


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

    sampler: a name in `SAMPLERS`; a stochastic one needs `noise` (`brownian_fields`).
    times: decreasing in (0, 1], `steps` of them; by default the sampler's own grid from 1 down.

    No gradient is recorded, and no thread state is held across a `yield`. Fields of a type other
    than float32 or float64 raise `ValueError`.
    """
    schedule = schedule or Schedule()
    check_steps(steps)
    method = check_sampler(sampler)
    if method.stochastic and noise is None:
        raise ValueError(
            f"{method.label} needs Brownian increments: pass noise=brownian_fields(…)"
        )
    if times is None:
        times = method.times(schedule, steps)
    falling = all(a > b for a, b in pairwise(times))
    if len(times) != steps or not falling or not 0 < times[-1] <= times[0] <= END:
        raise ValueError(f"times must be {steps} decreasing numbers in (0, 1], got {times}")
    return _loop(denoise, check_precision(x), method, schedule, noise, times)


def _loop(
    denoise: Denoise,
    x: Tensor,
    sampler: Sampler,
    schedule: Schedule,
    noise: Increment | None,
    times: list[float],
) -> Iterator[State]:
    grid = points(schedule, times)
    clock = torch.tensor(times, dtype=torch.float64).to(x.device, x.dtype)
    calls = 0

    def call(i: int, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        with torch.no_grad():
            return denoise(y, clock[i])

    steps, past = len(times), ()
    x0 = call(0, x)
    for i in range(steps - 1):
        yield State(i, steps, times[i], x, x0, calls)
        ends = grid[i], grid[i + 1], clock[i]
        at = Step(x, x0, *ends, schedule, partial(call, i + 1), past, noise)
        past, x = (Past(grid[i], x, x0), *past[:1]), sampler.step(at)
        x0 = call(i + 1, x)
    yield State(steps - 1, steps, times[-1], x, x0, calls)
    yield State(steps, steps, 0.0, x0, x0, calls)
