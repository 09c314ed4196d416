"""Multilevel sampling: denoise high noise on a coarse level, then continue on a finer one.

At a time t where the modes beyond the coarse level are still noise, x_t is prolonged and those
modes are drawn from their Gaussian law N(α_t m_k, α_t²Λ_k + σ_t²q_k), with the ζ of the same
samples. For Gaussian data with diagonal covariance the modes are independent and this is exact
in law for every t; otherwise the dependence of the missing modes on the kept ones at time t is
lost. Where the coarse score differs from the low modes of the fine one, that error remains.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from mldemo.data.statistics import Statistics
from mldemo.diffusion.conditioning import LowModes
from mldemo.diffusion.samplers import Denoise, State, brownian_fields, initial_state, sample
from mldemo.diffusion.sde import Schedule, check_time
from mldemo.diffusion.steps import check_sampler
from mldemo.space.covariance import Prior
from mldemo.space.spectral import bandwidth, check_resolution, resample


@dataclass(frozen=True)
class Process:
    """What both levels share: prior, mean and spectrum of the data, schedule, samples."""

    prior: Prior
    statistics: Statistics
    schedule: Schedule
    seed: int
    indices: list[int]

    def state(self, resolution: int, like: Tensor, time: float) -> Tensor:
        """x_t of the Gaussian model on level N, (B, 1, N, N), coupled over levels and times."""
        where = (self.prior, self.statistics, self.schedule, self.seed, self.indices)
        return initial_state(*where, resolution, device=like.device, dtype=like.dtype, time=time)


def refine(process: Process, x: Tensor, resolution: int, time: float) -> Tensor:
    """x_t on a coarse level as x_t on a finer one: the missing modes from their Gaussian law.

    x (B, 1, n, n) -> (B, 1, N, N); its restriction to n is x.
    """
    coarse = x.shape[-1]
    if coarse > check_resolution(resolution):
        raise ValueError(f"level {coarse} is finer than {resolution}")
    free = process.state(resolution, x, time)
    return LowModes(bandwidth(coarse), resolution).impose(free, resample(x, resolution))


def change_of_level(times: list[float], until: float) -> int:
    """The index of the first of decreasing times at or below `until`, else the last index."""
    until = check_time(until)
    return next((i for i, t in enumerate(times) if t <= until), len(times) - 1)


def sample_coarse_to_fine(
    coarse: Denoise,
    fine: Denoise,
    process: Process,
    start: Tensor,
    resolution: int,
    until: float,
    sampler: str = "dpmpp2m",
    steps: int = 20,
) -> Iterator[State]:
    """States of a run whose times above `until` in (1e-3, 1] are taken on the level of `start`.

    start: x_T on the coarse level, (B, 1, n, n). `fine` denoises on level N = `resolution`; the
    states from the first grid time at or below `until` onwards are on that level. There are
    `steps` + 1 states, with the times of an ordinary run; at the change of level a multistep
    method restarts, and both denoisers are called.
    """
    method = check_sampler(sampler)
    times = method.times(process.schedule, steps)
    last = change_of_level(times, until)

    def run(denoise: Denoise, x: Tensor, part: list[float]) -> Iterator[State]:
        where = process.prior, process.seed, process.indices, x.shape[-1], x.device, x.dtype
        noise = brownian_fields(*where) if method.stochastic else None
        return sample(denoise, x, sampler, len(part), process.schedule, noise, part)

    x, calls = start, 0
    for state in run(coarse, start, times[: last + 1]):
        x, calls = state.x, state.calls
        if state.step == last:
            break
        yield replace(state, steps=steps)
    x = refine(process, x, resolution, times[last])
    for state in run(fine, x, times[last:]):
        yield replace(state, step=state.step + last, steps=steps, calls=state.calls + calls)
