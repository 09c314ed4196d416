"""The study of linear denoisers against closed forms."""

import pytest
import torch

from mldemo.diffusion.sde import Schedule, diffuse
from mldemo.space.priors import Bessel, Laplacian
from mldemo.studies.linear import best_linear, error
from mldemo.studies.study import read_record, studies


def test_for_data_diagonal_in_the_modes_it_is_the_filter() -> None:
    """With Gaussian data of a known spectrum the gain tends to αΛ/v, the error to Σ Λσ²q/v."""
    n, t = 8, torch.tensor(0.2, dtype=torch.float64)
    data, prior, schedule = Laplacian(exponent=1.5, trace=1.0), Bessel(), Schedule()
    train = data.draw(1, range(20000), n, torch.float64) + 0.3
    clean, noise = (
        p.draw(2 + i, range(4000), n, torch.float64) for i, p in enumerate((data, prior))
    )
    clean = clean + 0.3
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    x = diffuse(schedule, clean, noise, t)
    denoised = best_linear(x, train, prior, alpha, sigma)
    spectrum, q = data.eigenvalues(n), prior.eigenvalues(n)
    v = alpha**2 * spectrum + sigma**2 * q
    left = torch.where(v > 0, spectrum * sigma**2 * q / v, 0.0)
    full = torch.cat([left, left[:, 1:-1]], 1)  # the modes with k₂ < 0
    assert error(denoised, clean) == pytest.approx(float(full.sum()), rel=0.03)


def test_it_beats_every_other_gain_on_its_own_data() -> None:
    """Modes that go together: the optimum over the training data themselves, ± 2 %."""
    n, t = 8, torch.tensor(0.3, dtype=torch.float64)
    prior, schedule = Bessel(), Schedule()
    modes = prior.draw(3, range(4000), n, torch.float64)
    train = modes + modes.roll(1, -1) + modes.flip(-2)  # neither diagonal nor radial
    x = diffuse(schedule, train, prior.draw(4, range(4000), n, torch.float64), t)
    best = best_linear(x, train, prior, float(schedule.alpha(t)), float(schedule.sigma(t)))
    least = error(best, train)
    mean = best.mean(0, keepdim=True)
    for other in (0.9, 1.1):
        assert error(mean + other * (best - mean), train) > least


def test_the_shipped_record_says_what_texts_say() -> None:
    """A larger weight than 1 raises the error at every t; the full covariance lowers it."""
    study = studies()["linear"]
    rows = study.rows(read_record(study.record_path))
    assert len(rows) == 10
    for row in rows:
        assert row["network, guided"] > row["network"]
        assert row["full covariance"] < row["filter"]
