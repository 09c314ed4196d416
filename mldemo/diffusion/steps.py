"""Samplers as objects: each defines one step and states its order, cost and source.

A subclass of `Sampler` that has a name is in `SAMPLERS`, hence on the command line, on the page,
in the API and in the study of solvers; nothing else has to be changed.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mldemo.diffusion.sde import (
    END,
    FIRST,
    Schedule,
    check_time,
    log_snr_times,
    per_sample,
    reverse_drift,
    uniform_times,
)

Increment = Callable[[float, float], Tensor]


class Point(NamedTuple):
    """A time of the grid with α, σ and log(α/σ): floats, so no small tensors reach a device."""

    time: float
    alpha: float
    sigma: float
    log_snr: float

    @property
    def angle(self) -> float:
        """φ = arctan(σ/α): α = cos φ, σ = sin φ."""
        return math.atan2(self.sigma, self.alpha)


class Past(NamedTuple):
    """A state that a run has reached: its point, x and x0 = D(x, t)."""

    point: Point
    x: Tensor
    x0: Tensor

    @property
    def velocity(self) -> Tensor:
        """dx/dφ of the probability flow, v = (α x - D)/σ."""
        return (self.point.alpha * self.x - self.x0) / self.point.sigma


def points(schedule: Schedule, times: list[float]) -> list[Point]:
    """The points of a time grid."""
    t = torch.tensor(times, dtype=torch.float64)
    columns = schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t)
    return [Point(*row) for row in zip(times, *(c.tolist() for c in columns), strict=True)]


@dataclass(frozen=True)
class Step:
    """What a step from t = `here` down to t' = `ahead` may use.

    `x` and `x0` = D(x, t) are fields (B, 1, N, N). `denoise_ahead` is D(·, t'), `past` up to
    two earlier states, the latest first, `clock` the time t as a tensor on the fields' device.
    """

    x: Tensor
    x0: Tensor
    here: Point
    ahead: Point
    clock: Tensor
    schedule: Schedule
    denoise_ahead: Callable[[Tensor], Tensor]
    past: tuple[Past, ...]
    increment: Increment | None

    def exponential(self, target: Tensor) -> Tensor:
        """The probability flow from t to t' if D stayed at `target`: DDIM's step.

        x' = (σ'/σ) x + (α' - α σ'/σ) D.
        """
        shrink = self.ahead.sigma / self.here.sigma
        return shrink * self.x + (self.ahead.alpha - self.here.alpha * shrink) * target

    def noise(self) -> Tensor:
        """W^Q_t - W^Q_t' of the Brownian path, as fields."""
        assert self.increment is not None  # checked by `sample`
        drawn = self.increment(self.ahead.time, self.here.time)
        if drawn.dtype != self.x.dtype:
            raise ValueError(
                f"the noise is {drawn.dtype} and the fields are {self.x.dtype}: "
                "pass brownian_fields(…, dtype=…)"
            )
        return drawn


class Sampler(ABC):
    """A method that takes x_T to x_0 in steps.

    order: the weak order in the step size.
    calls_per_step: calls of D in a step (the last one only returns D, with one call).
    stochastic: whether it needs Brownian increments.
    source: where it is published.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    order: ClassVar[int]
    source: ClassVar[str]
    calls_per_step: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Register a named sampler; an incomplete one or a taken name raises `TypeError`."""
        if "name" not in cls.__dict__:
            return
        missing = [fact for fact in ("label", "order", "source") if not hasattr(cls, fact)]
        if cls.step is Sampler.step or missing:
            raise TypeError(f"the sampler {cls.name} has no {', '.join(missing) or 'step'}")
        if cls.name in SAMPLERS:
            raise TypeError(f"there is a sampler called {cls.name} already")
        SAMPLERS[cls.name] = cls()

    @abstractmethod
    def step(self, at: Step) -> Tensor:
        """The state x at t'."""

    def times(self, schedule: Schedule, steps: int, start: float = END) -> list[float]:
        """The sampler's own grid from `start` down, here to 1e-3 in equal steps in log-SNR."""
        return log_snr_times(schedule, steps, start)

    def calls(self, steps: int) -> int:
        """The number of calls of D in `steps` steps."""
        return self.calls_per_step * (steps - 1) + 1


SAMPLERS: dict[str, Sampler] = {}


def check_sampler(name: str) -> Sampler:
    """The sampler of that name, else raise `ValueError` with the known names."""
    if not isinstance(name, str) or name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {str(name)[:80]!r}")
    return SAMPLERS[name]


class Multistep(Sampler):
    """The second-order exponential multistep method for the probability flow (algorithm 2).

    D is extrapolated to the middle of the step from its last two values.
    """

    name, label, order = "dpmpp2m", "DPM-Solver++(2M)", 2
    source = "Lu et al. 2022, arXiv 2211.01095"

    def step(self, at: Step) -> Tensor:
        """The exponential step with the extrapolated D; the first one is DDIM's."""
        if not at.past:
            return at.exponential(at.x0)
        before = at.past[0]
        ratio = (at.ahead.log_snr - at.here.log_snr) / (at.here.log_snr - before.point.log_snr)
        return at.exponential(at.x0 + 0.5 * ratio * (at.x0 - before.x0))


class Adams(Sampler):
    """Adams' predictor and corrector for the angle φ = arctan(σ/α).

    As α = cos φ and σ = sin φ, the probability flow is dx/dφ = v = (αx - D)/σ. With the angles
    h = φ' - φ and g = φ - φ₋ of this step and the last,

        predict  x' = x + sin h v + (1 - cos h)(cos g v - v₋)/sin g,
        correct  x = x₋ + tan(g/2)(v₋ + v)  before the next prediction, with v at the predicted x,

    one call per step (PEC mode). For h, g → 0 these are the second-order formulas of
    Adams-Bashforth and Adams-Moulton (Hairer, Nørsett, Wanner, Solving ODEs I, section III.1);
    with sines in place of the angles both are exact, at any step size, where D does not change
    (parts that are known, modes without noise) and where a mode has Λ = q, hence v = -σm. The
    first step is DDIM's. States are the predicted ones.

    The grid has equal steps in u = √∫₀ᵗβ (α = exp(-u²/2)), which are almost equal in t: many
    calls fall where images go wrong (t from 0.4 to 0.8, `mldemo.studies.origins`), where a grid
    uniform in log-SNR has few points. The last step, to D, is about a third of the others; its
    error is of second order too.
    """

    name, label, order = "adams", "Adams in the angle", 2
    source = "the angle: Salimans and Ho 2022, arXiv 2202.00512"

    def step(self, at: Step) -> Tensor:
        """Correct x, predict x'."""
        now, x = Past(at.here, at.x, at.x0), at.x
        if at.past:
            before = at.past[0]
            g = at.here.angle - before.point.angle
            corrected = math.tan(g / 2) * (before.velocity + now.velocity)
            x = x - self._predicted(at.here, *at.past) + corrected
        return x + self._predicted(at.ahead, now, *at.past)

    def _predicted(self, ahead: Point, now: Past, *past: Past) -> Tensor:
        """The change x' - x."""
        h, v = ahead.angle - now.point.angle, now.velocity
        if not past:
            return math.sin(h) * v - (1 - math.cos(h)) * now.x
        g = now.point.angle - past[0].point.angle
        change = (math.cos(g) * v - past[0].velocity) / math.sin(g)
        return math.sin(h) * v + (1 - math.cos(h)) * change

    def times(self, schedule: Schedule, steps: int, start: float = END) -> list[float]:
        """Equal steps in u; the last u² is (3n - 2)⁻² of the way from u²(1e-3) to u²(start)."""
        ends = torch.tensor([check_time(start), FIRST], dtype=torch.float64)
        high, low = schedule.integral(ends).tolist()
        last = low + (high - low) / (3 * steps - 2) ** 2
        u = torch.linspace(math.sqrt(high), math.sqrt(last), steps, dtype=torch.float64)
        return [start, *schedule.time(-0.5 * torch.log(torch.expm1(u**2))).tolist()[1:]]


class DDIM(Sampler):
    """The first-order exponential integrator of the probability flow."""

    name, label, order = "ddim", "DDIM", 1
    source = "Song et al. 2021, arXiv 2010.02502"

    def step(self, at: Step) -> Tensor:
        """The probability flow with D fixed at its present value."""
        return at.exponential(at.x0)


class Heun(Sampler):
    """The trapezoidal rule for dy/ds = (y - D)/s, y = x/α, s = σ/α (algorithm 1)."""

    name, label, order = "heun", "Heun", 2
    calls_per_step = 2
    source = "Karras et al. 2022, arXiv 2206.00364"

    def step(self, at: Step) -> Tensor:
        """The Euler step in (y, s) is the exponential step in x, so it serves as predictor."""
        x0_ahead = at.denoise_ahead(at.exponential(at.x0))
        s, s_ahead = at.here.sigma / at.here.alpha, at.ahead.sigma / at.ahead.alpha
        y = at.x / at.here.alpha
        slope = (y - at.x0) / s
        predicted = y + (s_ahead - s) * slope
        slope_ahead = (predicted - x0_ahead) / s_ahead
        return at.ahead.alpha * (y + (s_ahead - s) * 0.5 * (slope + slope_ahead))


class EulerMaruyama(Sampler):
    """Y' = Y + [½βY + βQ∇log p] h + √β(t) ΔW^Q, h = t - t', as in the paper.

    Its grid is uniform in t. With the exact Gaussian score of the digits at 32² the W2 error, in
    units of √tr Λ, is 0.073 with 20 steps and 0.036 with 40 (on the log-SNR grid 0.074 and 0.035).
    Strong order 1 too, as the noise is additive.
    """

    name, label, order = "euler", "Euler-Maruyama", 1
    stochastic = True
    source = "Hagemann et al. 2023, arXiv 2303.04772"

    def step(self, at: Step) -> Tensor:
        """One step of the reverse SDE."""
        beta = per_sample(at.schedule.beta(at.clock), at.x)
        drift = reverse_drift(at.schedule, at.x, at.x0, at.clock)
        return at.x + drift * (at.here.time - at.ahead.time) + beta.sqrt() * at.noise()

    def times(self, schedule: Schedule, steps: int, start: float = END) -> list[float]:
        """Equal steps in t."""
        return uniform_times(steps, start)
