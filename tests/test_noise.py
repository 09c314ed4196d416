"""Coupled noise, held against its law and against itself on other levels, batches and orders."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mldemo.diffusion.samplers import LARGEST_STEPS
from mldemo.diffusion.sde import Schedule, log_snr_times, uniform_times
from mldemo.space import spectral
from mldemo.space.noise import BrownianPath, shell_order, unit_modes
from mldemo.space.priors import FourierFilter
from mldemo.space.streams import LARGEST_SEED, check_seed

MANY = list(range(500))


def start(resolution: int, seed: int = 5, indices: list[int] | None = None) -> Tensor:
    return unit_modes(seed, indices or [0, 1, 2], resolution, torch.float64)


def path(resolution: int, seed: int = 5, indices: list[int] | None = None) -> Tensor:
    walk = BrownianPath(seed, indices or [0, 1, 2], resolution)
    return walk.increment(0.2, 0.7, torch.float64)


def numbers(modes: Tensor) -> np.ndarray:
    """The independent real numbers in half-plane modes, unit variance if the modes have it."""
    n = modes.shape[-2]
    k1, k2 = spectral.frequencies(n)
    upper = ((k2 > 0) | ((k2 == 0) & (k1 > 0))) & (spectral.multiplicity(n) > 0)
    flat = modes[:, 0][:, upper] * np.sqrt(2)
    return np.concatenate([modes[:, 0, :1, 0].real, flat.real, flat.imag], axis=1)


def assert_variance(values: np.ndarray, expected: float) -> None:
    """χ² bounds on every column's variance, Bonferroni at 1e-6 in all."""
    count, columns = values.shape
    low, high = stats.chi2.ppf([5e-7 / columns, 1 - 5e-7 / columns], count)
    total = (values**2).sum(0) / expected
    assert low < total.min()
    assert total.max() < high


def assert_independent(a: np.ndarray, b: np.ndarray) -> None:
    """Columns of a and b uncorrelated: |r| √n below six standard deviations."""
    r = (a * b).mean(0) / np.sqrt((a**2).mean(0) * (b**2).mean(0))
    assert np.abs(r).max() * np.sqrt(len(a)) < 6


@pytest.mark.parametrize("draw", [start, path])
def test_noise_depends_on_seed_and_index_alone(draw: Callable[..., Tensor]) -> None:
    """Not on the batch, its order or its size."""
    whole = draw(16, indices=[0, 1, 2, 3])
    assert torch.equal(draw(16, indices=[3, 1])[0], whole[3])
    assert torch.equal(draw(16, indices=[3, 1])[1], whole[1])
    assert torch.equal(draw(16, indices=[2]), whole[2:3])


@pytest.mark.parametrize("draw", [start, path])
@pytest.mark.parametrize(("coarse", "fine"), [(8, 16), (9, 16), (16, 128), (15, 33), (8, 9)])
def test_levels_are_coupled_bit_for_bit(
    draw: Callable[..., Tensor], coarse: int, fine: int
) -> None:
    """P_N ζ_M = ζ_N, odd levels too."""
    restricted = spectral.resample_modes(draw(fine), fine, coarse)
    assert torch.equal(restricted, draw(coarse))


def test_shell_order_is_a_prefix_order() -> None:
    """The list for H_N starts the list for H_M, as frequencies."""

    def listed(n: int) -> list[tuple[int, int]]:
        rows, columns, _, _ = shell_order(n)
        k1 = np.where(2 * rows > n, rows - n, rows)
        return list(zip(k1.tolist(), columns.tolist(), strict=True))

    longest = listed(32)
    for n in (8, 9, 16, 31):
        assert longest[: len(listed(n))] == listed(n)


@pytest.mark.parametrize("draw", [start, path])
@pytest.mark.parametrize("n", [8, 9])
def test_modes_are_those_of_a_real_field(draw: Callable[..., Tensor], n: int) -> None:
    """The full complex inverse transform of ζ with ζ_{-k} = conj ζ_k is real and is our field."""
    modes = draw(n)[0, 0].numpy()
    full = np.zeros((n, n), dtype=complex)
    m = spectral.bandwidth(n)
    for k1 in range(-m, m + 1):
        for k2 in range(-m, m + 1):
            full[k1, k2] = modes[k1, k2] if k2 >= 0 else modes[-k1, -k2].conj()
    field = np.fft.ifft2(full) * n**2
    assert np.abs(field.imag).max() < 1e-13
    ours = spectral.to_field(draw(n), n)[0, 0].numpy()
    np.testing.assert_allclose(ours, field.real, atol=1e-12)


def test_every_mode_has_unit_variance() -> None:
    modes = unit_modes(1, MANY, 9, torch.float64)
    assert_variance(numbers(modes), 1.0)
    assert stats.kstest(numbers(modes).ravel(), "norm").pvalue > 1e-6


def test_modes_are_uncorrelated_with_each_other() -> None:
    """The correlation matrix of the independent numbers is the identity within its error."""
    x = numbers(unit_modes(2, MANY, 9, torch.float64))
    correlation = np.corrcoef(x.T) - np.eye(x.shape[1])
    assert np.abs(correlation).max() * np.sqrt(len(x)) < 6


@pytest.mark.parametrize("draw", [start, path])
def test_seeds_and_indices_are_independent(draw: Callable[..., Tensor]) -> None:
    a, b = numbers(draw(8, 1, MANY)), numbers(draw(8, 2, MANY))
    assert_independent(a, b)  # two seeds
    assert_independent(a[:-1], a[1:])  # neighbouring samples
    assert_independent(a[1:], b[:-1])  # (seed, index) is not seed + index
    assert_independent(a[:-1], b[1:])


def test_start_and_path_are_independent() -> None:
    walk = BrownianPath(1, MANY, 8)
    begin = numbers(start(8, 1, MANY))
    for interval in [(0.0, 1.0), (0.0, 0.5), (0.3, 0.4)]:
        assert_independent(begin, numbers(walk.increment(*interval, torch.float64)))


def test_increments_add_up() -> None:
    """W_c - W_a = (W_c - W_b) + (W_b - W_a) to rounding, and swapping the ends flips the sign."""
    walk = BrownianPath(3, [0, 1], 16)
    for a, b, c in [(0.0, 0.5, 1.0), (0.1, 0.37, 0.81), (0.001, 0.002, 0.7)]:
        whole = walk.increment(a, c, torch.float64)
        parts = walk.increment(a, b, torch.float64) + walk.increment(b, c, torch.float64)
        torch.testing.assert_close(parts, whole, atol=1e-14, rtol=0)
    assert torch.equal(walk.increment(0.2, 0.6), -walk.increment(0.6, 0.2))
    assert not walk.increment(0.3, 0.3).abs().any()


def test_path_does_not_depend_on_what_was_asked_before() -> None:
    """Nested, non-nested and backward queries all see one W(t), bit for bit."""
    times = [0.0, 0.001, 0.01, 0.125, 0.2, 1 / 3, 0.5, 0.7, 0.875, 0.99, 1.0]
    fresh = {t: BrownianPath(9, [4], 9).increment(0.0, t, torch.float64) for t in times}
    rng = np.random.default_rng(0)
    walk = BrownianPath(9, [4], 9)
    for t in [*rng.permutation(times * 3).tolist(), *times[::-1]]:
        assert torch.equal(walk.increment(0.0, t, torch.float64), fresh[t])


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.5, 0.25), (0.1, 0.13), (0.501, 0.77)])
def test_increment_variance_is_the_length_of_the_interval(interval: tuple[float, float]) -> None:
    walk = BrownianPath(4, MANY, 8)
    increments = numbers(walk.increment(*interval, torch.float64))
    assert_variance(increments, abs(interval[1] - interval[0]))


def test_bridge_over_the_last_interval_has_the_right_law() -> None:
    """A tree of depth 1 (mid-point 1/2 only), one time inside each half: the same law."""
    walk = BrownianPath(4, MANY, 8, depth=1)
    times = [0.0, 0.2, 0.9, 1.0]
    parts = [numbers(walk.increment(a, b, torch.float64)) for a, b in pairwise(times)]
    for part, length in zip(parts, (0.2, 0.7, 0.1), strict=True):
        assert_variance(part, length)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert_independent(parts[a], parts[b])


def test_disjoint_increments_are_independent() -> None:
    walk = BrownianPath(6, MANY, 8)
    grid = [0.0, 0.05, 0.3, 0.5, 0.52, 0.8, 1.0]
    increments = [numbers(walk.increment(a, b, torch.float64)) for a, b in pairwise(grid)]
    for i, a in enumerate(increments):
        for b in increments[i + 1 :]:
            assert_independent(a, b)


@pytest.mark.parametrize("steps", [20, 200, LARGEST_STEPS])
@pytest.mark.parametrize("grid", ["uniform", "log_snr"])
def test_law_holds_on_the_finest_steps_of_a_sampler(steps: int, grid: str) -> None:
    """Three neighbouring steps of a sampler's time grid, at its shortest one: increments of
    variance h, independent. These are what a tree of finite depth gets wrong first."""
    times = uniform_times(steps) if grid == "uniform" else log_snr_times(Schedule(), steps)
    gaps = -np.diff(times)
    where = min(int(np.argmin(gaps)), len(times) - 4)
    walk = BrownianPath(8, MANY, 8)
    picked = times[where : where + 4]
    increments = [
        numbers(walk.increment(b, a, torch.float64)) / np.sqrt(a - b) for a, b in pairwise(picked)
    ]
    for x in increments:
        assert_variance(x, 1.0)
    assert_independent(increments[0], increments[1])
    assert_independent(increments[1], increments[2])


def test_the_fno_filter_draws_from_another_stream() -> None:
    """R_0 of filter seed s and ζ_0 of (s, 0) share no bits: numpy's normals are made of the 52 low
    bits of a word, its uniforms of the 53 high ones, so 8 R_0 mod 1 would follow |ζ_0|."""
    gains = [float(FourierFilter(1, s)._shape(8)[0, 0].sqrt()) for s in MANY]
    fraction = (8 * (np.array(gains) - 0.2) / 0.8) % 1 - 0.5
    size = np.array([abs(complex(unit_modes(s, [0], 8)[0, 0, 0, 0])) for s in MANY])
    assert_independent(fraction[:, None], size[:, None] - size.mean())


@pytest.mark.parametrize("bad", [-1, LARGEST_SEED + 1, 1.0, True, "7", None])
def test_bad_seeds_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"seed must be .*" + repr(bad).strip("'")):
        check_seed(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be"):
        BrownianPath(bad, [0], 8)  # type: ignore[arg-type]


def test_seed_bounds_are_inside() -> None:
    ends = [unit_modes(seed, [0], 8) for seed in (0, LARGEST_SEED)]
    assert not torch.equal(*ends)
    assert check_seed(np.int64(7)) == 7


@pytest.mark.parametrize("time", [-0.01, 1.01, float("nan")])
def test_times_outside_the_path_are_refused(time: float) -> None:
    with pytest.raises(ValueError, match="time must be from 0 to 1"):
        BrownianPath(0, [0], 8).increment(0.0, time)


def test_bad_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be from 1 to 30, got 31"):
        BrownianPath(0, [0], 8, depth=31)
