"""Random two-phase media, held against closed forms of cut Gaussian fields."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from mldemo.data.materials import Material
from mldemo.space.spectral import radial_power, resample


def autocorrelation(phases: np.ndarray) -> np.ndarray:
    """Mean of 1[u(x) = 1] 1[u(x + r) = 1] over the torus, for each sample (B, N, N)."""
    modes = np.fft.fft2(phases > 0)
    return np.fft.ifft2(np.abs(modes) ** 2).real / phases.shape[-1] ** 2


@pytest.mark.parametrize(("length", "share"), [(0.06, 0.5), (0.05, 0.3), (0.1, 0.8)])
def test_one_and_two_point_functions(length: float, share: float) -> None:
    """P(u(x) = 1) = φ, and P(u(x) = u(x + r) = 1) is the bivariate normal integral with the
    correlation exp(-r²/2ℓ²), by scipy, at 12 distances in both directions; to 4.5 standard errors
    of 600 samples."""
    count, n = 600, 64
    phases = Material(length, share, seed=3).phases(range(count), n)[:, 0].numpy()
    assert set(np.unique(phases)) == {-1.0, 1.0}
    volume = (phases > 0).mean((1, 2))
    assert abs(volume.mean() - share) < 4.5 * volume.std() / np.sqrt(count)
    both, height = autocorrelation(phases), norm.ppf(1 - share)
    for step in range(1, 13):
        rho = np.exp(-((step / n) ** 2) / (2 * length**2))
        expected = multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf([-height, -height])
        if share == 0.5:
            assert expected == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=1e-6)
        for values in (both[:, step, 0], both[:, 0, step]):
            assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(count)


def test_diagonal_distances_count_too() -> None:
    """The covariance depends on the Euclidean distance: r = (3, 4)/64 is r = 5/64."""
    both = autocorrelation(Material(0.05, seed=9).phases(range(600), 64)[:, 0].numpy())
    expected = 0.25 + np.arcsin(np.exp(-((5 / 64 / 0.05) ** 2) / 2)) / (2 * np.pi)
    for values in (both[:, 3, 4], both[:, 3, -4]):
        assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(600)


def test_there_is_no_seam() -> None:
    """Neighbours differ as often across the border of the square as inside it."""
    phases = Material(seed=1).phases(range(300), 64)[:, 0]
    for axis in (1, 2):
        changes = (phases != phases.roll(-1, axis)).float().mean((0, 3 - axis))
        assert float(changes[-1]) == pytest.approx(float(changes[:-1].mean()), rel=0.2)


def test_edges_are_sharp_at_every_scale() -> None:
    """E|û_k|² → 1/(2π³ℓ|k|³) for φ = ½ (Porod: the two-point function starts as 1 - 2r/(πℓ)), to
    2 % on average over 32 ≤ |k| ≤ 120, and the slope is -3."""
    length = 0.08
    power = radial_power(Material(length, seed=2).fields(range(24), 256)).double().mean((0, 1))
    k = torch.arange(32, 121).double()
    ratio = power[32:121] * 2 * np.pi**3 * length * k**3
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    slope = np.polyfit(k.log().numpy(), power[32:121].log().numpy(), 1)[0]
    assert slope == pytest.approx(-3, abs=0.07)


@pytest.mark.parametrize("n", [1, 16, 27, 50])
def test_coarse_grids_see_points_of_fine_ones(n: int) -> None:
    material = Material(seed=5)
    fine = material.phases([0, 1, 2], 5 * n)
    assert torch.equal(material.phases([0, 1, 2], n), fine[..., ::5, ::5])


def test_fields_are_projections() -> None:
    """Against numpy's transform of 2048² points: 1.5 % in L² at 64; coarser levels are exact
    restrictions of 64, and 64 is the restriction of 128 to 1.5 %."""
    material = Material(seed=4)
    fields = material.fields(range(3))
    spectrum = np.fft.fftshift(np.fft.fft2(material.phases(range(3), 2048)[:, 0].numpy()), (1, 2))
    cut = np.zeros((3, 64, 64), complex)
    cut[:, 1:, 1:] = spectrum[:, 1024 - 31 : 1024 + 32, 1024 - 31 : 1024 + 32]
    direct = np.fft.ifft2(np.fft.ifftshift(cut, (1, 2))).real * (64 / 2048) ** 2
    gap = np.sqrt(((fields[:, 0].numpy() - direct) ** 2).mean() / (direct**2).mean())
    assert 1e-4 < gap < 0.015
    for n in (8, 27, 32):
        restricted = resample(fields, n)
        torch.testing.assert_close(material.fields(range(3), n), restricted, atol=2e-6, rtol=0)
    finer = resample(material.fields(range(3), 128), 64)
    assert float((finer - fields).norm() / fields.norm()) < 0.015


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    material = Material(seed=7)
    together = material.fields([4, 2**40, 0], 32)
    assert torch.equal(material.fields([2**40], 32)[0], together[1])
    assert torch.equal(material.fields(np.array([0, 4]), 32), together[[2, 0]])
    apart = torch.cat([together, Material(seed=8).fields([4, 0], 32)]).flatten(1)
    correlations = torch.corrcoef(apart) - torch.eye(5)
    assert float(correlations.abs().max()) < 0.6


BAD = [
    ({"correlation_length": 0.03}, "correlation length must be from 0.04 to 0.2, got 0.03"),
    ({"correlation_length": float("nan")}, "got nan"),
    ({"volume_fraction": 1.0}, "volume fraction must be from 0.01 to 0.99, got 1.0"),
    ({"seed": -1}, "seed must be from 0"),
    ({"seed": 1.5}, "seed must be a whole number"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_media_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Material(**options)  # type: ignore[arg-type]


def test_bad_requests_are_refused() -> None:
    material = Material()
    for indices in ([-1], [0.5], [True]):
        with pytest.raises(ValueError, match="whole number from 0, got"):
            material.fields(indices)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"below 2\^63"):
        material.phases([2**63], 16)
    with pytest.raises(ValueError, match="at most 100000 samples in one call, got 100001"):
        material.fields(range(100_001))
    for n in (0, 2049, 16.0, True):
        with pytest.raises(ValueError, match="grid must be from 1 to 2048 points"):
            material.phases([0], n)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resolution must be from 8 to 256, got 512"):
        material.fields([0], 512)
