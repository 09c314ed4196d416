"""Two functions as data: is the reverse equation solvable in the limit of fine grids?

X_0 is f or g, each with probability ½. Let Δ = f - g and m = (f + g)/2, with |Δ_k|² = |k|^(-2a)
and q_k = |k|^(-2s) for k ≠ 0, s > 1. With u, the log-odds of f against g given X_t = x,

    D(x, t) = E[X_0 | X_t = x] = m + ½Δ tanh(u/2),   u = (α/σ²)⟨Q⁻¹Δ, x - αm⟩.

D depends on x through the number u alone. With the signal-to-noise ratio r = α²/σ² as time, the
reverse SDE dY = (½βY + βQ∇log p) dt + √β dW^Q gives u an equation of its own,

    du = ½E tanh(u/2) dr + √E dB,   E = ⟨Q⁻¹Δ, Δ⟩ = Σ |Δ_k|²/q_k,   B a scalar Brownian motion,

and, given u, Y solves a linear equation. If E < ∞, i.e. a > s + 1, the scalar drift is Lipschitz
with constant E/4, so u and with it Y are unique strong solutions (among those for which u exists
as a limit over levels). In other words: two solutions with the same start and the same noise
differ by an element of the Cameron-Martin space {h : ‖Q^(-1/2)h‖ < ∞}, and in its norm D has the
Lipschitz constant (α/4σ²) E (the argument of arXiv 2302.10130). In the norm of L² the constant is
(α/4σ²) ‖Δ‖ ‖Q⁻¹Δ‖, whose finiteness requires more: a > 2s + 1.

If E = ∞, the laws of the noisy f and the noisy g are mutually singular at every t: the start x_T
alone decides between them, the limit of u/E keeps the sign that it has there, and what remains is
linear. So a strong solution from the law of X_T exists here for every a. The example shows that a
score that is Lipschitz in L² is not necessary; it is no equation with only weak solutions.
"""

import torch
from torch import Tensor

from mldemo.diffusion.sde import END, FIRST, Schedule
from mldemo.space.spectral import multiplicity, radius
from mldemo.studies.solutions import two_point_lipschitz as lipschitz

__all__ = ["agreement", "evidence", "lipschitz", "lipschitz_along_noise", "log_odds", "regime"]
GROWTH = 1.08  # of r per step, over which drift and noise change by a few per cent
SCHEDULE = Schedule()


def power_sum(exponent: float, resolution: int) -> float:
    """Σ |k|^exponent over the modes k ≠ 0 of level N; bounded in N iff exponent < -2."""
    r = radius(resolution)
    terms = torch.where(r > 0, r.clamp(min=1) ** exponent, 0.0)
    return float((multiplicity(resolution) * terms).sum())


def evidence(s: float, a: float, resolution: int) -> float:
    """E = ‖Q^(-1/2)Δ‖² on level N: bounded, so that the two noisy laws overlap, iff a > s + 1."""
    return power_sum(2 * s - 2 * a, resolution)


def lipschitz_along_noise(s: float, a: float, resolution: int, time: float) -> float:
    """(α/4σ²) E, of D(·, t) in the norm ‖Q^(-1/2)·‖ on level N; bounded iff a > s + 1."""
    t = torch.tensor(time, dtype=torch.float64)
    factor = float(SCHEDULE.alpha(t) / (4 * SCHEDULE.sigma(t) ** 2))
    return factor * evidence(s, a, resolution)


def regime(s: float, a: float) -> str:
    """Where D stays Lipschitz as N → ∞: "everywhere" (in L²), "along-noise" only, or "nowhere"."""
    # the sliders' steps are not exact in floating point
    a, s = round(a, 6), round(s, 6)
    if a > round(2 * s + 1, 6):
        return "everywhere"
    return "along-noise" if a > round(s + 1, 6) else "nowhere"


def log_odds(energies: Tensor, count: int, seed: int, until: float = FIRST) -> Tensor:
    """The log-odds u at time `until` of `count` reverse runs on nested levels, (levels, count).

    `energies` holds E on each level and must not decrease. The runs on all levels share the
    function that they come from, the start and the noise: W^Q on a finer level only adds modes, so
    its part in u adds an independent Brownian motion with variance E_fine - E_coarse. Euler's
    method on a geometric grid of r = α²/σ², float64.
    """
    generator = torch.Generator().manual_seed(seed)
    more = torch.diff(energies.double(), prepend=torch.zeros(1, dtype=torch.float64))
    if bool((more < 0).any()):
        raise ValueError(f"energies must not decrease from level to level, got {energies}")
    e = energies.double()[:, None]

    def noise() -> Tensor:  # √E B(1) on every level
        white = torch.randn(len(more), count, generator=generator, dtype=torch.float64)
        return (more.sqrt()[:, None] * white).cumsum(0)

    first, last = (2 * SCHEDULE.log_snr(torch.tensor([END, until], dtype=torch.float64))).exp()
    steps = int(torch.log(last / first) / torch.log(torch.tensor(GROWTH))) + 1
    grid = torch.logspace(0, 1, steps + 1, base=float(last / first), dtype=torch.float64) * first
    sign = 2 * torch.randint(2, (count,), generator=generator) - 1  # f or g
    u = first * e * sign / 2 + first.sqrt() * noise()
    for dr in grid.diff():
        u = u + dr * e * torch.tanh(u / 2) / 2 + dr.sqrt() * noise()
    return u


def agreement(s: float, a: float, coarse: int, fine: int, count: int = 2000) -> float:
    """The share of runs that end at the same function on two levels, from one start and noise."""
    energies = torch.tensor([evidence(s, a, n) for n in (coarse, fine)])
    ends = log_odds(energies, count, seed=0) > 0
    return float((ends[0] == ends[1]).double().mean())
