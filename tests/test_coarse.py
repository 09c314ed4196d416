"""Sampling on a coarse level first: exact for Gaussian data, and the same functions."""

import pytest
import torch

from mldemo.diffusion.coarse import Process, refine, sample_coarse_to_fine
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.samplers import brownian_fields, initial_state, sample
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import Run, default_statistics, prepare
from mldemo.request import SCORES, Request
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import radial_power, resample, squared_norm, to_modes
from mldemo.studies.convergence import coupled_distance

INDICES = list(range(3))


def parts(prior: str):
    statistics, schedule = default_statistics(), Schedule()
    process = Process(statistics.prior(prior), statistics, schedule, 5, INDICES)

    def denoise(n: int) -> GaussianDenoiser:
        mean, spectrum = statistics.mean_at(n).double(), statistics.spectrum(n)
        return GaussianDenoiser(mean, spectrum, process.prior, schedule)

    def start(n: int) -> torch.Tensor:
        where = process.prior, statistics, schedule, 5, INDICES
        return initial_state(*where, n, dtype=torch.float64)

    return process, denoise, start


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gaussian_runs_end_where_the_fine_run_ends(prior: str, sampler: str) -> None:
    """Modes are independent there. The low ones take the same steps (but for the first one after
    the change, which a multistep method takes with order 1), the others the flow that is exact."""
    if prior == "standard":
        pytest.skip("its operator changes with the level")
    process, denoise, start = parts(prior)
    steps, until = 60, 0.5
    changed = list(
        sample_coarse_to_fine(
            denoise(16), denoise(32), process, start(16), 32, until, sampler, steps
        )
    )
    noise = None
    if SAMPLERS[sampler].stochastic:
        noise = brownian_fields(process.prior, 5, INDICES, 32, dtype=torch.float64)
    whole = list(sample(denoise(32), start(32), sampler, steps, process.schedule, noise))
    assert [s.time for s in changed] == [s.time for s in whole]
    assert [s.step for s in changed] == list(range(steps + 1))
    assert {s.x.shape[-1] for s in changed if s.time > until} == {16}
    assert {s.x.shape[-1] for s in changed if s.time <= until} == {32}
    assert changed[-1].calls - whole[-1].calls in (0, 1)
    gap = squared_norm(to_modes(changed[-1].x - whole[-1].x), 32).mean().sqrt()
    unit = process.statistics.variance**0.5
    # with a path of its own the noise of the modes that begin later differs
    bound = 0.7 if SAMPLERS[sampler].stochastic else 0.02
    assert float(gap) < bound * unit
    low = squared_norm(to_modes(resample(changed[-1].x - whole[-1].x, 16)), 16).mean().sqrt()
    assert float(low) < 0.01 * unit


def test_the_missing_modes_have_their_law_and_the_others_stay() -> None:
    process, _, start = parts("bessel")
    x = start(16) * 0.3
    fine = refine(process, x, 32, 0.2)
    assert resample(fine, 16) == pytest.approx(x, abs=1e-6)
    expected = process.state(32, x, 0.2) - resample(process.state(16, x, 0.2), 32)
    assert fine - resample(x, 32) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="level 16 is finer than 8"):
        refine(process, x, 8, 0.2)


def test_a_change_at_once_is_the_fine_run() -> None:
    process, denoise, start = parts("bessel")
    states = list(sample_coarse_to_fine(denoise(16), denoise(32), process, start(16), 32, 1.0))
    whole = list(sample(denoise(32), start(32), schedule=process.schedule))
    assert states[-1].x == pytest.approx(whole[-1].x, abs=1e-6)


def prepared(**options) -> Run:
    few = {"seed": 5, "count": len(INDICES), "steps": 12}
    return prepare(Request(**(few | options)))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("sampler", ["dpmpp2m", "heun", "euler"])
def test_a_run_is_coarse_until_the_time_that_is_asked(score: str, sampler: str) -> None:
    """Its states are those of the loop; every frame has the level of the run, its calls add up."""
    options = {"score": score, "sampler": sampler}
    run = prepared(coarse_until=0.3, **options)
    frames, plain = list(run.frames()), prepared(**options)
    process = Process(run.prior, run.statistics, run.schedule, 5, INDICES)
    lower = prepared(resolution=16, **options)
    denoisers = lower.denoise, plain.denoise
    states = sample_coarse_to_fine(*denoisers, process, lower.start(INDICES), 32, 0.3, sampler, 12)
    for frame, state in zip(frames, states, strict=True):
        assert (frame.step, frame.time, frame.calls) == (state.step, state.time, state.calls)
        for shown, field in ((frame.x, state.x), (frame.x0, state.x0)):
            assert shown.shape == (3, 1, 32, 32)
            torch.testing.assert_close(resample(shown, 32), resample(field, 32))
        power = radial_power(state.x).mean((0, 1))
        coarse = frame.time > 0.3
        shells = slice(7 if coarse else None)  # the first that lie in level 16 as a whole
        torch.testing.assert_close(frame.power[shells], power[shells])
        assert bool((frame.power[11:] < 1e-12).all()) is coarse
    assert frames[-1].calls == run.request.calls == plain.request.calls + 1
    assert [frame.time for frame in frames] == plain.times
    assert run.change == sum(time > 0.3 for time in plain.times)


@pytest.mark.parametrize("prior", [name for name in PRIORS if name != "standard"])
@pytest.mark.parametrize("sampler", ["dpmpp2m", "ddim"])
def test_a_gaussian_run_has_the_law_of_the_ordinary_one(prior: str, sampler: str) -> None:
    options = {"prior": prior, "score": "gaussian", "sampler": sampler, "steps": 60}
    run, plain = prepared(coarse_until=0.5, **options), prepared(**options)
    gap = coupled_distance(run.result().x0, plain.result().x0)
    assert gap < 0.02 * run.statistics.variance**0.5
    other = prepared(**options | {"seed": 6})
    assert coupled_distance(run.result().x0, other.result().x0) > 0.3


def test_the_ends_of_the_range_are_two_runs() -> None:
    """Until 1 the run itself; until the last time of the grid all but the end is coarse."""
    plain, options = prepared(score="gaussian").result().x0, {"score": "gaussian", "steps": 12}
    whole = prepared(coarse_until=1, **options)
    torch.testing.assert_close(whole.result().x0, plain, rtol=0, atol=1e-5)
    assert whole.change == 0
    least = prepared(coarse_until=0.0010001, **options)
    assert least.change == 11
    *earlier, _, last = least.frames()
    assert all(bool((frame.power[11:] < 1e-12).all()) for frame in earlier)
    assert last.power[11] > 1e-9
