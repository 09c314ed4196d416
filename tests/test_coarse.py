"""Sampling on a coarse level first: exact for Gaussian data, and the same functions."""

import pytest
import torch

from mldemo.diffusion.coarse import Process, refine, sample_coarse_to_fine
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.samplers import brownian_fields, initial_state, sample
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import default_statistics
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import resample, squared_norm, to_modes

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
