"""Dissolving a field and denoising it from any time, held against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.samplers import brownian_fields, sample
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.editing import Edit, denoise_from, dissolve, edit
from mldemo.pipeline import Run, prepare
from mldemo.request import Request
from mldemo.space import spectral
from mldemo.space.priors import PRIORS, Bessel, Matched

N = 8
SCHEDULE, PRIOR = Schedule(), Bessel(1.5, 8.0, trace=0.4)
DATA = Matched(1.8, 2.0, trace=0.5)
MEAN = DATA.draw(99, [0], N, torch.float64)
SPECTRUM = DATA.eigenvalues(N)
CLEAN = MEAN + DATA.draw(5, [0], N, torch.float64)
ETA = PRIOR.draw(7, [0, 1], N, torch.float64)


def ab(t: float) -> tuple[float, float]:
    area = 0.1 * t + 9.95 * t * t
    return math.exp(-area / 2), math.sqrt(-math.expm1(-area))


def gaussian() -> GaussianDenoiser:
    return GaussianDenoiser(MEAN, SPECTRUM, PRIOR, SCHEDULE)


def test_dissolve_is_the_forward_marginal_with_one_noise() -> None:
    times = [0.0, 0.1, 0.5, 1.0]
    states = list(dissolve(CLEAN, ETA, times, SCHEDULE))
    assert [s.time for s in states] == times
    assert [(s.step, s.steps, s.calls) for s in states] == [(i, 3, 0) for i in range(4)]
    for state in states:
        a, s = ab(state.time)
        torch.testing.assert_close(state.x, a * CLEAN + s * ETA)
        torch.testing.assert_close(state.x0, CLEAN.expand(2, -1, -1, -1))


@pytest.mark.parametrize("name", [n for n in PRIORS if n != "standard"])
def test_dissolving_commutes_with_restriction(name: str) -> None:
    prior = PRIORS[name]()
    results = {}
    for n in (16, 32):
        clean, eta = DATA.draw(5, [0], n, torch.float64), prior.draw(7, [0], n, torch.float64)
        results[n] = list(dissolve(clean, eta, [0.3], SCHEDULE))[-1].x
    torch.testing.assert_close(spectral.resample(results[32], 16), results[16])


@pytest.mark.parametrize("time", [0.05, 0.4, 1.0])
def test_denoising_from_t_is_the_flow_map(time: float) -> None:
    """x_0' = m + √(Λ/v_t)(x_t - α_t m): what was drowned is drawn anew, the rest stays."""
    *_, last = denoise_from(gaussian(), CLEAN, ETA, time, steps=200, schedule=SCHEDULE)
    a, s = ab(time)
    root = (SPECTRUM / (a**2 * SPECTRUM + s**2 * PRIOR.eigenvalues(N))).nan_to_num(0).sqrt()
    exact = MEAN + spectral.apply_multiplier(a * CLEAN + s * ETA - a * MEAN, root)
    assert float((last.x - exact).norm() / exact.norm()) < 3e-3


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_starts_at_t_and_little_noise_changes_little(sampler: str) -> None:
    increments = brownian_fields(PRIOR, 5, [0, 1], N, dtype=torch.float64)
    options = (sampler, 12, SCHEDULE, increments)
    states = list(denoise_from(gaussian(), CLEAN, ETA, 0.02, *options))
    assert len(states) == 13
    assert states[0].time == 0.02
    torch.testing.assert_close(states[0].x, ab(0.02)[0] * CLEAN + ab(0.02)[1] * ETA)
    near, far = (
        list(denoise_from(gaussian(), CLEAN, ETA, t, *options))[-1].x for t in (0.02, 0.9)
    )
    assert float((near - CLEAN).norm()) < 0.3 * float((far - CLEAN).norm())


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_from_the_end_it_is_the_ordinary_run(sampler: str) -> None:
    increments = brownian_fields(PRIOR, 5, [0, 1], N, dtype=torch.float64)
    options = (sampler, 6, SCHEDULE, increments)
    edited = list(denoise_from(gaussian(), CLEAN, ETA, 1.0, *options))
    ordinary = list(sample(gaussian(), edited[0].x, *options))
    assert [s.time for s in edited] == [s.time for s in ordinary]
    assert torch.equal(edited[-1].x, ordinary[-1].x)


@pytest.mark.parametrize("time", [0.0, 1e-3, -1, 1.1, math.nan, math.inf, True, "0.5", None])
def test_bad_times(time: float) -> None:
    with pytest.raises(ValueError, match="time must be"):
        denoise_from(gaussian(), CLEAN, ETA, time)


@pytest.mark.parametrize(
    ("times", "words"), [([], "at least one"), ([0.5, 0.5], "rise"), ([-0.1], r"\[0, 1\]")]
)
def test_bad_time_lists(times: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dissolve(CLEAN, ETA, times)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (torch.zeros(8, 8), "shape"),
        (torch.zeros(1, 1, 8, 9), "shape"),
        (torch.zeros(1, 3, 8, 8), "shape"),
        (torch.zeros(1, 1, 4, 4), "from 8"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.long), "real"),
        (torch.full((1, 1, 8, 8), math.nan), "finite"),
    ],
)
def test_bad_fields(field: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dissolve(field, field, [0.5])


# ---------------------------------------------------------------- edits of a prepared run


def prepared(**options) -> Run:
    """The bundle's statistics with an exact score."""
    return prepare(Request(score="gaussian", resolution=16, count=3, steps=6, **options))


def right_half(n: int = 16) -> Tensor:
    region = torch.zeros(n, n, dtype=torch.bool)
    region[:, n // 2 :] = True
    return region


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_edits_keep_what_they_promise(sampler: str) -> None:
    """`steps` + 1 states of `count` images; kept modes and pixels are those given."""
    run, clean = prepared(sampler=sampler), DATA.draw(1, [0], 16)
    low = Edit("extend", cutoff=2)
    *_, last = edit(run, clean, low)
    assert last.x.shape == (3, 1, 16, 16)
    assert (last.step, last.steps) == (6, 6)
    part = low.known(16).part
    torch.testing.assert_close(part(last.x), part(clean.expand(3, -1, -1, -1)), atol=1e-5, rtol=0)
    *_, last = edit(run, clean, Edit("inpaint", region=right_half()))
    assert torch.equal(last.x[..., :8], clean.expand(3, -1, -1, -1)[..., :8])
    assert not torch.allclose(last.x[0, ..., 8:], last.x[1, ..., 8:])
    first = next(iter(edit(run, clean, Edit("denoise", time=0.3))))
    eta = run.prior.draw(7, [0, 1, 2], 16)
    torch.testing.assert_close(first.x, ab(0.3)[0] * clean + ab(0.3)[1] * eta)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "magic"}, "denoise, extend, inpaint"),
        ({"method": "magic"}, "linear, guided"),
        ({"time": 0.0}, "time must be"),
        ({"kind": "inpaint"}, "brush"),
        ({"kind": "inpaint", "region": torch.zeros(16, 16, dtype=torch.bool)}, "brush"),
        ({"kind": "inpaint", "region": right_half(8)}, "shape"),
        ({"kind": "extend", "cutoff": 8}, "from 0 to 7"),
    ],
)
def test_bad_edits(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        edit(prepared(), DATA.draw(1, [0], 16), Edit(**options))


def test_an_edit_runs_on_one_level() -> None:
    with pytest.raises(ValueError, match=r"an edit runs on one level, got coarse_until 0\.2"):
        edit(prepared(coarse_until=0.2), torch.zeros(1, 1, 16, 16), Edit())


def test_an_edit_wants_the_level_of_its_run() -> None:
    with pytest.raises(ValueError, match="level 32, the run has 16"):
        edit(prepared(), DATA.draw(1, [0], 32), Edit())
