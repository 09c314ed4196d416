"""The lesson's example of two functions: constants, regimes, and the equation of the log-odds."""

from itertools import pairwise

import pytest
import torch

from mldemo.diffusion.sde import Schedule, reverse_drift
from mldemo.space.spectral import multiplicity, radius
from mldemo.ui.tabs.learn.two_points import (
    agreement,
    evidence,
    lipschitz,
    lipschitz_along_noise,
    log_odds,
    regime,
)

SCHEDULE = Schedule()


def modes(s: float, a: float, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Δ/2 and q, one entry per mode of level n."""
    r = radius(n)
    keep = (r > 0) & (multiplicity(n) > 0)
    k = torch.repeat_interleave(r[keep], multiplicity(n)[keep].long())
    return k**-a / 2, k ** (-2 * s)


def denoised(
    x: torch.Tensor, time: torch.Tensor, half: torch.Tensor, q: torch.Tensor
) -> torch.Tensor:
    """E[X_0 | X_t = x] by Bayes, for X_0 = ±half."""
    alpha, sigma = SCHEDULE.alpha(time), SCHEDULE.sigma(time)
    far = torch.stack([((x - alpha * p) ** 2 / q).sum(-1) for p in (half, -half)])
    weights = torch.softmax(-far / (2 * sigma**2), 0)
    return (weights[0] - weights[1])[..., None] * half


@pytest.mark.parametrize("along_noise", [False, True])
def test_the_constants_are_those_of_the_exact_denoiser(along_noise: bool) -> None:
    """Against automatic differentiation of D for two points, in the steepest direction."""
    s, a, n, time = 1.3, 2.4, 8, torch.tensor(0.3, dtype=torch.float64)
    half, q = modes(s, a, n)
    origin = torch.zeros_like(half)
    jacobian = torch.autograd.functional.jacobian(lambda x: denoised(x, time, half, q), origin)
    assert isinstance(jacobian, torch.Tensor)
    if along_noise:
        jacobian = q[:, None] ** -0.5 * jacobian * q**0.5  # in the norm of Q^(-1/2)
    steepest = float(torch.linalg.matrix_norm(jacobian, 2))
    constant = (lipschitz_along_noise if along_noise else lipschitz)(s, a, n, 0.3)
    assert constant == pytest.approx(steepest, rel=1e-9)


@pytest.mark.parametrize(("s", "a"), [(1.5, 5.0), (1.5, 3.0), (1.5, 2.0), (1.2, 3.5)])
def test_the_regime_is_what_the_sums_do(s: float, a: float) -> None:
    """The last doubling adds as much as the exponents say, or next to nothing."""
    constants = (lipschitz, lipschitz_along_noise)
    growth = [f(s, a, 256, 0.3) / f(s, a, 128, 0.3) for f in constants]
    grows = [g > 1.05 for g in growth]
    expected = {
        "everywhere": [False, False],
        "along-noise": [True, False],
        "nowhere": [True, True],
    }
    assert grows == expected[regime(s, a)]
    if a < 2 * s + 1:
        assert growth[0] == pytest.approx(2 ** (2 * s - a + 1), rel=0.05)


def test_the_reverse_equation_reduces_to_the_scalar_one() -> None:
    """The reverse SDE of all modes and du = ½E tanh(u/2) dr + √E dB, one noise path for both.

    Both by Euler's method, of strong order 1: their distance is halved with the step.
    """
    s, a, n, end = 1.5, 2.4, 8, 0.2
    half, q = modes(s, a, n)
    energy, finest, runs = evidence(s, a, n), 4096, 64
    generator = torch.Generator().manual_seed(4)
    paths = torch.randn(finest, runs, len(q), generator=generator, dtype=torch.float64)
    start = q.sqrt() * torch.randn(runs, len(q), generator=generator, dtype=torch.float64)
    weight = 2 * half / q  # Q⁻¹Δ

    def distance(steps: int) -> float:
        grid = torch.linspace(1.0, end, steps + 1, dtype=torch.float64)
        width = (1 - end) / steps
        brown = paths.reshape(steps, -1, runs, len(q)).sum(1) * ((1 - end) / finest) ** 0.5
        ratio = (2 * SCHEDULE.log_snr(grid)).exp()
        x = SCHEDULE.sigma(grid[0]) * start
        u = (ratio[0] / SCHEDULE.alpha(grid[0])) * x @ weight
        for i, t in enumerate(grid[:-1]):
            kick = SCHEDULE.beta(t).sqrt() * q.sqrt() * brown[i]
            d = denoised(x, t, half, q)[:, None, None]
            x = x + reverse_drift(SCHEDULE, x[:, None, None], d, t)[:, 0, 0] * width + kick
            du = energy / 2 * torch.tanh(u / 2) * (ratio[i + 1] - ratio[i])
            u = u + du + ratio[i] / SCHEDULE.alpha(t) * kick @ weight
        seen = ratio[-1] / SCHEDULE.alpha(grid[-1]) * x @ weight
        return float((torch.tanh(seen / 2) - torch.tanh(u / 2)).square().mean().sqrt())

    errors = [distance(steps) for steps in (256, 1024, 4096)]
    assert errors[-1] < 0.02
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(4, rel=0.35)


def test_runs_converge_where_the_constant_in_l2_diverges() -> None:
    """For s + 1 < a < 2s + 1 coupled runs converge like √(E - E_N) ~ N^-(a - s - 1)."""
    s, a, levels = 1.5, 3.5, [16, 32, 64, 128, 256]
    assert regime(s, a) == "along-noise"
    energies = torch.tensor([evidence(s, a, n) for n in levels])
    labels = torch.tanh(log_odds(energies, 20000, seed=1, until=0.3) / 2)
    gaps = labels.diff(dim=0).square().mean(1).sqrt()
    slopes = (gaps[:-1] / gaps[1:]).log2()
    assert slopes.tolist() == pytest.approx([a - s - 1] * 3, abs=0.1)
    growth = [lipschitz(s, a, n, 0.3) for n in levels]
    assert growth[-1] / growth[-2] == pytest.approx(2 ** (2 * s + 1 - a), rel=0.05)


def test_runs_on_two_grids_do_not_agree_where_the_laws_separate() -> None:
    """Below s + 1 every doubling turns as many runs over, until the start shows f or g."""
    rough = [agreement(1.5, 2.0, n, 2 * n) for n in (16, 64, 128)]
    assert max(rough) < 0.8
    assert agreement(1.5, 4.0, 128, 256) > 0.995
    assert agreement(3.0, 1.5, 128, 256) == 1  # α²E/4σ² ~ 1e6 at t = 1


def test_the_log_odds_have_the_law_of_the_data() -> None:
    """u comes from f or g with probability ½: e^u is the ratio of its densities."""
    u = log_odds(torch.tensor([9.0]), 40000, seed=2, until=0.5)[0]
    r = float((2 * SCHEDULE.log_snr(torch.tensor(0.5, dtype=torch.float64))).exp())
    assert float((u > 0).double().mean()) == pytest.approx(0.5, abs=0.01)
    # given f, u is N(rE/2, rE): the mean of u² is that of the mixture
    assert float(u.square().mean()) == pytest.approx(9 * r + (9 * r / 2) ** 2, rel=0.03)


def test_levels_out_of_order_are_refused() -> None:
    """A coarser level cannot hold more."""
    with pytest.raises(ValueError, match="must not decrease"):
        log_odds(torch.tensor([2.0, 1.0]), 4, seed=0)
