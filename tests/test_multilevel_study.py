"""Coarse-to-fine training, studied: what a strategy spends where, and what is measured."""

from dataclasses import replace

import pytest
import torch

from mldemo.diffusion.sde import Schedule, diffuse
from mldemo.space.spectral import resample
from mldemo.studies import multilevel, strategies, trained
from mldemo.studies.multilevel import fids, losses, time_to
from mldemo.studies.strategies import Budgeted, Strategy, adaptive, in_shares
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

COSTS = {8: 1.0, 16: 2.0, 32: 4.0}
NETWORK = trained.SMALL


@pytest.fixture(scope="module")
def data():
    return trained.fields(True)


@pytest.fixture(scope="module")
def plan(data) -> Plan:
    prior = trained.prior_of("bessel", data[0]).to_dict()
    return Plan(priors=(prior,), levels=((32, 1),), batch=4, network=NETWORK, rehearsal=0)


def taken(run: Training) -> list[int]:
    return [run.plan.resolution_of(step) for step in range(run.step)]


def test_shares_are_shares_of_time(plan, data) -> None:
    """24 s, a third each: 8 steps at 1 s, 4 at 2 s, 2 at 4 s; a point at each third."""
    third = Strategy("thirds", {8: 1 / 3, 16: 1 / 3, 32: 1 / 3})
    steps = in_shares(plan, third, COSTS, 24.0, 3, data[0])
    points = [(spent, run.step) for spent, run in steps]
    assert points == [(8.0, 8), (16.0, 12), (24.0, 14)]


@pytest.mark.parametrize(
    ("shares", "change"),
    [
        ({8: 0.5, 16: 0.3, 32: 0.2}, {"rehearsal": 4}),
        ({8: 0.0, 32: 1.0}, {"rehearsal": 2, "carried": 1.0}),
    ],
)
def test_rehearsal_costs_no_more(plan, data, shares, change) -> None:
    """Steps on coarser levels are cheaper, so there are more; the time is the same."""
    strategy = Strategy("rehearsed", shares, change)
    steps = list(in_shares(replace(plan, **change), strategy, COSTS, 60.0, 2, data[0]))
    spent, run = steps[-1]
    assert spent == pytest.approx(60.0, rel=0.05)
    assert spent == sum(COSTS[n] for n in taken(run))
    if change["rehearsal"] == 2:
        assert taken(run).count(8) == pytest.approx(taken(run).count(32), abs=2)


def test_a_level_is_left_when_the_next_one_gains_more(plan, data, monkeypatch) -> None:
    """Gains per second by hand, equal slices of 4 s: a level tried in vain is left again."""
    gains = iter([1.0, 0.5, 0.2, 0.4, 0.3, 0.1, 0.05, 0.06, *[0.01] * 40])
    loss = [100.0]

    def lower(*_):
        now, loss[0] = loss[0], loss[0] - 4 * next(gains)
        return now

    monkeypatch.setattr(strategies, "validation_loss", lower)
    strategy = Strategy("adaptive", {8: 0.4, 16: 0.3, 32: 0.3}, adaptive=True)
    steps = adaptive(plan, strategy, COSTS, 64.0, data[0], data[1])
    points = [(spent, run.step, run.plan.levels) for spent, run in steps]
    spent, _, levels = points[-1]
    assert [n for n, _ in levels] == [8, 16, 8, 16, 16, 32, 16, *[32] * 9]
    assert spent == pytest.approx(64.0)


def test_an_adaptive_rate_falls_once(plan) -> None:
    shared = {"levels": ((8, 10), (16, 5), (8, 10)), "seconds": 30.0}
    names = Plan.__dataclass_fields__.keys() - shared.keys()
    budgeted = Budgeted(
        **shared, **{n: getattr(plan, n) for n in names}, costs=tuple(COSTS.items())
    )
    assert [budgeted.spent(step) for step in (0, 10, 12, 15, 25)] == [0, 10, 14, 20, 30]
    rates = [budgeted.rate(step) for step in range(25)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.1 * max(rates)


def test_time_to_a_target_lies_between_points() -> None:
    """Of a loss at every point, of FID where samples were judged."""
    values = ((10, 0.8, {}), (20, 0.6, {"fid": 9.0}), (30, 0.4, {"fid": 5.0}))
    curve = [{"seconds": s, "loss": {"64": v}} | more for s, v, more in values]
    cell = {"finest": 64, "curve": curve}
    assert time_to(losses(cell), 0.5) == pytest.approx(25)
    assert time_to(losses(cell), 0.9) == 10 and time_to(losses(cell), 0.3) is None
    assert time_to(fids(cell), 6.0) == pytest.approx(27.5)


def test_validation_is_that_of_the_averaged_weights(plan, data) -> None:
    """It follows the average, not the weights; an answer of 0 leaves the filter's errors."""
    run, level = Training(plan, data[0]), 32
    loss = trained.validation_loss(run, data[1], level)
    assert loss == trained.validation_loss(run, data[1], level)
    with torch.no_grad():
        run.denoiser.network.project.weight.add_(1.0)  # type: ignore[union-attr,operator]
    assert trained.validation_loss(run, data[1], level) == loss
    with torch.no_grad():
        run.average.module.project.weight.add_(1.0)  # type: ignore[union-attr,operator]
    assert trained.validation_loss(run, data[1], level) != loss


def test_errors_by_band_are_the_whole_error(plan, data) -> None:
    """Their sum is the mean of squares; the bands are those of the level."""
    run, level = Training(plan, data[0]), 16
    found = trained.band_errors(run, data[1], level)
    assert trained.bands(level) == [(0, 4), (4, float("inf"))] and len(found) == 2
    denoiser, clean = run.averaged(), resample(data[1], level)
    times, _ = trained._fixed(len(clean), level)
    noise = denoiser.prior.draw(0, range(len(clean)), level)
    gap = denoiser(diffuse(Schedule(), clean, noise, times), times) - clean
    assert sum(found) == pytest.approx(float(gap.square().mean()), rel=1e-3)


def test_costs_are_measured_step_by_step(plan, data) -> None:
    """A finer level costs more."""
    plans = {str(n): replace(plan, levels=((n, 1),), batch=16) for n in (8, 64)}
    cost = trained.step_costs(plans, data[0], 3)
    assert 0 < cost["8"] < cost["64"]


def test_samples_are_judged_along_the_way(plan) -> None:
    """At equal shares of the time, and at the end, whose figures are the cell's."""
    study = multilevel.Multilevel()
    asked = study.inputs(True) | {"points": 4}
    found = study._trained(asked, Strategy("32", {32: 1.0}), plan, {32: 0.05}, True)
    fid = [point.get("fid") for point in found["curve"]]
    assert [value is None for value in fid] == [True, False, True, False]
    assert fid[-1] == found["fid"] != fid[1]
