"""Samplers on Gaussian data, against exact per-mode recursions, W2 and orders of convergence.

With the exact Gaussian denoiser D = m + g (x - αm), g = αΛ/v, every sampler is affine in each mode
and in the noise, so what it must return can be written down without it.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.samplers import State, brownian_fields, sample
from mldemo.diffusion.sde import Schedule, log_snr_times, uniform_times
from mldemo.diffusion.steps import SAMPLERS, Heun, Sampler
from mldemo.space import spectral
from mldemo.space.noise import BrownianPath, unit_modes
from mldemo.space.priors import Bessel, Matched

SCHEDULE, PRIOR = Schedule(), Bessel(1.5, 8.0, trace=0.4)
N = 8
DATA = Matched(1.8, 2.0, trace=0.5).eigenvalues(N)
MEAN = Matched(1.8, 2.0, trace=0.5).draw(99, [0], N, torch.float64)
KEPT = (spectral.multiplicity(N) > 0).numpy()
LAMBDA, Q = DATA.numpy(), PRIOR.eigenvalues(N).numpy()
each_deterministic = pytest.mark.parametrize("sampler", ["dpmpp2m", "adams", "ddim", "heun"])


def run(
    denoiser: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sampler: str,
    steps: int,
    **options: Any,
) -> list[State]:
    return list(sample(denoiser, x, sampler, steps, SCHEDULE, **options))


def oracle() -> GaussianDenoiser:
    return GaussianDenoiser(MEAN, DATA, PRIOR, SCHEDULE)


def ab(t: float) -> tuple[float, float]:
    area = 0.1 * t + 9.95 * t * t
    return math.exp(-area / 2), math.sqrt(-math.expm1(-area))


def gain(t: float, q: np.ndarray = Q) -> np.ndarray:
    """D's slope on centred modes."""
    a, s = ab(t)
    return a * LAMBDA / np.where(KEPT, a**2 * LAMBDA + s**2 * q, 1.0)


def deterministic_gain(sampler: str, times: list[float]) -> np.ndarray:
    """y_0 = G y_T for y = x - αm, mode by mode, in the variables of each sampler's own paper."""
    if sampler == "adams":
        return adams_gain(times)
    rho = [ab(t)[1] / ab(t)[0] for t in times]  # σ/α
    z = np.ones_like(LAMBDA) / ab(times[0])[0]  # z = y/α
    old = None
    for i, (t, ahead) in enumerate(pairwise(times)):
        denoised = gain(t) * ab(t)[0] * z
        ratio = rho[i + 1] / rho[i]
        if sampler == "heun":  # dz/dρ = (z - D)/ρ, trapezoidal
            slope = (z - denoised) / rho[i]
            guess = z + (rho[i + 1] - rho[i]) * slope
            late = (guess - gain(ahead) * ab(ahead)[0] * guess) / rho[i + 1]
            z = z + (rho[i + 1] - rho[i]) * (slope + late) / 2
        elif sampler == "ddim" or old is None:
            z = ratio * z + (1 - ratio) * denoised
        else:  # the exponential integrator with the derivative of D from the step before
            h, before = math.log(rho[i] / rho[i + 1]), math.log(rho[i - 1] / rho[i])
            z = ratio * z + (1 - ratio) * (denoised + h / (2 * before) * (denoised - old))
        old = denoised
    return gain(times[-1]) * ab(times[-1])[0] * z


def adams_gain(times: list[float]) -> np.ndarray:
    """y_0 = G y_T of the predictor and corrector in φ, which carries its corrected y along.

    d²y/dφ² + y = f, with f constant over a step: of the last one for the prediction (so that it
    leads from v₋ to v), of this one for the correction.
    """
    phi = [math.atan2(*ab(t)[::-1]) for t in times]
    y = kept = old = np.ones_like(LAMBDA)
    for i, t in enumerate(times):
        a, s = ab(t)
        denoised = gain(t) * y
        v = (a * y - denoised) / s
        if i == len(times) - 1:
            return denoised
        h, bend = phi[i + 1] - phi[i], 0.0 * y
        if i > 0:
            g = phi[i] - phi[i - 1]
            f = (v - old * math.cos(g) + kept * math.sin(g)) / math.sin(g)
            y = kept * math.cos(g) + old * math.sin(g) + f * (1 - math.cos(g))
            bend = f * (1 - math.cos(h))
        kept, old = y, v
        y = y * math.cos(h) + v * math.sin(h) + bend
    raise AssertionError("no times")


def w2(variance: np.ndarray, offset: np.ndarray | float = 0.0) -> float:
    """W2² = ‖Δm‖² + Σ(√a - √b)² to the data, Gaussians diagonal in one basis."""
    weight = spectral.multiplicity(N).numpy()
    gap = np.abs(offset) ** 2 + (np.sqrt(variance) - np.sqrt(LAMBDA)) ** 2
    return math.sqrt(float((weight * gap).sum()))


def start_variance() -> np.ndarray:
    a, s = ab(1.0)
    return a**2 * LAMBDA + s**2 * Q


def start(count: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    root = torch.from_numpy(np.sqrt(start_variance()))
    modes = unit_modes(3, range(count), N, torch.float64) * root
    return (ab(1.0)[0] * MEAN + spectral.to_field(modes, N)).to(dtype)


def slope(errors: list[float], steps: list[int]) -> float:
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@each_deterministic
@pytest.mark.parametrize("steps", [1, 2, 3, 11])
@pytest.mark.parametrize("uniform", [False, True])
def test_deterministic_samplers_are_their_exact_recursion(
    sampler: str, steps: int, uniform: bool
) -> None:
    """To float64 rounding, on both time grids (the second has unequal steps in log-SNR)."""
    times = uniform_times(steps) if uniform else SAMPLERS[sampler].times(SCHEDULE, steps)
    x = start()
    last = run(oracle(), x, sampler, steps, times=times if uniform else None)[-1]
    centred = spectral.to_modes(x - ab(1.0)[0] * MEAN)
    modes = torch.from_numpy(deterministic_gain(sampler, times)) * centred
    expected = MEAN + spectral.to_field(modes, N)
    torch.testing.assert_close(last.x, expected, rtol=1e-9, atol=1e-9)


def test_second_order_multistep_by_hand() -> None:
    """Two states with a D that is no function of x: algorithm 2 of Lu et al. (2022), in
    λ = log(α/σ): x' = (σ'/σ) x - α' (e^{-h} - 1) [(1 + 1/2r) D_i - (1/2r) D_{i-1}]."""
    times = [0.9, 0.5, 0.3]
    x = torch.ones(1, 1, N, N, dtype=torch.float64)
    values = {0.9: 2.0, 0.5: -1.0, 0.3: 5.0}

    def denoise(y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(y, values[round(float(t), 6)])

    states = run(denoise, x, "dpmpp2m", 3, times=times)
    lam = [math.log(ab(t)[0] / ab(t)[1]) for t in times]
    h0, h1 = lam[1] - lam[0], lam[2] - lam[1]
    first = ab(0.5)[1] / ab(0.9)[1] * 1.0 - ab(0.5)[0] * math.expm1(-h0) * 2.0
    r = h0 / h1
    mixed = (1 + 1 / (2 * r)) * -1.0 - 1 / (2 * r) * 2.0
    second = ab(0.3)[1] / ab(0.5)[1] * first - ab(0.3)[0] * math.expm1(-h1) * mixed
    assert float(states[1].x.mean()) == pytest.approx(first, rel=1e-12)
    assert float(states[2].x.mean()) == pytest.approx(second, rel=1e-12)
    assert float(states[3].x.mean()) == 5.0


def euler_affine(times: list[float], increments: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    """Y' = Y + [½βY - βq y/v] h + √β √q ΔW on centred modes (the mean follows its own recursion
    exactly only in the limit, so m = 0 here)."""
    for (t, ahead), dw in zip(pairwise(times), increments, strict=True):
        a, s = ab(t)
        beta = 0.1 + 19.9 * t
        score = -Q * y / np.where(KEPT, a**2 * LAMBDA + s**2 * Q, 1.0)
        y = y + beta * (0.5 * y + score) * (t - ahead) + math.sqrt(beta) * np.sqrt(Q) * dw
    return gain(times[-1]) * y


def centred_oracle() -> GaussianDenoiser:
    return GaussianDenoiser(torch.zeros_like(MEAN), DATA, PRIOR, SCHEDULE)


@pytest.mark.parametrize("uniform", [False, True])
def test_euler_maruyama_is_its_affine_recursion(uniform: bool) -> None:
    """With the same Brownian increments, to rounding."""
    steps = 40
    times = uniform_times(steps) if uniform else log_snr_times(SCHEDULE, steps)
    x = start() - ab(1.0)[0] * MEAN
    noise = brownian_fields(PRIOR, 5, [0, 1], N, dtype=torch.float64)
    last = run(centred_oracle(), x, "euler", steps, noise=noise, times=times)[-1]
    path = BrownianPath(5, [0, 1], N)
    increments = [path.increment(b, a, torch.float64).numpy() for a, b in pairwise(times)]
    expected = euler_affine(times, increments, spectral.to_modes(x).numpy())
    ours = spectral.to_modes(last.x).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


def euler_variance(times: list[float]) -> np.ndarray:
    """Var y' = (1 + h β (½ - q/v))² Var y + β q h, then the last denoising."""
    variance = start_variance()
    for t, ahead in pairwise(times):
        a, s = ab(t)
        beta, h = 0.1 + 19.9 * t, t - ahead
        v = np.where(KEPT, a**2 * LAMBDA + s**2 * Q, 1.0)
        variance = (1 + h * beta * (0.5 - Q / v)) ** 2 * variance + beta * Q * h
    return gain(times[-1]) ** 2 * variance


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_sampled_variance_of_every_mode(sampler: str) -> None:
    """χ² bounds on 400 samples against the exact recursion, from the project's own start."""
    count, steps = 400, 12
    times = SAMPLERS[sampler].times(SCHEDULE, steps)
    noise = brownian_fields(PRIOR, 5, list(range(count)), N, dtype=torch.float64)
    last = run(oracle(), start(count), sampler, steps, noise=noise)[-1]
    modes = spectral.to_modes(last.x).numpy()[:, 0]
    mean = modes.mean(0)
    variance = np.abs(modes - mean) ** 2
    exact = (
        euler_variance(times)
        if sampler == "euler"
        else deterministic_gain(sampler, times) ** 2 * start_variance()
    )
    for i, j in np.argwhere(KEPT):
        parts = 1 if i == j == 0 else 2
        freedom = parts * (count - 1)
        low, high = stats.chi2.ppf([1e-8, 1 - 1e-8], freedom)
        assert low < parts * variance[:, i, j].sum() / exact[i, j] < high, (i, j)


@pytest.mark.parametrize(
    ("sampler", "order"), [("dpmpp2m", 2), ("adams", 2), ("ddim", 1), ("heun", 2)]
)
def test_order_of_convergence_in_w2(sampler: str, order: int) -> None:
    """Log-log slope of the W2 between N(m, GΛ_TG) and N(m, G*Λ_TG*), G from the sampler itself
    run on one field with every mode set, G* the exact flow; W2 to the data falls with it."""
    flow = deterministic_gain(sampler, log_snr_times(SCHEDULE, 6000))  # removes the last step
    x, steps, errors, to_data = start(1), [80, 160, 320], [], []
    centred = spectral.to_modes(x - ab(1.0)[0] * MEAN).numpy()[0, 0]
    for n in steps:
        out = run(oracle(), x, sampler, n)[-1].x - MEAN
        ours = spectral.to_modes(out).numpy()[0, 0]
        g = np.where(KEPT, ours / np.where(KEPT, centred, 1.0), 0.0)
        weight = spectral.multiplicity(N).numpy()
        errors.append(math.sqrt((weight * start_variance() * np.abs(g - flow) ** 2).sum()))
        to_data.append(w2(np.abs(g) ** 2 * start_variance()))
    assert slope(errors, steps) == pytest.approx(order, abs=0.15)
    assert to_data[0] > to_data[1] > to_data[2]
    assert to_data[2] < 0.02 * math.sqrt(float((weight * LAMBDA).sum()))


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_adams_is_exact_at_any_step(steps: int) -> None:
    """If D = m, x_t = α_t m + σ_t η. If Λ = q, x_t - α_t m stands still, but for the state that
    DDIM's step predicts, as if D were constant; the corrector puts it right."""
    eta, times = PRIOR.draw(4, [0], N, torch.float64), SAMPLERS["adams"].times(SCHEDULE, steps)
    noise = ab(1.0)[1] * eta
    same = GaussianDenoiser(MEAN, PRIOR.eigenvalues(N), PRIOR, SCHEDULE)
    constant = run(lambda x, t: MEAN.expand_as(x), ab(1.0)[0] * MEAN + noise, "adams", steps)
    still = run(same, ab(1.0)[0] * MEAN + noise, "adams", steps)
    turned = math.cos(math.atan2(*ab(times[1])) - math.atan2(*ab(1.0)))
    for one, other in zip(constant[:-1], still[:-1], strict=True):
        alpha, sigma = ab(one.time)
        torch.testing.assert_close(one.x, alpha * MEAN + sigma * eta, rtol=1e-9, atol=1e-9)
        left = turned if other.step == 1 else 1.0
        torch.testing.assert_close(other.x, alpha * MEAN + left * noise, rtol=1e-9, atol=1e-9)


def test_the_grid_of_adams() -> None:
    """Equal steps in u = √∫β; u² at the end is (3n - 2)⁻² of the way from 1e-3 to the start, so
    about a third of a step is left, and the end tends to 1e-3 as n⁻²."""
    for steps in (2, 9, 40, 300):
        for first in (1.0, 0.3):
            times = np.array(SAMPLERS["adams"].times(SCHEDULE, steps, first))
            assert times[0] == pytest.approx(first, rel=1e-12) and 1e-3 < times[-1] < times[0] <= 1
            square = 0.1 * times + 9.95 * times**2
            each = -np.diff(np.sqrt(square))
            np.testing.assert_allclose(each, each[0], rtol=1e-6)
            left = square[-1] - (0.1e-3 + 9.95e-6)
            assert math.sqrt(left) == pytest.approx(math.sqrt(square[0]) / (3 * steps - 2), 2e-4)
    assert SAMPLERS["adams"].times(SCHEDULE, 1, 0.5) == [pytest.approx(0.5)]


def test_flow_of_a_fine_grid_is_the_flow_map() -> None:
    """x_T -> m + √(Λ/v_T)(x_T - α_T m), but for the last step's D at t = 1e-3 (order 1e-3)."""
    x = start()
    out = run(oracle(), x, "dpmpp2m", 300)[-1].x
    exact = oracle().flow_map(x)
    gap = (out - exact).square().mean().sqrt() / exact.std()
    assert float(gap) < 2e-3


def test_euler_maruyama_has_strong_order_one() -> None:
    """Nested uniform grids on [0.1, 1], one Brownian path: E‖Y_h - Y_fine‖² by log-log slope, the
    state before the last denoising."""
    count, levels, finest = 6, [20, 40, 80], 480
    x = start(count) - ab(1.0)[0] * MEAN
    noise = brownian_fields(PRIOR, 5, list(range(count)), N, dtype=torch.float64)

    def end(parts: int) -> torch.Tensor:
        times = np.linspace(1, 0.1, parts + 1).tolist()
        return run(centred_oracle(), x, "euler", parts + 1, noise=noise, times=times)[-2].x

    reference = end(finest)
    errors = [float((end(n) - reference).square().mean().sqrt()) for n in levels]
    assert slope(errors, levels) == pytest.approx(1.0, abs=0.15)


def test_a_name_without_a_step_cannot_exist() -> None:
    """Nor one without its facts, nor a second sampler of a name."""
    facts = {"name": "magic", "label": "Magic", "order": 3, "source": "nowhere"}
    with pytest.raises(TypeError, match="the sampler magic has no step"):
        type("Magic", (Sampler,), facts)
    with pytest.raises(TypeError, match="the sampler magic has no label, order, source"):
        type("Magic", (Sampler,), {"name": "magic", "step": Heun.step})
    with pytest.raises(TypeError, match="a sampler called heun already"):
        type("Magic", (Heun,), facts | {"name": "heun"})
    assert "magic" not in SAMPLERS and type(SAMPLERS["heun"]) is Heun


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_calls_are_those_that_the_sampler_promises(name: str, steps: int) -> None:
    """Counted by the denoiser itself, not by the loop."""
    asked = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(float(t))
        return oracle()(x, t)

    noise = brownian_fields(PRIOR, 5, [0, 1], N, dtype=torch.float64)
    states = run(denoise, start(), name, steps, noise=noise)
    assert len(asked) == states[-1].calls == SAMPLERS[name].calls(steps)
    assert set(asked) <= set(SAMPLERS[name].times(SCHEDULE, steps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_precisions_are_refused_in_one_sentence(dtype: torch.dtype) -> None:
    """By the sampler before it begins, and by every denoiser."""
    x = torch.ones(1, 1, N, N).to(dtype)
    words = f"fields must be float32 or float64, got {dtype}"
    with pytest.raises(ValueError, match=words):
        sample(oracle(), x, "ddim", 3)
    with pytest.raises(ValueError, match=words):
        oracle()(x, torch.tensor(0.5))


def test_noise_of_another_precision_is_refused_in_one_sentence() -> None:
    noise = brownian_fields(PRIOR, 5, [0, 1], N)
    with pytest.raises(ValueError, match=r"noise is torch.float32 .* fields are torch.float64"):
        run(oracle(), start(), "euler", 3, noise=noise)
