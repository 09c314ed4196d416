"""Preparing images and measuring fields, against known arrays and exact sums."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mldemo.data.preparation import Preparation
from mldemo.data.sets import IdxFolder
from mldemo.data.statistics import Statistics
from mldemo.space import spectral
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Matched


def test_fields_follow_the_conventions(idx_folder: Path) -> None:
    """28² → 56² bicubic, padded with -1 to 64², projected on H_64: by hand for one image. Every
    level is a restriction of it."""
    images = IdxFolder(idx_folder).images("test")
    fields = IdxFolder(idx_folder).fields("test")
    assert fields.shape == (60, 1, 64, 64)
    image = torch.from_numpy(images[7].copy()).double()[None, None] / 255 * 2 - 1
    by_hand = -torch.ones(1, 1, 64, 64, dtype=torch.float64)
    by_hand[..., 4:60, 4:60] = functional.interpolate(image, scale_factor=2, mode="bicubic")
    spectrum = np.fft.fft2(by_hand[0, 0].numpy())
    spectrum[32, :] = spectrum[:, 32] = 0
    np.testing.assert_allclose(fields[7, 0].numpy(), np.fft.ifft2(spectrum).real, atol=1e-5)
    for n in (16, 27, 32):
        coarse = IdxFolder(idx_folder).fields("test", n)
        torch.testing.assert_close(coarse, spectral.resample(fields, n), atol=1e-5, rtol=0)


def test_black_is_minus_one_and_white_is_one() -> None:
    black = Preparation()(np.zeros((1, 28, 28), np.uint8), 16)
    torch.testing.assert_close(black, -torch.ones_like(black))
    white = Preparation()(np.full((1, 40, 30), 255, np.uint8), 64)
    share = (56 / 64) ** 2
    assert float(white.mean()) == pytest.approx(2 * share - 1, abs=1e-5)


def test_order_and_count_survive_the_thousands() -> None:
    """Images are resized in parts of 1,000: the last of 1,003 is still the last."""
    images = np.zeros((1003, 4, 4), np.uint8)
    images[1002] = 255
    means = Preparation()(images, 8).mean((1, 2, 3))
    assert int(means.argmax()) == 1002
    assert len(means) == 1003


def synthetic(n: int, reach: float, count: int = 40) -> torch.Tensor:
    """Fields whose modes lie in the disc |k| < reach, with a mean of their own; Λ ~ |k|^-4."""
    modes = Matched(2.0, 1.0).colour(unit_modes(3, range(count), n, torch.float64))
    disc = spectral.radius(n) < reach
    mean = Matched().colour(unit_modes(4, [0], n, torch.float64))
    return spectral.to_field((modes + mean) * disc, n)


@pytest.mark.parametrize("n", [16, 64])
def test_trace_of_the_spectrum_is_the_variance_of_the_data(n: int) -> None:
    """tr Λ = E‖x - m‖² for data inside the disc that the shells resolve, so that the power law
    beyond it is 0; by numpy on the pixels."""
    fields = synthetic(n, n / 2 - 1.5)
    statistics = Statistics.of(fields)
    direct = fields.numpy().var(0).mean()
    assert statistics.variance == pytest.approx(direct, rel=1e-6)


def test_mean_and_power_are_those_of_the_data() -> None:
    """Mean by numpy; each shell's power by a sum over the whole plane; more than one part."""
    n, fields = 16, synthetic(16, 20, 1100)
    statistics = Statistics.of(fields)
    mean = fields.numpy().mean(0)
    np.testing.assert_allclose(statistics.mean[0].numpy(), mean, atol=1e-6)
    modes = np.fft.fft2(fields.numpy()[:, 0] - mean[0]) / n**2
    power = (np.abs(modes) ** 2).mean(0)
    frequency = np.fft.fftfreq(n, 1 / n)
    shell = np.hypot(frequency[:, None], frequency[None, :]).round()
    banded = (np.abs(frequency[:, None]) < n / 2) & (np.abs(frequency[None, :]) < n / 2)
    expected = [power[banded & (shell == s)].mean() for s in range(len(statistics.power))]
    np.testing.assert_allclose(statistics.power.numpy(), expected, rtol=1e-5)
    restricted = spectral.resample(fields, 9).mean(0, keepdim=True).float()
    torch.testing.assert_close(statistics.mean_at(9), restricted, atol=1e-5, rtol=0)


def test_spectrum_is_one_function_of_k_on_every_level() -> None:
    """The level N sees the spectrum of 128, restricted; below N/2 the measured shells; above, a
    power law in |k| whose sum over Z² is finite (exponent below -2)."""
    statistics = Statistics.of(synthetic(32, 30))
    fine = statistics.spectrum(128)
    for n in (8, 9, 16, 32, 64):
        torch.testing.assert_close(statistics.spectrum(n), spectral.resample_modes(fine, 128, n))
    r = spectral.radius(128)
    assert not fine[spectral.multiplicity(128) == 0].any()
    known = (r.round() <= 15) & (spectral.multiplicity(128) > 0)
    shells = statistics.power.double()[r[known].round().long()]
    torch.testing.assert_close(fine[known], shells)
    beyond = (r.round() > 15) & (spectral.multiplicity(128) > 0)
    x, y = r[beyond].log().numpy(), fine[beyond].log().numpy()
    slope, height = np.polyfit(x, y, 1)
    np.testing.assert_allclose(y, slope * x + height, atol=1e-9)  # exactly a power law
    assert slope < -2
    assert slope == pytest.approx(-4, abs=0.3)  # what the synthetic data have
    at_edge = float(np.exp(slope * np.log(15) + height))
    assert at_edge == pytest.approx(float(statistics.power[15]), rel=1e-6)


def test_flat_and_empty_spectra_stay_summable() -> None:
    """White data: the exponent is held at -2.5, below -2. Constant data have no power at all."""
    white = spectral.to_field(unit_modes(1, range(50), 16, torch.float64), 16)
    fine = Statistics.of(white).spectrum(256)
    assert float(fine[100, 0] / fine[50, 0]) == pytest.approx(2**-2.5, rel=1e-6)
    constant = Statistics.of(torch.ones(3, 1, 16, 16))
    assert constant.variance == 0
    assert not constant.spectrum(64).any()
