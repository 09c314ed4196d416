"""The solvers study, held against recursions written independently in test_samplers, direct sums,
and the record that the page shows."""

import math

import numpy as np
import pytest
import torch
from test_samplers import (
    DATA,
    LAMBDA,
    MEAN,
    PRIOR,
    SCHEDULE,
    ab,
    deterministic_gain,
    euler_variance,
    gain,
    start_variance,
    w2,
)

from mldemo.diffusion.oracles import MixtureDenoiser
from mldemo.diffusion.sde import log_snr_times, uniform_times
from mldemo.diffusion.steps import SAMPLERS
from mldemo.request import Request
from mldemo.space import spectral
from mldemo.space.priors import Laplacian
from mldemo.store.manifest import read_manifest
from mldemo.studies.gaussian_law import GaussianProblem, bundled_gaussian, gaussian_curve
from mldemo.studies.solvers import Solvers, discretisation, slope
from mldemo.studies.strong_error import StrongErrors
from mldemo.ui.tabs.solvers.solvers import recorded

PROBLEM = GaussianProblem(MEAN, DATA, PRIOR, SCHEDULE)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_generated_law_is_the_exact_recursion(sampler: str, steps: int) -> None:
    """Variance of every mode, to rounding; the mean of deterministic samplers is m exactly."""
    mean, variance = PROBLEM.generated(sampler, steps)
    if sampler == "euler":
        expected = euler_variance(uniform_times(steps))
    else:
        times = SAMPLERS[sampler].times(SCHEDULE, steps)
        expected = deterministic_gain(sampler, times) ** 2 * start_variance()
        torch.testing.assert_close(mean, MEAN)
    np.testing.assert_allclose(variance.numpy(), expected, rtol=1e-8, atol=1e-14)


def test_errors_are_w2_in_units_of_the_data() -> None:
    row = PROBLEM.errors("ddim", 9)
    variance = deterministic_gain("ddim", log_snr_times(SCHEDULE, 9)) ** 2 * start_variance()
    unit = math.sqrt(float((spectral.multiplicity(8).numpy() * LAMBDA).sum()))
    assert row["w2"] == pytest.approx(w2(variance) / unit, rel=1e-9)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_the_limit_is_where_many_steps_lead(sampler: str) -> None:
    """Against the flow's own variance at t = 1e-3 and the last gain; the error falls with the
    order of the sampler."""
    a, s = ab(1e-3)
    v = a**2 * LAMBDA + s**2 * PRIOR.eigenvalues(8).numpy()
    np.testing.assert_allclose(PROBLEM.limit_variance().numpy(), gain(1e-3) ** 2 * v, rtol=1e-12)
    few, many = (PROBLEM.errors(sampler, n)["to_limit"] for n in (80, 320))
    assert math.log(few / many) / math.log(4) == pytest.approx(SAMPLERS[sampler].order, abs=0.15)


def test_curve_counts_network_calls() -> None:
    rows = list(gaussian_curve(PROBLEM, "heun", (2, 5)))
    assert [(r["steps"], r["calls"]) for r in rows] == [(2, 3), (5, 9)]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_strong_error_on_one_component_falls_with_the_order(sampler: str) -> None:
    """One component is Gaussian data: no switching, clean slopes."""
    one = MixtureDenoiser(MEAN, torch.ones(1, dtype=torch.float64), DATA, PRIOR, SCHEDULE)
    errors = StrongErrors(one, count=4, finest=640)
    rows = list(errors.curve(sampler, (20, 40, 80)))
    measured = slope([r["error"] for r in rows], [r["steps"] for r in rows])
    assert measured == pytest.approx(-SAMPLERS[sampler].order, abs=0.3)
    assert all(r["rms"] > 0 for r in rows)


def test_strong_errors_do_not_depend_on_the_default_sampler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are distances from a run of Adams with many steps, whatever the page opens with."""
    one = MixtureDenoiser(MEAN, torch.ones(1, dtype=torch.float64), DATA, PRIOR, SCHEDULE)
    monkeypatch.setattr(Request, "sampler", "ddim")
    errors = StrongErrors(one, count=4, finest=160)
    (row,) = errors.curve("heun", (20,))
    far, near = errors.end("adams", 160), errors.end("heun", 20)
    gap = (near - far).square().mean((1, 2, 3)).sqrt() / far.square().mean().sqrt()
    assert row["error"] == pytest.approx(float(gap.median()), rel=1e-12)


def test_discretisation_is_the_tail_of_the_trace() -> None:
    """√(Σ_{k ∉ H_N} q_k / Σ q_k), the sum over the plane up to |k|∞ = 1000 done directly."""
    s, n = 2.0, 16
    k = np.arange(-1000, 1001)
    r = np.hypot(*np.meshgrid(k, k))
    q = np.where(r > 0, np.where(r > 0, r, 1) ** (-2 * s), 0)
    inside = (np.abs(k[:, None]) < n / 2) & (np.abs(k[None]) < n / 2)
    direct = math.sqrt(q[~inside].sum() / q.sum())
    assert discretisation(Laplacian(s), (n,))[0] == pytest.approx(direct, rel=1e-3)


def test_slope_of_a_power() -> None:
    assert slope([3 * n**-1.7 for n in (2, 5, 9)], (2, 5, 9)) == pytest.approx(-1.7)


# ---------------------------------------------------------------- the record that is shipped


def test_shipped_record_has_the_slopes_of_theory() -> None:
    record = recorded()
    assert record is not None
    assert set(record["samplers"]) == set(SAMPLERS)
    for name, sampler in record["samplers"].items():
        assert sampler["gaussian_slope"]["slope"] == pytest.approx(-SAMPLERS[name].order, abs=0.1)
        assert sampler["mixture_slope"]["slope"] == pytest.approx(-SAMPLERS[name].order, abs=0.25)
        assert sampler["seconds_per_call"] > 0
    for row in record["discretisation"]["rows"]:
        assert row["slope"] == pytest.approx(row["theory"], abs=0.03)


@pytest.mark.parametrize("state", ["stale", "current"])
def test_the_tab_knows_whether_the_record_is_stale(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(Solvers, "state", lambda *_: state)
    record = recorded.__wrapped__()
    assert record is not None and record["stale"] is (state == "stale")


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_shipped_record_is_what_the_code_computes(sampler: str) -> None:
    """Recompute one point; another default checkpoint needs `study run solvers` anew."""
    record = recorded()
    assert record is not None
    assert record["setting"]["data"] == read_manifest()["default"]
    kept = next(r for r in record["samplers"][sampler]["gaussian"] if r["steps"] == 20)
    (row,) = gaussian_curve(bundled_gaussian(), sampler, (20,))
    assert row["w2"] == pytest.approx(kept["w2"], rel=1e-3)
