"""Distances between two samples of fields: energy distance, Wasserstein, neighbours, spectrum.

Fields (B, 1, N, N) are points of L²(torus), ‖u‖² = the mean of squares on the grid, so a distance
means the same on every level. No field is rescaled.
"""

import math
from typing import Any

import torch
from torch import Tensor

from mldemo.metrics.features import check_samples
from mldemo.space.spectral import bandwidth, multiplicity, radius, to_modes


def _points(fields: Tensor) -> Tensor:
    """Fields as vectors whose Euclidean norm is the L² norm, float64."""
    x = fields.double().flatten(1)
    return x / math.sqrt(x.shape[1])


def _mean_distance(x: Tensor, y: Tensor, exponent: float) -> float:
    """Mean over all pairs of ‖x - y‖^r."""
    parts = [torch.cdist(part, y).pow(exponent).sum() for part in x.split(1000)]
    return float(torch.stack(parts).sum()) / (len(x) * len(y))


def mean_distance(x: Tensor, exponent: float = 1.0) -> float:
    """E‖X - X'‖^r over all pairs of a sample (n, ...), in L²."""
    check_samples(x)
    return _mean_distance(_points(x), _points(x), exponent)


def riesz_mmd(x: Tensor, y: Tensor, exponent: float = 1.0, within_y: float | None = None) -> float:
    """Squared maximum mean discrepancy of two samples with the Riesz kernel -‖x - y‖^r.

    2 E‖X - Y‖^r - E‖X - X'‖^r - E‖Y - Y'‖^r over all pairs, 0 < r < 2; r = 1 is the energy
    distance. The paper's "MMD" is half of it, in the Euclidean norm of the pixels. `within_y` is
    `mean_distance(y, r)`, to be computed once if many samples are compared with y.
    """
    check_samples(x, y)
    if not 0 < exponent < 2:
        raise ValueError(f"the exponent must be in (0, 2), got {exponent:g}")
    x, y = _points(x), _points(y)
    cross = _mean_distance(x, y, exponent)
    if within_y is None:
        within_y = _mean_distance(y, y, exponent)
    return max(2 * cross - _mean_distance(x, x, exponent) - within_y, 0.0)


def wasserstein_1d(x: Tensor, y: Tensor, order: float = 2.0) -> Tensor:
    """∫₀¹ |F⁻¹(u) - G⁻¹(u)|^p du, exactly, for samples (n, ...) and (m, ...) along axis 0."""
    n, m = len(x), len(y)
    x, y = x.sort(0).values, y.sort(0).values
    # quantile functions jump at i/n and j/m: in units of 1/(nm) these are whole numbers
    jumps = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()
    share = jumps.diff().to(x).div(n * m)
    gap = (x[jumps[:-1] // m] - y[jumps[:-1] // n]).abs().pow(order)
    return torch.tensordot(share, gap, 1)


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = 256, seed: int = 0) -> float:
    """Sliced Wasserstein-2 distance: root mean square of W2(θ·X, θ·Y) over random directions.

    θ is uniform on the Euclidean unit sphere of the pixels; a shift of the mean by d then counts
    as ‖d‖ in L² on every level. (https://hal.science/hal-00881872.)
    """
    check_samples(x, y)
    if not 1 <= projections <= 10_000:
        raise ValueError(f"projections must be from 1 to 10000, got {projections}")
    x, y = x.double().flatten(1), y.double().flatten(1)
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    theta /= theta.norm(dim=0)
    return math.sqrt(float(wasserstein_1d(x @ theta, y @ theta).mean()))


def moment_distance(x: Tensor, y: Tensor) -> float:
    """The distance that the paper reports as "SW": it depends on mean and total variance only.

    √(‖a - b‖² + (√tr A - √tr B)²) in L², with means a, b and covariances A, B divided by n: the
    approximation of arXiv 2106.15427, which needs no projections.
    """
    check_samples(x, y)
    x, y = _points(x), _points(y)
    a, b = x.mean(0), y.mean(0)
    spread = [float((z - c).square().sum(1).mean().sqrt()) for z, c in ((x, a), (y, b))]
    return math.sqrt(float((a - b).square().sum()) + (spread[0] - spread[1]) ** 2)


def nearest_distances(x: Tensor, points: Tensor) -> Tensor:
    """The L² distance of each field (n, ...) to the nearest one of `points` (m, ...): (n,)."""
    check_samples(x, points)
    x, best = _points(x), torch.full((len(x),), math.inf, dtype=torch.float64)
    for part in points.split(2000):
        best = torch.minimum(best, torch.cdist(x, _points(part)).min(1).values)
    return best


def band_powers(fields: Tensor) -> list[tuple[int, int, float]]:
    """Power by octave: (low, high, Σ of E|û_k|² over low ≤ |k| < high), bands [0, 1), [1, 2), ….

    The bands end with the corner of H_N and add up to E‖u‖².
    """
    n = fields.shape[-1]
    power = torch.zeros_like(radius(n))
    for part in fields.split(1000):
        modes = to_modes(part.double()).flatten(0, -3)
        power += (modes.real**2 + modes.imag**2).sum(0)
    power *= multiplicity(n) / len(fields)
    bands, low, high = [], 0, 1
    while low <= math.sqrt(2) * bandwidth(n):
        inside = (radius(n) >= low) & (radius(n) < high)
        bands.append((low, high, float(power[inside].sum())))
        low, high = high, 2 * high
    return bands


def spectrum_error(x: Tensor, reference: Tensor) -> list[dict[str, Any]]:
    """The power of a sample relative to a reference, by octave of |k|: 10 log₁₀ of the ratio.

    Both samples are on the same level. `decibel` is None where either has no power, such as data
    beyond their own finest level.
    """
    check_samples(x, reference)
    rows = []
    for (low, high, ours), (_, _, theirs) in zip(
        band_powers(x), band_powers(reference), strict=True
    ):
        silent = min(ours, theirs) <= 1e-12 * max(ours, theirs, 1e-12)
        decibel = None if silent else 10 * math.log10(ours / theirs)
        rows.append({"from": low, "below": high, "power": ours, "decibel": decibel})
    return rows
