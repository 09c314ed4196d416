"""Exact denoisers, held against dense matrices, automatic differentiation and brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

from mldemo.diffusion.oracles import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser
from mldemo.diffusion.samplers import sample
from mldemo.diffusion.sde import Schedule, diffuse, preconditioned_score
from mldemo.space import spectral
from mldemo.space.covariance import Prior
from mldemo.space.priors import Bessel, FourierFilter, Laplacian, Matched

SCHEDULE = Schedule()
PRIOR = Bessel(1.5, 8.0, trace=0.3)
DATA = Matched(1.4, 2.0, trace=0.5)
TIMES = torch.tensor([0.02, 0.3, 0.8], dtype=torch.float64)


def field(prior: Prior, seed: int, count: int, n: int = 8) -> Tensor:
    return prior.draw(seed, range(count), n, torch.float64)


def covariance(q: Tensor) -> Tensor:
    """Dense C(x, y) = Σ_k q_k cos(2πk·(x - y)) of the pixels."""
    n = q.shape[0]
    m = spectral.bandwidth(n)
    axis = torch.arange(n, dtype=torch.float64) / n
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    difference = x[:, None] - x[None]
    out = torch.zeros(n * n, n * n, dtype=torch.float64)
    for a in range(-m, m + 1):
        for b in range(-m, m + 1):
            value = q[a, b] if b >= 0 else q[-a, -b]
            phase = 2 * math.pi * (difference @ torch.tensor([a, b], dtype=torch.float64))
            out += value * phase.cos()
    return out


def alpha_sigma(time: float) -> tuple[float, float]:
    area = 0.1 * time + 9.95 * time**2
    return math.exp(-area / 2), math.sqrt(1 - math.exp(-area))


def gaussian(n: int = 8, prior: Prior = PRIOR) -> GaussianDenoiser:
    return GaussianDenoiser(field(DATA, 40, 1, n), DATA.eigenvalues(n), prior, SCHEDULE)


@pytest.mark.parametrize("n", [8, 9])
def test_gaussian_score_is_the_gradient_of_the_dense_log_density(n: int) -> None:
    """Q∇log p by autograd through -½ (x - αm)ᵀ C⁺ (x - αm); in the norm Σ|û_k|² the gradient is
    N² times the pixel gradient, and Q as an operator is the dense covariance over N²."""
    denoiser = gaussian(n)
    q = covariance(PRIOR.eigenvalues(n))
    x = field(PRIOR, 1, 3, n)
    ours = preconditioned_score(SCHEDULE, x, denoiser(x, TIMES), TIMES).flatten(1)
    for i, time in enumerate(TIMES.tolist()):
        alpha, sigma = alpha_sigma(time)
        dense = alpha**2 * covariance(DATA.eigenvalues(n)) + sigma**2 * q
        precision = torch.linalg.pinv(dense, rtol=1e-10, hermitian=True)
        y = x[i].reshape(-1).clone().requires_grad_()
        centred = y - alpha * denoiser.mean.reshape(-1)
        (gradient,) = torch.autograd.grad(-0.5 * centred @ precision @ centred, y)
        torch.testing.assert_close(ours[i], q @ gradient, rtol=1e-8, atol=1e-10)


def test_gaussian_where_noise_or_data_vanish() -> None:
    """q = 0 < Λ: nothing was added, D = x/α there. Λ = 0: D = m there. Both 0: D = m."""
    n, alpha = 9, alpha_sigma(0.3)[0]
    x = field(PRIOR, 1, 1, n)
    data = DATA.eigenvalues(n).clone()
    data[1, 1] = 0.0
    data[3, 3] = 0.0
    prior = FourierFilter(2)  # q = 0 for |k|∞ > 2
    denoiser = GaussianDenoiser(field(DATA, 40, 1, n), data, prior, SCHEDULE)
    modes = spectral.to_modes(denoiser(x, torch.tensor(0.3)))[0, 0]
    mean = spectral.to_modes(denoiser.mean)[0, 0]
    torch.testing.assert_close(modes[1, 1], mean[1, 1])
    torch.testing.assert_close(modes[3, 3], mean[3, 3])
    torch.testing.assert_close(modes[4, 2], spectral.to_modes(x)[0, 0, 4, 2] / alpha)
    assert bool(torch.isfinite(denoiser.flow_map(x)).all())


@pytest.mark.parametrize("prior", [PRIOR, Laplacian(1.5, trace=0.3)], ids=lambda p: p.name)
def test_flow_map_is_the_integrated_probability_flow(prior: Prior) -> None:
    """dx/dt = -½βx - ½βQ∇log p, mode by mode, from t = 1 to 0 by an adaptive integrator."""
    n = 8
    denoiser = gaussian(n, prior)
    x = field(PRIOR, 2, 1, n)
    modes, mean = (spectral.to_modes(u)[0, 0].numpy().ravel() for u in (x, denoiser.mean))
    data, q = DATA.eigenvalues(n).numpy().ravel(), prior.eigenvalues(n).numpy().ravel()
    kept = spectral.multiplicity(n).numpy().ravel() > 0

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        alpha, sigma = alpha_sigma(t)
        score = -q[kept] * (y - alpha * mean[kept]) / (alpha**2 * data + sigma**2 * q)[kept]
        return -0.5 * (0.1 + 19.9 * t) * (y + score)

    end = integrate.solve_ivp(slope, (1, 0), modes[kept], rtol=1e-9, atol=1e-12).y[:, -1]
    ours = spectral.to_modes(denoiser.flow_map(x))[0, 0].numpy().ravel()[kept]
    np.testing.assert_allclose(ours, end, rtol=1e-6, atol=1e-9)


def mixture(n: int = 8) -> MixtureDenoiser:
    means = field(DATA, 50, 3, n)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    return MixtureDenoiser(means, weights, 0.1 * DATA.eigenvalues(n), PRIOR, SCHEDULE)


@pytest.mark.parametrize("n", [8, 9])
def test_mixture_is_dense_bayes(n: int) -> None:
    """γ_i from dense Gaussian log densities, D from the dense conditional means; and Tweedie's
    formula by autograd of log p."""
    denoiser = mixture(n)
    x = diffuse(SCHEDULE, denoiser.means, field(PRIOR, 3, 3, n), TIMES)
    gamma, ours = denoiser.responsibilities(x, TIMES), denoiser(x, TIMES)
    data, q = covariance(denoiser.spectrum), covariance(PRIOR.eigenvalues(n))
    for i, time in enumerate(TIMES.tolist()):
        alpha, sigma = alpha_sigma(time)
        precision = torch.linalg.pinv(alpha**2 * data + sigma**2 * q, rtol=1e-10, hermitian=True)
        y = x[i].reshape(-1).clone().requires_grad_()
        centred = y - alpha * denoiser.means.flatten(1)
        logits = denoiser.weights.log() - 0.5 * ((centred @ precision) * centred).sum(1)
        expected = torch.softmax(logits, 0)
        torch.testing.assert_close(gamma[i], expected.detach(), rtol=1e-7, atol=1e-9)
        conditional = denoiser.means.flatten(1) + alpha * centred @ precision @ data
        dense = (expected[:, None] * conditional).sum(0).detach()
        torch.testing.assert_close(ours[i].reshape(-1), dense, rtol=1e-7, atol=1e-9)
        (gradient,) = torch.autograd.grad(torch.logsumexp(logits, 0), y)
        tweedie = (y.detach() + sigma**2 * q @ gradient) / alpha
        torch.testing.assert_close(ours[i].reshape(-1), tweedie, rtol=1e-6, atol=1e-7)
    assert float(gamma[2].max()) < 0.999  # the test is not about a certain answer only


def test_mixture_of_equal_means_is_the_gaussian() -> None:
    one = gaussian()
    x = field(PRIOR, 1, 2)
    means = one.mean.expand(3, -1, -1, -1)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    many = MixtureDenoiser(means, weights, one.spectrum, PRIOR, SCHEDULE)
    torch.testing.assert_close(many(x, TIMES[:2]), one(x, TIMES[:2]))


def test_sampling_recovers_weights_and_modes_of_a_mixture() -> None:
    """2M from N(0, Q)-like starts: shares within six binomial standard deviations, and samples
    gather round the means with the variance of Λ. (α_T is small, so the start is near enough.)"""
    n, count = 8, 1500
    means = torch.stack([torch.full((1, n, n), v, dtype=torch.float64) for v in (-1.5, 0.5, 2.0)])
    denoiser = replace(mixture(n), means=means)
    area = 10.05
    start = math.sqrt(1 - math.exp(-area)) * PRIOR.draw(1, range(count), n, torch.float64)
    start = start + math.exp(-area / 2) * (denoiser.weights[:, None, None, None] * means).sum(0)
    *_, last = sample(denoiser, start, "dpmpp2m", 30)
    constant = last.x.mean((-2, -1))[:, 0]
    nearest = (constant[:, None] - means[:, 0, 0, 0]).abs().argmin(1)
    for i, weight in enumerate(denoiser.weights.tolist()):
        found = constant[nearest == i]
        spread = math.sqrt(weight * (1 - weight) / count)
        assert abs(len(found) / count - weight) < 6 * spread
        deviation = math.sqrt(float(denoiser.spectrum[0, 0]))
        assert abs(float(found.mean()) - float(means[i, 0, 0, 0])) < 6 * deviation / 15
        assert float(found.std()) == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("n", [8, 9])
def test_empirical_denoiser_is_a_softmax_over_the_data(n: int) -> None:
    """A plain loop over data and over the whole plane."""
    data = field(DATA, 60, 5, n)
    denoiser = EmpiricalDenoiser(data, PRIOR, SCHEDULE)
    x = diffuse(SCHEDULE, data[:3], field(PRIOR, 61, 3, n), TIMES)
    ours = denoiser(x, TIMES)
    q = PRIOR.eigenvalues(n)
    m = spectral.bandwidth(n)
    for b, time in enumerate(TIMES.tolist()):
        alpha, sigma = alpha_sigma(time)
        logits = []
        for y in data:
            gap = np.fft.fft2((x[b] - alpha * y)[0].numpy()) / n**2
            evidence = 0.0
            for k1 in range(-m, m + 1):
                for k2 in range(-m, m + 1):
                    noise = float(q[k1, k2] if k2 >= 0 else q[-k1, -k2])
                    evidence += abs(gap[k1, k2]) ** 2 / (sigma**2 * noise)
            logits.append(-evidence / 2)
        gamma = np.exp(np.array(logits) - max(logits))
        gamma /= gamma.sum()
        projected = data[:, 0].numpy()
        expected = np.tensordot(gamma, projected, 1)
        np.testing.assert_allclose(ours[b, 0].numpy(), expected, rtol=1e-8, atol=1e-10)


def test_empirical_denoiser_returns_its_data_as_noise_vanishes() -> None:
    """At t = 1e-3 each noised datum goes back to itself; a whole run ends on a datum."""
    coarse = field(DATA, 60, 5, 9)
    denoiser = EmpiricalDenoiser(coarse, PRIOR, SCHEDULE)
    time = torch.full((5,), 1e-3, dtype=torch.float64)
    x = diffuse(SCHEDULE, coarse, field(PRIOR, 61, 5, 9), time)
    torch.testing.assert_close(denoiser(x, time), coarse)
    *_, last = sample(denoiser, field(PRIOR, 62, 4, 9), "ddim", 60)
    distance = (last.x[:, None] - coarse[None]).square().mean((-3, -2, -1)).amin(1)
    assert float(distance.max()) < 1e-8


def test_empirical_denoiser_on_a_steep_prior_in_float32() -> None:
    """q_k down to 1e-39 times σ² = 1e-4 leaves the range of float32; the softmax must not."""
    fine = field(DATA, 60, 3, 128)
    denoiser = EmpiricalDenoiser(fine, Laplacian(10.0, trace=0.3), SCHEDULE)
    time = torch.full((3,), 1e-3)
    x = (alpha_sigma(1e-3)[0] * fine).float()
    out = denoiser(x, time).double()
    torch.testing.assert_close(out, fine, rtol=0, atol=1e-4)


def test_empirical_denoiser_leaves_unnoised_modes_out_of_the_evidence() -> None:
    """With q_0 = 0 a different mean changes nothing."""
    prior = Laplacian(1.2, trace=0.3)
    denoiser = EmpiricalDenoiser(field(DATA, 60, 5), prior, SCHEDULE)
    x = field(PRIOR, 61, 3)
    torch.testing.assert_close(denoiser(x + 7.0, TIMES), denoiser(x, TIMES))


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "empirical"])
def test_one_time_for_all_or_one_for_each(kind: str) -> None:
    """() and (1,) times broadcast; a batch of different times equals one by one; float32 follows
    the input."""
    empirical = EmpiricalDenoiser(field(DATA, 60, 5), PRIOR, SCHEDULE)
    denoiser = {"gaussian": gaussian(), "mixture": mixture(), "empirical": empirical}[kind]
    x = field(PRIOR, 1, 3)
    for time in (torch.tensor(0.3), torch.tensor([0.3])):
        same = denoiser(x, torch.full((3,), 0.3))
        torch.testing.assert_close(denoiser(x, time), same, rtol=1e-12, atol=1e-13)
    together = denoiser(x, TIMES)
    for i in range(3):
        torch.testing.assert_close(denoiser(x[i : i + 1], TIMES[i]), together[i : i + 1])
    single = denoiser(x.float(), TIMES)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together, rtol=0, atol=1e-4)


def test_responsibilities_do_not_overflow() -> None:
    """Far-off fields: log-sum-exp, so γ is 0 or 1 and finite."""
    denoiser = mixture()
    time = torch.tensor([1e-3])
    gamma = denoiser.responsibilities(denoiser.means * alpha_sigma(1e-3)[0] * 100, time)
    torch.testing.assert_close(gamma.sum(1), torch.ones(3, dtype=torch.float64))
    exact = denoiser.responsibilities(denoiser.means * alpha_sigma(1e-3)[0], time)
    torch.testing.assert_close(exact, torch.eye(3, dtype=torch.float64))
