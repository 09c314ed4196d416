"""Families of priors: valid, reproducible, and met as often as their weights say."""

from collections import Counter

import numpy as np
import pytest
import torch

from mldemo.diffusion.denoiser import Noise
from mldemo.space.covariance import EXPONENT, KAPPA
from mldemo.space.priors import (
    Bessel,
    Combined,
    FourierFilter,
    Laplacian,
    Standard,
    prior_from_dict,
)
from mldemo.training.families import MEMBERS_SHARE, Family, variation

TRACE = 0.2
MEMBERS = (Bessel(trace=TRACE), Laplacian(trace=TRACE), Standard())
RECORDS = tuple(prior.to_dict() for prior in MEMBERS)
DRAWN = [variation(i, 3, TRACE) for i in range(500)]


def test_variations_are_reproducible() -> None:
    """From (index, seed) alone, in any order; through their records too."""
    for i in reversed(range(500)):
        assert variation(i, 3, TRACE) == DRAWN[i] == prior_from_dict(DRAWN[i].to_dict())
    assert len(set(DRAWN)) == 500
    assert not set(DRAWN) & {variation(i, 4, TRACE) for i in range(500)}


def test_variations_are_operators_that_a_network_can_be_told_of() -> None:
    """Spectra that are finite, not negative, not zero, with no more than the trace on a level."""
    for prior in DRAWN:
        for n in (8, 16):
            noise = Noise.of(prior, n)
            for spectrum in noise:
                assert bool(torch.isfinite(spectrum).all())
                assert bool((spectrum >= 0).all())
                assert float(spectrum.float().max()) > 0
            trace = 3 if isinstance(prior, Standard) else TRACE
            assert 0 < prior.level_trace(n) <= trace * (1 + 1e-9)


def test_variations_are_of_every_kind_and_fill_their_ranges() -> None:
    """Log-uniform exponents (from 1) and κ: Kolmogorov-Smirnov at the 0.1 % level."""
    assert Counter(map(type, DRAWN)).keys() == {
        Bessel,
        Laplacian,
        FourierFilter,
        Combined,
        Standard,
    }
    matern = [prior for prior in DRAWN if isinstance(prior, Bessel)]
    assert 0.4 < len(matern) / 500 < 0.46
    low, high = EXPONENT.low, EXPONENT.high
    for values, bounds in (
        ([prior.exponent - 1 for prior in matern], (low - 1, high - 1)),
        ([prior.kappa for prior in matern], (KAPPA.low, KAPPA.high)),
    ):
        first, last = np.log(bounds)
        place = np.sort((np.log(values) - first) / (last - first))
        assert place[0] >= 0 and place[-1] <= 1
        stated = (np.arange(len(place)) + 0.5) / len(place)
        assert np.abs(place - stated).max() < 1.95 / len(place) ** 0.5


@pytest.mark.parametrize(("members", "variations"), [(1, 0), (3, 0), (1, 5), (3, 40)])
def test_weights_sum_to_one(members: int, variations: int) -> None:
    """The first member counts twice, the variations alike; the members have their share."""
    family = Family.of(RECORDS[:members], variations, 3, TRACE)
    assert family.priors == (*MEMBERS[:members], *DRAWN[:variations])
    weights = np.array(family.weights)
    assert len(weights) == members + variations
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    share = MEMBERS_SHARE if variations else 1
    parts = [2, 1, 1][:members]
    np.testing.assert_allclose(weights[:members], share * np.array(parts) / sum(parts))
    np.testing.assert_allclose(weights[members:], (1 - share) / max(1, variations))


@pytest.mark.parametrize("n", [8, 16])
def test_noise_of_a_family_is_that_of_its_priors(n: int) -> None:
    family = Family.of(RECORDS, 2, 3, TRACE)
    noise = family.noise(n)
    assert noise.modes.shape == (5, 1, n, n // 2 + 1) and noise.shells.shape == (5, 10)
    for i, prior in enumerate(family.priors):
        torch.testing.assert_close(
            noise.modes[i, 0], prior.eigenvalues(n).float(), rtol=1e-6, atol=0
        )
        torch.testing.assert_close(noise.shells[i], Noise.of(prior, n).shells.float())
