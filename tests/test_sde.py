"""The forward and reverse SDE, held against numerical integration and Gaussian closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from mldemo.diffusion.sde import (
    FIRST,
    Schedule,
    diffuse,
    log_snr_times,
    per_sample,
    preconditioned_score,
    reverse_drift,
    uniform_times,
)
from mldemo.space import spectral
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Bessel

SCHEDULES = [Schedule(), Schedule(0.5, 0.5), Schedule(0.01, 40.0)]
each = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
TIMES = torch.tensor([FIRST, 0.01, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)


@each
def test_alpha_is_the_numerical_integral_of_beta(schedule: Schedule) -> None:
    for t in TIMES.tolist():
        area, _ = integrate.quad(lambda u: float(schedule.beta(torch.tensor(u))), 0, t)
        alpha = float(schedule.alpha(torch.tensor(t, dtype=torch.float64)))
        assert alpha == pytest.approx(math.exp(-0.5 * area), rel=1e-6)


def test_default_schedule_is_the_one_on_record() -> None:
    """β(t) = 0.1 + 19.9 t, so ∫₀¹β = 10.05."""
    ends = Schedule().beta(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert ends == [0.1, 20.0]
    alpha = float(Schedule().alpha(torch.tensor(1.0, dtype=torch.float64)))
    assert alpha == pytest.approx(math.exp(-10.05 / 2), rel=1e-14)


@each
def test_variance_is_preserved(schedule: Schedule) -> None:
    total = schedule.alpha(TIMES) ** 2 + schedule.sigma(TIMES) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-14, atol=0)
    tiny = torch.tensor(1e-9, dtype=torch.float32)  # expm1 keeps the digits that 1 - α² loses
    expected = math.sqrt(schedule.beta_min * 1e-9)
    assert float(schedule.sigma(tiny)) == pytest.approx(expected, rel=1e-5)


@each
def test_time_inverts_log_snr(schedule: Schedule) -> None:
    times = torch.cat([TIMES, torch.tensor([1e-6], dtype=torch.float64)])
    log_snr = torch.log(schedule.alpha(times) / schedule.sigma(times))
    torch.testing.assert_close(schedule.log_snr(times), log_snr, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(schedule.time(log_snr), times, rtol=1e-8, atol=0)


@each
@pytest.mark.parametrize("steps", [2, 7, 1000])
def test_grids(schedule: Schedule, steps: int) -> None:
    """Equal steps in t and in log(α/σ), from 1 to 1e-3."""
    uniform = np.array(uniform_times(steps))
    np.testing.assert_allclose(np.diff(uniform), (FIRST - 1) / (steps - 1), rtol=1e-9)
    times = log_snr_times(schedule, steps)
    log_snr = schedule.log_snr(torch.tensor(times, dtype=torch.float64)).numpy()
    gap = (log_snr[-1] - log_snr[0]) / (steps - 1)
    np.testing.assert_allclose(np.diff(log_snr), gap, rtol=1e-6)
    for grid in (times, uniform.tolist()):
        assert (grid[0], grid[-1], len(grid)) == (1.0, FIRST, steps)


def test_one_step_starts_at_the_end() -> None:
    assert log_snr_times(Schedule(), 1) == uniform_times(1) == [1.0]


def test_diffusion_has_the_marginals_of_the_sde() -> None:
    """x_t = αx_0 + ση, per sample; the same for modes as for fields."""
    schedule, prior, n = Schedule(), Bessel(), 9
    clean = prior.draw(1, [0, 1, 2], n, torch.float64)
    noise = prior.draw(2, [0, 1, 2], n, torch.float64)
    times = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    x = diffuse(schedule, clean, noise, times)
    for i, t in enumerate(times.tolist()):
        area = 0.1 * t + 9.95 * t * t
        expected = math.exp(-area / 2) * clean[i] + math.sqrt(1 - math.exp(-area)) * noise[i]
        torch.testing.assert_close(x[i], expected)
    modes = diffuse(schedule, spectral.to_modes(clean), spectral.to_modes(noise), times)
    torch.testing.assert_close(spectral.to_field(modes, n), x)


def test_variance_of_the_diffused_gaussian_solves_its_equation() -> None:
    """dv/dt = -βv + βq, v(0) = Λ, has the solution α²Λ + σ²q that every oracle uses."""
    schedule, data, noise = Schedule(), 0.7, 0.2

    def slope(t: float, v: np.ndarray) -> np.ndarray:
        return float(schedule.beta(torch.tensor(t))) * (noise - v)

    solution = integrate.solve_ivp(slope, (0, 1), [data], rtol=1e-10, atol=1e-12, t_eval=TIMES)
    alpha, sigma = schedule.alpha(TIMES).numpy(), schedule.sigma(TIMES).numpy()
    np.testing.assert_allclose(solution.y[0], alpha**2 * data + sigma**2 * noise, rtol=1e-6)


@pytest.mark.parametrize("n", [8, 9])
def test_reverse_drift_for_gaussian_data(n: int) -> None:
    """½βx + βQ∇log p, with Q∇log p = -q (x - αm)/v in closed form and D fed as the exact one."""
    schedule, prior = Schedule(), Bessel()
    data, q = Bessel(2.0, 4.0, trace=0.3).eigenvalues(n), prior.eigenvalues(n)
    times = torch.tensor([0.05, 0.4, 0.9], dtype=torch.float64)
    x = spectral.to_field(unit_modes(1, [0, 1, 2], n, torch.float64) * q.sqrt(), n)
    mean = spectral.to_field(unit_modes(2, [0], n, torch.float64) * data.sqrt(), n)
    alpha, sigma = (per_sample(f(times), x) for f in (schedule.alpha, schedule.sigma))
    v = torch.where(q > 0, alpha**2 * data + sigma**2 * q, 1.0)
    centred = x - alpha * mean
    denoised = mean + spectral.apply_multiplier(centred, alpha * data / v)
    score = -spectral.apply_multiplier(centred, q / v)
    torch.testing.assert_close(preconditioned_score(schedule, x, denoised, times), score)
    beta = torch.tensor([0.1 + 19.9 * t for t in times.tolist()], dtype=torch.float64)
    drift = beta.reshape(-1, 1, 1, 1) * (x / 2 + score)
    torch.testing.assert_close(reverse_drift(schedule, x, denoised, times), drift)


@pytest.mark.parametrize("pair", [(0.0, 1.0), (2.0, 1.0), (0.1, 2000.0), (math.nan, 1.0)])
def test_bad_schedules_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=rf"0 < beta_min <= .* got {pair[0]:g} and {pair[1]:g}"):
        Schedule(*pair)
