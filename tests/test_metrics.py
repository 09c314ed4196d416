"""Distances of two samples, held against scipy, against closed forms and against plain loops."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, optimize, spatial, stats

from mldemo import metrics
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import bandwidth, resample, to_field

EVERY = [
    metrics.frechet_distance,
    metrics.coverage,
    metrics.riesz_mmd,
    metrics.sliced_wasserstein,
    metrics.moment_distance,
    metrics.nearest_distances,
]


def vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated Gaussian vectors with a mean, float64."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(width).normal(size=(width, width))
    return torch.from_numpy(rng.normal(size=(count, width)) @ mixing + seed / 3)


def fields(count: int, n: int, seed: int = 0) -> torch.Tensor:
    """White noise on H_N, unit variance per mode."""
    return to_field(unit_modes(seed, range(count), n, torch.float64), n)


# Fréchet distance


def test_frechet_distance_against_scipys_matrix_root() -> None:
    x, y = vectors(90, 7), 2 * vectors(70, 7, 1)
    a, b = np.cov(x.numpy().T), np.cov(y.numpy().T)
    shift = np.square(x.numpy().mean(0) - y.numpy().mean(0)).sum()
    expected = shift + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_closed_forms() -> None:
    """x against c x + d: ‖(c - 1) a + d‖² + (c - 1)² tr A; one dimension; itself."""
    x, d = vectors(50, 5), torch.arange(5.0, dtype=torch.float64)
    mean, trace = x.mean(0), x.var(0).sum()
    expected = float((2 * mean + d).square().sum() + 4 * trace)
    assert metrics.frechet_distance(x, 3 * x + d) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(x[:, :1], x[:, :1] + 2) == pytest.approx(4, rel=1e-9)


def test_frechet_distance_of_fewer_points_than_dimensions() -> None:
    """Singular covariances: c x + d again, exactly."""
    x = vectors(6, 20)
    expected = float((x.mean(0)).square().sum() + x.var(0).sum())
    assert metrics.frechet_distance(x, 2 * x) == pytest.approx(expected, rel=1e-6)


# precision and recall


def test_coverage_by_a_plain_loop() -> None:
    """Definition of Kynkäänniemi et al.: within the k-th neighbour's distance of some point."""
    points, support, k = 2 * vectors(40, 3, 1).numpy(), vectors(30, 3).numpy(), 3
    tree = spatial.cKDTree(support)
    radii = tree.query(support, k + 1)[0][:, k]
    inside = [(np.linalg.norm(support - p, axis=1) <= radii).any() for p in points]
    share = metrics.coverage(torch.from_numpy(points), torch.from_numpy(support), k)
    assert 0.1 < share < 0.9
    assert share == pytest.approx(np.mean(inside))


def test_coverage_by_hand() -> None:
    """On a line, k = 1: the balls of 0, 1, 3 have the radii 1, 1, 2 and cover [-1, 5]."""
    support = torch.tensor([[0.0], [1.0], [3.0]])
    points = torch.tensor([[-1.1], [-0.9], [4.9], [5.1]])
    assert metrics.coverage(points, support, 1) == 0.5
    assert metrics.coverage(support, support, 1) == 1
    with pytest.raises(ValueError, match="neighbours must be from 1 to 2, got 3"):
        metrics.coverage(points, support, 3)


# Vendi score


def test_vendi_score_by_its_definition() -> None:
    """exp of scipy's entropy of the eigenvalues of the n × n kernel, for n below and above d."""
    for x in (vectors(12, 30), vectors(50, 4)):
        unit = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
        values = np.linalg.eigvalsh(unit @ unit.T / len(x)).clip(min=0)
        expected = math.exp(stats.entropy(values / values.sum()))
        assert metrics.vendi_score(x) == pytest.approx(expected, rel=1e-6)


def test_vendi_score_counts_kinds() -> None:
    """m orthogonal kinds, equally many of each, count as m; lengths do not matter."""
    kinds = torch.eye(5, 8, dtype=torch.float64).repeat(6, 1)
    scale = torch.rand(30, 1, generator=torch.Generator().manual_seed(0)) + 0.1
    assert metrics.vendi_score(kinds * scale) == pytest.approx(5, rel=1e-9)
    assert metrics.vendi_score(torch.ones(7, 3)) == pytest.approx(1, rel=1e-9)
    with pytest.raises(ValueError, match="zero vector"):
        metrics.vendi_score(torch.zeros(3, 2))


# energy distance


def test_energy_distance_against_scipy_in_one_dimension() -> None:
    """Constant fields are numbers: scipy's is the square root."""
    x, y = vectors(40, 1)[:, 0], vectors(25, 1, 2)[:, 0]
    expected = stats.energy_distance(x.numpy(), y.numpy()) ** 2
    for n in (1, 4):
        u, v = (z[:, None, None, None].expand(-1, 1, n, n) for z in (x, y))
        assert metrics.riesz_mmd(u, v) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_riesz_mmd_by_scipys_distances(exponent: float) -> None:
    x, y = fields(12, 8).flatten(1), fields(9, 8, 1).flatten(1) + 0.2
    p, q = x.numpy() / 8, y.numpy() / 8
    cross, own_p, own_q = (
        (spatial.distance.cdist(a, b) ** exponent).mean() for a, b in ((p, q), (p, p), (q, q))
    )
    value = metrics.riesz_mmd(x, y, exponent)
    assert value == pytest.approx(2 * cross - own_p - own_q, rel=1e-9)
    for wrong in (0, 2, math.nan):
        with pytest.raises(ValueError, match=r"exponent must be in \(0, 2\)"):
            metrics.riesz_mmd(x, y, wrong)


# Wasserstein


@pytest.mark.parametrize("counts", [(20, 20), (20, 30), (7, 24)])
def test_wasserstein_1d_against_scipy(counts: tuple[int, int]) -> None:
    """Order 1 against scipy; order 2 against an optimal assignment of repeated points."""
    x, y = vectors(counts[0], 1)[:, 0], vectors(counts[1], 1, 1)[:, 0]
    expected = stats.wasserstein_distance(x.numpy(), y.numpy())
    assert float(metrics.wasserstein_1d(x, y, 1)) == pytest.approx(expected, rel=1e-9)
    many = math.lcm(*counts)
    u, v = (np.repeat(z.numpy(), many // len(z)) for z in (x, y))
    cost = np.square(u[:, None] - v[None])
    expected = cost[optimize.linear_sum_assignment(cost)].mean()
    assert float(metrics.wasserstein_1d(x, y)) == pytest.approx(expected, rel=1e-9)


def test_sliced_wasserstein_of_a_shift() -> None:
    """x against x + d: E(θ·d)² = |d|²/D, which is ‖d‖² in L²; D = 64, so ±3 % at 4,000 θ."""
    x = fields(30, 8)
    d = fields(1, 8, 1)
    expected = float(d.square().mean().sqrt())
    value = metrics.sliced_wasserstein(x, x + d, projections=4000)
    assert value == pytest.approx(expected, rel=0.03)
    assert metrics.sliced_wasserstein(x, x) == 0
    forth, back = metrics.sliced_wasserstein(x, 3 * x), metrics.sliced_wasserstein(3 * x, x)
    assert forth == pytest.approx(back, rel=1e-12)


def test_sliced_wasserstein_in_two_dimensions_by_quadrature() -> None:
    """The sphere is a circle there: the integral over angles of an optimal assignment."""
    x, y = vectors(15, 2), vectors(15, 2, 2)
    total = []
    for angle in (np.arange(400) + 0.5) * np.pi / 400:
        theta = np.array([np.cos(angle), np.sin(angle)])
        cost = np.square((x.numpy() @ theta)[:, None] - (y.numpy() @ theta)[None])
        total.append(cost[optimize.linear_sum_assignment(cost)].mean())
    value = metrics.sliced_wasserstein(x, y, projections=10_000)
    assert value == pytest.approx(math.sqrt(np.mean(total)), rel=0.03)


def test_the_papers_sw_sees_mean_and_total_variance_only() -> None:
    """Rough noise and smooth noise of one total variance: 0 for it, not for real projections."""
    x = fields(200, 16)
    x -= x.mean(0)
    smooth = resample(resample(x, 8), 16)
    smooth *= math.sqrt(float(x.square().mean() / smooth.square().mean()))
    assert metrics.moment_distance(x, smooth) == pytest.approx(0, abs=1e-7)
    assert metrics.sliced_wasserstein(x, smooth) > 0.1
    # and what it does see, in closed form: a shift by 0.3 and a factor of 2
    spread = math.sqrt(float(x.square().mean()))
    value = metrics.moment_distance(x, 2 * x + 0.3)
    assert value == pytest.approx(math.hypot(0.3, spread), rel=1e-9)


# neighbours


def test_nearest_distances_against_a_tree() -> None:
    """More points than one part of the computation holds."""
    x, points = fields(20, 8), fields(2050, 8, 1)
    tree = spatial.cKDTree(points.flatten(1).numpy() / 8)
    expected = tree.query(x.flatten(1).numpy() / 8)[0]
    np.testing.assert_allclose(metrics.nearest_distances(x, points).numpy(), expected, rtol=1e-6)


# spectrum


@pytest.mark.parametrize("n", [9, 16, 32])
def test_band_powers_add_up_to_the_norm(n: int) -> None:
    """Parseval, and unit variance per mode: each band holds as many units as it has modes."""
    x = fields(1100, n)
    bands = metrics.band_powers(x)
    total = float(x.square().mean((1, 2, 3)).mean())
    assert sum(power for _, _, power in bands) == pytest.approx(total, rel=1e-9)
    m = bandwidth(n)
    k = np.hypot(*np.mgrid[-m : m + 1, -m : m + 1])
    for low, high, power in bands:
        count = ((k >= low) & (k < high)).sum()
        assert power == pytest.approx(count, rel=5 / math.sqrt(1100 * count))


def test_spectrum_error_finds_the_band_that_is_wrong() -> None:
    """4 ≤ |k| < 8 doubled in amplitude: 6.02 decibels there, 0 elsewhere."""
    from mldemo.space.spectral import radius, to_modes

    x = fields(10, 32)
    band = (radius(32) >= 4) & (radius(32) < 8)
    louder = to_field(to_modes(x) * torch.where(band, 2.0, 1.0), 32)
    rows = metrics.spectrum_error(louder, x)
    assert [(r["from"], r["below"]) for r in rows] == [
        (0, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32),
    ]  # fmt: skip
    expected = [0, 0, 0, 20 * math.log10(2), 0, 0]
    assert [r["decibel"] for r in rows] == pytest.approx(expected, abs=1e-9)


def test_a_silent_band_has_no_decibel() -> None:
    x = fields(4, 32)
    rows = metrics.spectrum_error(x, resample(resample(x, 16), 32))
    assert [r["decibel"] is None for r in rows] == [False] * 5 + [True]
    assert rows[-1]["power"] > 0


# bad input


@pytest.mark.parametrize("measure", EVERY, ids=lambda f: f.__name__)
def test_bad_samples_are_refused(measure) -> None:
    x = torch.rand(6, 4)
    for y in (torch.rand(1, 4), torch.rand(6, 5), torch.rand(4)):
        with pytest.raises(ValueError, match=r"one shape needed, got \(6, 4\) and"):
            measure(x, y)
    with pytest.raises(ValueError, match="not finite"):
        measure(x, torch.full((6, 4), math.nan))
