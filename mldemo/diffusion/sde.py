"""The variance-preserving SDE on function space: schedule, forward marginals, reverse drift.

Forward, dX = -½βX dt + √β dW^Q, so x_t = α_t x_0 + σ_t η with η ~ N(0, Q). The reverse process
needs Q∇log p_t, never ∇log p_t alone: with the denoiser D(x, t) = E[X_0 | X_t = x],

    Q∇log p_t(x) = -(x - α_t D(x, t)) / σ_t²,

so Q is never inverted and the formula survives the limit N → ∞ (arXiv 2303.04772, section 3).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

END, FIRST = 1.0, 1e-3  # the diffusion runs over [0, T = 1]; networks are called at t >= FIRST


@dataclass(frozen=True)
class Schedule:
    """β(t) = β_min + (β_max - β_min) t, hence α_t = exp(-½∫₀ᵗβ) and σ_t² = 1 - α_t²."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 0 < self.beta_min <= self.beta_max <= 1000:
            raise ValueError(
                "the schedule needs 0 < beta_min <= beta_max <= 1000, "
                f"got {self.beta_min:g} and {self.beta_max:g}"
            )

    def beta(self, time: Tensor) -> Tensor:
        """β(t), the squared noise rate."""
        return self.beta_min + (self.beta_max - self.beta_min) * time

    def integral(self, time: Tensor) -> Tensor:
        """∫₀ᵗ β."""
        return self.beta_min * time + 0.5 * (self.beta_max - self.beta_min) * time**2

    def alpha(self, time: Tensor) -> Tensor:
        """α_t, the factor of the clean function in x_t."""
        return torch.exp(-0.5 * self.integral(time))

    def sigma(self, time: Tensor) -> Tensor:
        """σ_t = √(1 - α_t²), by expm1, which is accurate at small t."""
        return torch.sqrt(-torch.expm1(-self.integral(time)))

    def log_snr(self, time: Tensor) -> Tensor:
        """λ(t) = log(α_t / σ_t), decreasing in t."""
        return -0.5 * torch.log(torch.expm1(self.integral(time)))

    def time(self, log_snr: Tensor) -> Tensor:
        """The t with log(α_t / σ_t) = λ."""
        integral = torch.nn.functional.softplus(-2 * log_snr, threshold=50)
        gap = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * gap * integral))


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Values of shape (B,) or () as (B, 1, 1, 1), with the dtype and device of `like`."""
    return values.to(device=like.device, dtype=like.dtype).reshape(-1, 1, 1, 1)


def diffuse(schedule: Schedule, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """x_t = α_t x_0 + σ_t η for fields (or modes) x_0, η of shape (B, 1, …) and times (B,)."""
    real = clean.real if clean.is_complex() else clean
    alpha, sigma = schedule.alpha(time), schedule.sigma(time)
    return per_sample(alpha, real) * clean + per_sample(sigma, real) * noise


def preconditioned_score(schedule: Schedule, x: Tensor, denoised: Tensor, time: Tensor) -> Tensor:
    """Q∇log p_t(x) = -(x - α_t D)/σ_t²."""
    alpha, sigma = schedule.alpha(time), schedule.sigma(time)
    return (per_sample(alpha, x) * denoised - x) / per_sample(sigma, x) ** 2


def reverse_drift(schedule: Schedule, x: Tensor, denoised: Tensor, time: Tensor) -> Tensor:
    """The drift of the reverse SDE, ½βx + βQ∇log p, per unit of reversed time."""
    beta = per_sample(schedule.beta(time), x)
    return beta * (0.5 * x + preconditioned_score(schedule, x, denoised, time))


def check_time(time: float) -> float:
    """Return a time in (1e-3, 1], where a reverse run may start, else raise `ValueError`."""
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise ValueError(f"time must be a number, got {str(time)[:80]!r}")
    if not FIRST < time <= END:
        raise ValueError(f"time must be above {FIRST:g} and at most {END:g}, got {time:g}")
    return float(time)


def uniform_times(steps: int, start: float = END) -> list[float]:
    """`steps` times from `start` down to 1e-3, equally spaced."""
    return torch.linspace(check_time(start), FIRST, steps, dtype=torch.float64).tolist()


def log_snr_times(schedule: Schedule, steps: int, start: float = END) -> list[float]:
    """`steps` times from `start` down to 1e-3, equally spaced in log(α/σ)."""
    ends = schedule.log_snr(torch.tensor([check_time(start), FIRST], dtype=torch.float64))
    grid = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
    times = schedule.time(grid).tolist()
    times[0] = start
    if steps > 1:
        times[-1] = FIRST
    if not all(math.isfinite(t) for t in times):
        raise ValueError(f"the schedule {schedule} has no usable log-SNR grid")
    return times
