"""One contract for every prior: dense matrices, closed forms and brute-force sums."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from mldemo.space import spectral
from mldemo.space.covariance import EXPONENT, KAPPA, Prior
from mldemo.space.noise import unit_modes
from mldemo.space.priors import (
    PRIORS,
    Bessel,
    Combined,
    FourierFilter,
    Laplacian,
    Matched,
    Standard,
    fit_matched,
    prior_from_dict,
)

ALL: list[Prior] = [
    Standard(trace=0.7),
    Laplacian(1.1, trace=0.2),
    Bessel(1.5, trace=0.2),
    FourierFilter(5, 3, trace=0.2),
    Combined(1.2, 6, 3, 0.5, trace=0.2),
    Matched(1.8, 2.3, trace=0.2),
]
COUPLED = ALL[1:]


def name(value: object) -> str:
    return value.name if isinstance(value, Prior) else str(value)


each = pytest.mark.parametrize("prior", ALL, ids=name)
each_coupled = pytest.mark.parametrize("prior", COUPLED, ids=name)


def whole_plane(values: torch.Tensor) -> dict[tuple[int, int], float]:
    """An even function on H_N from its half-plane layout, k by k."""
    m = spectral.bandwidth(values.shape[0])
    axis = range(-m, m + 1)
    return {(a, b): float(values[a, b] if b >= 0 else values[-a, -b]) for a in axis for b in axis}


def covariance(prior: Prior, n: int) -> np.ndarray:
    """C(x, y) = Σ_k q_k cos(2πk·(x - y)), the dense covariance of the pixels."""
    axis = np.arange(n) / n
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    difference = x[:, None] - x[None]
    out = np.zeros((n * n, n * n))
    for k, q in whole_plane(prior.eigenvalues(n)).items():
        out += q * np.cos(2 * np.pi * difference @ np.array(k))
    return out


@each
@pytest.mark.parametrize("n", [8, 9])
def test_colour_times_its_transpose_is_the_covariance(prior: Prior, n: int) -> None:
    """White pixels ξ ~ N(0, I) have modes of variance 1/N², so A = N · colour ∘ to_modes."""
    basis = torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)
    a = spectral.to_field(prior.colour(spectral.to_modes(basis) * n), n).reshape(n * n, -1)
    expected = covariance(prior, n)
    np.testing.assert_allclose((a.T @ a).numpy(), expected, atol=1e-12 * expected.max())
    # and the variance of a pixel is the trace present on the level
    np.testing.assert_allclose(np.diag(expected), prior.level_trace(n), rtol=1e-12)


@each
@pytest.mark.parametrize("n", [8, 9, 16, 33])
def test_eigenvalues_are_even_nonnegative_and_banded(prior: Prior, n: int) -> None:
    q = prior.eigenvalues(n)
    assert q.dtype == torch.float64
    assert bool((q >= 0).all())
    assert not q[spectral.multiplicity(n) == 0].any()
    m = spectral.bandwidth(n)
    for k in range(1, m + 1):  # the one line on which the layout holds both k and -k
        assert float(q[k, 0]) == float(q[-k, 0])


@each_coupled
@pytest.mark.parametrize("n", [8, 9, 16, 31])
def test_one_operator_on_every_level(prior: Prior, n: int) -> None:
    """The eigenvalues at N are those at 64, restricted."""
    fine = spectral.resample_modes(prior.eigenvalues(64), 64, n)
    torch.testing.assert_close(prior.eigenvalues(n), fine, rtol=1e-14, atol=0)


def test_standard_is_not_one_operator() -> None:
    """q_k = T/N²: pixel variance T (1 - 1/N)² at even N, SNR per mode shifts by 4 a doubling."""
    prior = Standard(trace=0.7)
    assert prior.level_trace(16) == pytest.approx(0.7 * (15 / 16) ** 2, rel=1e-13)
    assert prior.level_trace(9) == pytest.approx(0.7, rel=1e-13)
    ratio = prior.eigenvalues(16)[1, 1] / prior.eigenvalues(32)[1, 1]
    assert float(ratio) == pytest.approx(4, rel=1e-14)
    assert math.isinf(prior.total)
    assert not prior.trace_class


def lattice_sum(a: float, s: float, reach: int = 400) -> float:
    """Σ_{k ∈ Z²} (a² + |k|²)^{-s} (k ≠ 0 if a = 0): the square |k|∞ ≤ reach by brute force, the
    rest by the integral over its complement with the mid-point correction of Euler-Maclaurin."""
    axis = np.arange(-reach, reach + 1.0)
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2 + a**2
    r2[reach, reach] = a**2 if a > 0 else np.inf
    body = (r2**-s).sum()
    edge = reach + 0.5
    # ∫ over |x|∞ > L in polar coordinates: eight wedges 0 ≤ θ ≤ π/4, r > L/cos θ
    nodes, weights = np.polynomial.legendre.leggauss(60)
    theta = (nodes + 1) * np.pi / 8
    radial = (a**2 + (edge / np.cos(theta)) ** 2) ** (1 - s) / (2 * (s - 1))
    tail = 8 * (weights * radial).sum() * np.pi / 8
    # Δf/24 integrated over the complement, by the divergence theorem: -∮ f_n / 24
    along = nodes * edge
    slope = -2 * s * edge * (a**2 + edge**2 + along**2) ** (-s - 1)
    correction = -(1 / 24) * 4 * (-(weights * slope).sum() * edge)
    return float(body + tail + correction)


@pytest.mark.parametrize("s", [1.05, 1.1, 1.5, 2.0, 3.0])
def test_laplacian_trace_in_the_continuum(s: float) -> None:
    """4 ζ(s) β(s) against the lattice sum."""
    prior = Laplacian(s, trace=0.2)
    assert prior._shape_trace() == pytest.approx(lattice_sum(0, s), rel=1e-9)
    assert float(prior.eigenvalues(16)[0, 0]) == 0
    ratio = float(prior.eigenvalues(16)[3, 4] / prior.eigenvalues(16)[1, 0])
    assert ratio == pytest.approx(25**-s, rel=1e-13)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 6.0, 6 * math.pi, 100.0])
@pytest.mark.parametrize("s", [1.1, 1.5, 3.0])
def test_bessel_and_matched_trace_in_the_continuum(kappa: float, s: float) -> None:
    """Poisson summation against the lattice sum; the ratio of two eigenvalues fixes the shape."""
    a = kappa / (2 * math.pi)
    expected = lattice_sum(a, s)
    assert Bessel(s, kappa)._shape_trace() == pytest.approx(expected, rel=1e-8)
    q = Bessel(s, kappa, trace=0.3).eigenvalues(16)
    formula = ((kappa**2 + 4 * math.pi**2 * 25) / (kappa**2 + 4 * math.pi**2)) ** -s
    assert float(q[3, 4] / q[1, 0]) == pytest.approx(formula, rel=1e-12)
    if a >= 0.02:
        torch.testing.assert_close(Matched(s, a, trace=0.3).eigenvalues(16), q, rtol=1e-12, atol=0)


@each_coupled
def test_total_is_the_trace_and_levels_approach_it(prior: Prior) -> None:
    """What is missing on level N is positive and falls; at s ≤ 1.5 the tail is far from zero."""
    missing = [prior.total - prior.level_trace(n) for n in (16, 32, 64, 128, 256)]
    assert prior.total == 0.2
    assert all(a >= b - 1e-15 for a, b in pairwise(missing))
    if isinstance(prior, FourierFilter):
        assert abs(missing[-1]) < 1e-15
        return
    assert missing[-1] > 0
    exponent = prior.exponent  # type: ignore[attr-defined]
    slope = math.log2(missing[-2] / missing[-1])
    assert slope == pytest.approx(2 * (exponent - 1), abs=0.03)


@pytest.mark.parametrize(("s", "growth"), [(0.5, 1.0), (0.8, 0.4), (1.0, 0.0)])
@pytest.mark.parametrize("kind", [Laplacian, Bessel, Combined])
def test_exponents_up_to_one_are_not_trace_class(
    kind: type[Prior], s: float, growth: float
) -> None:
    """Level 16 holds the trace; Σ_{H_N} q_k grows like N^(2-2s), at s = 1 by a constant per
    doubling; the total is infinite. Above 1 the same class is trace class."""
    prior = kind(exponent=s, trace=0.2)  # type: ignore[call-arg]
    traces = [prior.level_trace(n) for n in (16, 64, 128, 256)]
    assert traces[0] == pytest.approx(0.2, rel=1e-13)
    if kind is not Combined:  # whose finite part fades slowly beside the growing one
        increments = np.diff(traces[1:])
        assert math.log2(increments[1] / increments[0]) == pytest.approx(growth, abs=0.05)
    assert not prior.trace_class and math.isinf(prior.total)
    words = "like log N" if s == 1 else f"like N{ {0.5: '¹', 0.8: '⁰·⁴'}[s] }"
    assert f"s = {s:.2f} ≤ 1: Σ qₖ grows {words}" in prior.reason
    above = kind(exponent=1.05, trace=0.2)  # type: ignore[call-arg]
    assert above.trace_class and above.total == 0.2 and "1.05 > 1" in above.reason


@each
def test_formula_and_reason_speak_of_this_prior(prior: Prior) -> None:
    """The formula names the values that are no letters; every parameter of a request exists."""
    assert "{" not in prior.formula and prior.formula.startswith("qₖ")
    assert prior.reason
    parameters = set(prior.to_dict())
    for p in prior.adjustable:
        assert p.name in parameters and p.low < p.high
    if isinstance(prior, FourierFilter):
        assert "|k|∞ ≤ 5," in prior.formula


def test_a_prior_needs_a_name_of_its_own() -> None:
    with pytest.raises(TypeError, match="a prior called bessel already"):
        type("Second", (Bessel,), {"name": "bessel"})
    assert PRIORS["bessel"] is Bessel


def test_defaults() -> None:
    """The paper's exponent among them; without them checkpoints' records would change sense."""
    assert Laplacian().exponent == Combined().exponent == 1.1
    assert (Bessel().exponent, Bessel().kappa) == (1.5, 6 * math.pi)
    assert (FourierFilter().cutoff, Combined().cutoff, Combined().mix) == (14, 14, 0.5)
    assert (EXPONENT.low, EXPONENT.high, KAPPA.low, KAPPA.high) == (1.05, 3.0, 1.0, 60.0)
    for kind in PRIORS.values():
        assert kind().trace == 1.0


@each
def test_default_for_given_data(prior: Prior) -> None:
    """tr Q = tr Λ; white noise has variance 1 per pixel; `matched` is the fit."""
    power = 3.0 * (4.0 + torch.arange(46.0) ** 2) ** -1.6
    made = type(prior).for_data(power, 0.3)
    if isinstance(made, Matched):
        assert made == fit_matched(power, 0.3)
    else:
        expected = 1.0 if isinstance(made, Standard) else 0.3
        assert made == type(prior)(trace=expected)


@pytest.mark.parametrize("s", [2.0, 3.0])
def test_truncation_rate(s: float) -> None:
    """W2(η, η_N) = √(Σ_{k ∉ H_N} q_k) ~ N^{-(s-1)} (both diagonal in one basis)."""
    levels = [16, 32, 64, 128, 256]
    for prior in (Laplacian(s), Bessel(s, 6.0)):
        w2 = [math.sqrt(1 - prior.level_trace(n)) for n in levels]
        slope = np.polyfit(np.log(levels), np.log(w2), 1)[0]
        assert slope == pytest.approx(-(s - 1), abs=0.05)


def test_traces_present_at_16_and_32() -> None:
    """The shares on record: 40 and 48 % for laplacian 1.1, 66 and 83 % for bessel 1.5."""
    shares = [Laplacian(1.1).level_trace(n) for n in (16, 32)]
    shares += [Bessel(1.5).level_trace(n) for n in (16, 32)]
    np.testing.assert_allclose(shares, [0.40, 0.48, 0.66, 0.83], atol=0.005)


@pytest.mark.parametrize("cutoff", [1, 4, 14])
def test_fno_filter(cutoff: int) -> None:
    """Finite rank (2K+1)²; √(q_k/c) = R_k uniform in [0.2, 1], one filter on every level."""
    prior = FourierFilter(cutoff, 1)
    q = whole_plane(prior.eigenvalues(33))
    inside = {k: v for k, v in q.items() if max(map(abs, k)) <= cutoff}
    assert all(v > 0 for v in inside.values())
    assert all(v == 0 for k, v in q.items() if k not in inside)
    assert sum(q.values()) == pytest.approx(1, rel=1e-13)
    gains = whole_plane(prior._shape(33).sqrt())
    values = np.array([gains[k] for k in inside if k >= (0, 0)])  # one of each pair ±k
    assert 0.2 <= values.min() <= values.max() <= 1
    assert stats.kstest(values, "uniform", (0.2, 0.8)).pvalue > 1e-4
    assert len(set(values)) == len(values) == ((2 * cutoff + 1) ** 2 + 1) // 2
    for n in (8, 9, 17, 30):
        for k, v in whole_plane(prior.eigenvalues(n)).items():
            assert v == pytest.approx(q[k], rel=1e-13), (n, k)
    other = FourierFilter(cutoff, 2).eigenvalues(33)
    assert not torch.equal(other, prior.eigenvalues(33))


def test_combined_is_the_square_of_the_sum_of_roots() -> None:
    """(√q_lap + c √q_fno)² from parts of trace 1, over 1 + c² + 2c Σ √(q_lap q_fno)."""
    c, laplacian, fno = 0.7, Laplacian(1.3), FourierFilter(6, 4)
    prior = Combined(1.3, 6, 4, c, trace=0.4)
    a, b = whole_plane(laplacian.eigenvalues(33)), whole_plane(fno.eigenvalues(33))
    cross = sum(math.sqrt(a[k] * b[k]) for k in a)
    total = 1 + c**2 + 2 * c * cross
    q = whole_plane(prior.eigenvalues(33))
    for k, value in q.items():
        expected = 0.4 * (math.sqrt(a[k]) + c * math.sqrt(b[k])) ** 2 / total
        assert value == pytest.approx(expected, rel=1e-12), k
    assert q[0, 0] > 0  # the remedy: the mean is diffused


@each_coupled
@pytest.mark.parametrize("coarse", [16, 9])
def test_one_seed_is_one_function_on_every_level(prior: Prior, coarse: int) -> None:
    """A float32 draw at 128, restricted, is the draw on the coarse level to 1e-6 relative."""
    fine, low = (prior.draw(7, [0, 1], n) for n in (128, coarse))
    gap = (spectral.resample(fine, coarse) - low).square().mean().sqrt()
    assert float(gap / low.square().mean().sqrt()) < 1e-6


@each
def test_sampled_variance_of_every_mode(prior: Prior) -> None:
    """Modes of draws have variance q_k: χ² bounds over 2,000 draws at N = 8."""
    count = 2000
    modes = spectral.to_modes(prior.draw(11, range(count), 8, torch.float64))[:, 0]
    q = prior.eigenvalues(8)
    power = (modes.real**2 + modes.imag**2).sum(0)
    assert not power[q == 0].gt(1e-25).any()
    rows, columns = torch.nonzero(q > 0, as_tuple=True)
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        freedom = count * (1 if i == j == 0 else 2)
        statistic = float(power[i, j] / q[i, j]) * freedom / count
        low, high = stats.chi2.ppf([1e-8, 1 - 1e-8], freedom)
        assert low < statistic < high, (i, j)


@each
def test_draws_are_coloured_white_noise(prior: Prior) -> None:
    """√q ζ with the project's ζ, which also fixes seeds across priors."""
    white = unit_modes(3, [5], 12, torch.float64)
    expected = spectral.to_field(white * prior.eigenvalues(12).sqrt(), 12)
    torch.testing.assert_close(prior.draw(3, [5], 12, torch.float64), expected)
    assert prior.draw(3, [5], 12).dtype == torch.float32


@each
def test_record_round_trip(prior: Prior) -> None:
    record = json.loads(json.dumps(prior.to_dict()))
    assert prior_from_dict(record) == prior
    assert PRIORS[prior.name] is type(prior)
    with pytest.raises(ValueError, match="no parameter colour"):
        prior_from_dict({**record, "colour": 1})
    with pytest.raises(ValueError, match="got 'brown'"):
        prior_from_dict({"name": "brown"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "laplacian", "exponent": 0.0}, r"exponent must be in \(0, 10\], got 0"),
        ({"name": "bessel", "exponent": 10.5}, r"exponent must be in \(0, 10\], got 10.5"),
        ({"name": "bessel", "kappa": 0.0}, r"kappa must be in \[0.1, 1000\], got 0"),
        ({"name": "bessel", "kappa": math.inf}, r"kappa must be in .*, got inf"),
        ({"name": "matched", "knee": 0.01}, r"knee must be in \[0.02, 160\], got 0.01"),
        ({"name": "matched", "exponent": math.nan}, r"exponent must be in .*, got nan"),
        ({"name": "fno", "cutoff": 0}, r"cutoff must be in \[1, 127\], got 0"),
        ({"name": "fno", "cutoff": 128}, r"cutoff must be in \[1, 127\], got 128"),
        ({"name": "fno", "cutoff": 4.5}, r"cutoff .*4\.5"),
        ({"name": "fno", "filter_seed": -1}, r"seed must be from 0 to \d+, got -1"),
        ({"name": "combined", "mix": 0.0}, r"mix must be in \(0, 100\], got 0"),
        ({"name": "combined", "exponent": -1}, r"exponent must be in \(0, 10\], got -1"),
        ({"name": "combined", "cutoff": 200}, r"cutoff must be in \[1, 127\], got 200"),
        ({"name": "standard", "trace": 0.0}, r"trace must be in \(0, 1e\+06\], got 0"),
        ({"name": "laplacian", "trace": -1.0}, r"trace must be in .*, got -1"),
        ({"name": "laplacian", "exponent": "2"}, r"exponent must be a number, got '2'"),
        ({"name": "laplacian", "exponent": True}, r"exponent must be a number, got True"),
    ],
)
def test_bad_parameters_are_refused_by_name(record: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prior_from_dict(record)


@pytest.mark.parametrize(("knee", "exponent"), [(2.0, 1.6), (5.0, 2.4), (0.5, 1.2)])
def test_fit_recovers_the_family(knee: float, exponent: float) -> None:
    """On a spectrum of the family itself, up to the width of a shell."""
    shells = torch.arange(46, dtype=torch.float64)
    fitted = fit_matched(3.0 * (knee**2 + shells**2) ** -exponent, trace=0.3)
    assert fitted.knee == pytest.approx(knee, rel=1e-4)
    assert fitted.exponent == pytest.approx(exponent, rel=1e-5)
    assert fitted.total == 0.3
    averaged = spectral.radial_mean(Matched(exponent, knee).eigenvalues(64), 64)
    assert fit_matched(averaged, 1.0).exponent == pytest.approx(exponent, rel=0.03)


def test_fit_weighs_shells_once_per_unit_of_log_k() -> None:
    """On a spectrum outside the family, where the weight k^-1/2 decides: the minimum of
    Σ_k (log q_k - log P_k)²/k over a grid of (k₀, p), c solved for."""
    shells = np.arange(1, 32)
    power = (9.0 + shells**2.0) ** -1.5 * np.exp(-shells / 12)  # steeper and steeper
    fitted = fit_matched(torch.from_numpy(np.concatenate([[1.0], power])), 1.0)

    def cost(knee: float, exponent: float) -> float:
        gap = -exponent * np.log(knee**2 + shells**2) - np.log(power)
        gap = gap - np.average(gap, weights=1 / shells)
        return float((gap**2 / shells).sum())

    best = cost(fitted.knee, fitted.exponent)
    for scale in (0.97, 1.03):
        assert best < cost(scale * fitted.knee, fitted.exponent)
        assert best < cost(fitted.knee, scale * fitted.exponent)
    assert best < cost(1.1 * fitted.knee, 1.1 * fitted.exponent)
