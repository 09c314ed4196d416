"""Conditioning on modes or pixels against closed forms: Gaussian and mixture data."""

import math

import pytest
import torch
from torch import Tensor

from mldemo.diffusion.conditioning import METHODS, ConditionalDenoiser, Known, LowModes, Pixels
from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.oracles import GaussianDenoiser, MixtureDenoiser
from mldemo.diffusion.samplers import brownian_fields
from mldemo.diffusion.sde import END, Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.editing import Edit, complete, edit
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.space import spectral
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.noise import unit_modes
from mldemo.space.priors import (
    PRIORS,
    Bessel,
    Combined,
    FourierFilter,
    Laplacian,
    Matched,
    Standard,
)

N = 8
SCHEDULE, PRIOR = Schedule(), Bessel(1.5, 8.0, trace=0.4)
DATA = Matched(1.8, 2.0, trace=0.5)
MEAN = DATA.draw(99, [0], N, torch.float64)
SPECTRUM = DATA.eigenvalues(N)
VALUE = MEAN + DATA.draw(5, [0], N, torch.float64)
MASK = torch.zeros(N, N, dtype=torch.bool)
MASK[:, :4] = MASK[2, 5] = True
KNOWN: dict[str, Known] = {"modes": LowModes(1, N), "pixels": Pixels(MASK)}
each_known = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
each_method = pytest.mark.parametrize("method", METHODS)


def gaussian() -> GaussianDenoiser:
    return GaussianDenoiser(MEAN, SPECTRUM, PRIOR, SCHEDULE)


def ends() -> tuple[Tensor, Tensor]:
    t = torch.tensor(END, dtype=torch.float64)
    return SCHEDULE.alpha(t), SCHEDULE.sigma(t)


def start_of(white: Tensor, prior: Prior = PRIOR) -> Tensor:
    """x_T of the unconditioned run, α_T m + √v ζ."""
    alpha, sigma = ends()
    root = (alpha**2 * SPECTRUM + sigma**2 * prior.eigenvalues(N)).sqrt()
    return alpha * MEAN + spectral.to_field(root * white, N)


def pair_of(white: Tensor, other: Tensor, prior: Prior = PRIOR) -> tuple[Tensor, Tensor]:
    """x_0 and η of two white noises."""
    data, noise = Diagonal(SPECTRUM), Diagonal(prior.eigenvalues(N))
    model = Marginal.at(SCHEDULE, torch.tensor(END, dtype=torch.float64), data, noise)
    clean, eta = (spectral.to_field(modes, N) for modes in model.split(white, other))
    return MEAN + clean, eta


def finish(
    known: Known,
    method: str,
    white: Tensor,
    other: Tensor | None = None,
    sampler: str = "dpmpp2m",
    n: int = 60,
    prior: Prior = PRIOR,
) -> Tensor:
    pair = pair_of(white, torch.zeros_like(white) if other is None else other, prior)
    paths = brownian_fields(prior, 5, list(range(len(white))), N, dtype=torch.float64)
    options = (sampler, n, SCHEDULE, paths, method)
    denoise = GaussianDenoiser(MEAN, SPECTRUM, prior, SCHEDULE)
    *_, last = complete(denoise, *pair, VALUE, known, prior, SPECTRUM, *options)
    return last.x


def basis() -> Tensor:
    """0 and every unit vector of white noise, as modes: what an affine map is read off with."""
    fields = torch.cat([torch.zeros(1, 1, N, N), N * torch.eye(N * N).reshape(-1, 1, N, N)])
    return spectral.to_modes(fields.double())


def conditional_law(known: Known) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the pixels of X_0 given P X_0 = y, by dense linear algebra."""
    unit = torch.eye(N * N, dtype=torch.float64).reshape(-1, 1, N, N)
    c = N * N * spectral.apply_multiplier(unit, SPECTRUM).reshape(N * N, N * N)
    p = known.part(unit).reshape(N * N, N * N)
    gain = c @ p @ torch.linalg.pinv(p @ c @ p, rtol=1e-11, hermitian=True)
    mean = MEAN.flatten() + gain @ (VALUE - MEAN).flatten()
    return mean, c - gain @ c


# Some leave modes without noise: the mean (laplacian), all beyond a cutoff (fno).
PRIORS_MET: tuple[Prior, ...] = (
    PRIOR,
    Laplacian(1.1, trace=0.5),
    Standard(),
    FourierFilter(2, 3, trace=0.5),
    FourierFilter(14, trace=0.5),
    Combined(1.1, 14, trace=0.5),
    Matched(2.5, 3.0, trace=0.5),
)
each_prior = pytest.mark.parametrize("prior", PRIORS_MET, ids=lambda p: p.name)


@each_prior
@each_known
@each_method
def test_gaussian_completion_has_the_conditional_law(
    known: Known, method: str, prior: Prior
) -> None:
    """The run is affine in both white noises: its offset and its matrix A give the mean and A Aᵀ
    exactly, compared with dense linear algebra that does not know the prior."""
    white = basis()
    other = torch.cat([torch.zeros_like(white), white[1:]])
    white = torch.cat([white, torch.zeros_like(white[1:])])
    out = finish(known, method, white, other, n=100, prior=prior).flatten(1)
    mean, covariance = conditional_law(known)
    a = (out[1:] - out[0]).T
    assert float((out[0] - mean).norm() / mean.norm()) < 3e-3
    assert float((a @ a.T - covariance).norm() / covariance.norm()) < 3e-3


def test_every_registered_prior_is_met() -> None:
    assert {prior.name for prior in PRIORS_MET} >= PRIORS.keys()


@each_prior
def test_the_pair_is_independent_and_makes_the_start(prior: Prior) -> None:
    """α x_0 + σ η = x_T for every ζ'; covariances Λ and Q, none between them: per mode, read off
    with white noises of one mode each."""
    alpha, sigma = ends()
    one = (spectral.multiplicity(N) > 0).to(torch.complex128)[None, None]
    zero = torch.zeros_like(one)
    rows = [pair_of(a, b, prior) for a, b in ((one, zero), (zero, one), (zero, zero))]
    for (clean, eta), white in zip(rows, (one, zero, zero), strict=True):
        torch.testing.assert_close(alpha * clean + sigma * eta, start_of(white, prior))
    x, y = (
        [spectral.to_modes(rows[i][part] - rows[2][part]).real for i in (0, 1)] for part in (0, 1)
    )
    torch.testing.assert_close((x[0] ** 2 + x[1] ** 2)[0, 0], SPECTRUM)
    torch.testing.assert_close((y[0] ** 2 + y[1] ** 2)[0, 0], prior.eigenvalues(N))
    assert float((x[0] * y[0] + x[1] * y[1]).abs().max()) < 1e-12


@pytest.mark.parametrize("prior", ["laplacian", "bessel", "fno"])
def test_a_run_starts_from_its_own_pair(prior: str) -> None:
    """On the bundle's statistics: the pair of a run makes its start, and ζ' is no ζ."""
    run = prepare(Request(prior=prior, resolution=16, count=2, score="gaussian"))
    clean, eta = run.start_pair([0, 1])
    t = torch.tensor(END, dtype=torch.float64)
    start = run.schedule.alpha(t) * clean + run.schedule.sigma(t) * eta
    torch.testing.assert_close(start, run.start([0, 1]), atol=1e-5, rtol=1e-5)
    single = torch.corrcoef(torch.stack([clean.flatten(), eta.flatten()]))[0, 1]
    assert abs(float(single)) < 0.3


@pytest.mark.parametrize("kind", ["inpaint", "extend"])
def test_rms_z_of_a_completed_picture(kind: str) -> None:
    """Under the Laplacian's degenerate mean too: z of the free pixels against the exact
    conditional law of the bundle's Gaussian, over 64 samples; 1 for the right law."""
    n, count = 16, 64
    run = prepare(
        Request(prior="laplacian", resolution=n, count=count, steps=40, score="gaussian")
    )
    region = torch.zeros(n, n, dtype=torch.bool)
    region[4:12, 4:12] = True
    value = prepare(Request(score="empirical", resolution=n)).denoise.fields[29][None].double()  # type: ignore[attr-defined]
    options = Edit(kind, cutoff=2, region=region)
    *_, last = edit(run, value.float(), options)
    known, m = options.known(n), run.statistics.mean_at(n).double()
    unit = torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)
    c = n * n * Diagonal(run.statistics.spectrum(n)).apply(unit).reshape(n * n, n * n)
    p = known.part(unit).reshape(n * n, n * n)
    gain = c @ p @ torch.linalg.pinv(p @ c @ p, rtol=1e-9, hermitian=True)
    mean = (m.flatten() + gain @ (value - m).flatten()).reshape(n, n)
    sd = (c - gain @ c).diagonal().clamp(min=0).sqrt().reshape(n, n)
    free = region if kind == "inpaint" else sd > 0
    z = ((last.x[:, 0].double() - mean) / sd)[:, free]
    assert 0.9 < float(z.square().mean().sqrt()) < 1.1
    assert abs(float(z.mean())) < 0.15


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@each_known
@each_method
def test_the_known_part_is_exact(known: Known, method: str, sampler: str) -> None:
    white = unit_modes(3, [0, 1], N, torch.float64)
    out = finish(known, method, white, sampler=sampler, n=7)
    torch.testing.assert_close(
        known.part(out), known.part(VALUE).expand_as(out), atol=1e-12, rtol=0
    )
    assert float((out[0] - out[1]).abs().max()) > 1e-3  # the rest was generated


@pytest.mark.parametrize("sampler", ["dpmpp2m", "adams", "ddim", "heun"])
@each_known
def test_known_part_of_every_state_is_the_forward_process(known: Known, sampler: str) -> None:
    """P x_t = α_t P y + σ_t P η with the one η of the start, at every step."""
    clean, eta = pair_of(*(unit_modes(s, [0, 1], N, torch.float64) for s in (3, 4)))
    states = complete(gaussian(), clean, eta, VALUE, known, PRIOR, SPECTRUM, sampler, 9, SCHEDULE)
    for state in list(states)[:-1]:
        t = torch.tensor(state.time, dtype=torch.float64)
        expected = SCHEDULE.alpha(t) * VALUE + SCHEDULE.sigma(t) * eta
        torch.testing.assert_close(known.part(state.x), known.part(expected), atol=1e-9, rtol=1e-9)


def test_free_modes_are_those_of_the_unconditioned_run() -> None:
    """Diagonal Gaussian data: modes are independent, so keeping some changes no other."""
    from mldemo.diffusion.samplers import sample

    white = unit_modes(3, [0, 1], N, torch.float64)
    known = LowModes(1, N)
    *_, free = sample(gaussian(), start_of(white), "dpmpp2m", 9, SCHEDULE)
    out = finish(known, "linear", white, n=9)
    torch.testing.assert_close(out - known.part(out), free.x - known.part(free.x))


@each_method
def test_one_completion_on_every_level(method: str) -> None:
    """Known modes: the run at 32 restricts to the run at 16."""
    results = {}
    for n in (16, 32):
        mean, spectrum = DATA.draw(99, [0], n, torch.float64), DATA.eigenvalues(n)
        prior: Prior = PRIOR
        noise = prior.draw(7, [0], n, torch.float64)
        denoise = GaussianDenoiser(mean, spectrum, prior, SCHEDULE)
        value = DATA.draw(5, [0], n, torch.float64)
        states = complete(
            denoise, noise, noise, value, LowModes(3, n), prior, spectrum, steps=8, method=method
        )
        results[n] = list(states)[-1].x
    torch.testing.assert_close(
        spectral.resample(results[32], 16), results[16], atol=1e-9, rtol=1e-9
    )


# A mixture whose two components differ by ±Δ in one kept and one free mode: y decides between
# them. The noise drowns the kept mode longer than the free one, so replacement comes too late.
APART, KEPT, FREE = 0.03, (0, 1), (3, 2)
NARROW = 0.03 * SPECTRUM


def waves(amplitude: float, *modes: tuple[int, int]) -> Tensor:
    out = torch.zeros(1, 1, N, N // 2 + 1, dtype=torch.complex128)
    for k in modes:
        out[..., k[0], k[1]] = amplitude
    return spectral.to_field(out, N)


def share_of_first(method: str, kept: float, count: int = 400) -> float:
    """How often the free mode follows the first component, given the kept mode."""
    bump = waves(APART, KEPT, FREE)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    denoise = MixtureDenoiser(torch.cat([bump, -bump]), weights, NARROW, PRIOR, SCHEDULE)
    spectrum = NARROW.clone()  # of all data: within the components and between them
    spectrum[KEPT] += APART**2
    spectrum[FREE] += APART**2
    eta = PRIOR.draw(11, list(range(count)), N, torch.float64)
    known, value = LowModes(1, N), waves(kept, KEPT)
    states = complete(denoise, eta, eta, value, known, PRIOR, spectrum, steps=40, method=method)
    free = spectral.to_modes(list(states)[-1].x)[:, 0, FREE[0], FREE[1]].real
    return float((free > 0).double().mean())


@pytest.mark.parametrize("kept", [-APART, APART / 8, APART / 2, APART])
def test_mixture_the_kept_mode_chooses_the_component(kept: float) -> None:
    """Guided: P(first | y) = 1/(1 + exp(-4yΔ/Λ)) to 0.1, of which 0.05 is sampling (2 s.d.)."""
    exact = 1 / (1 + math.exp(-4 * kept * APART / float(NARROW[KEPT])))
    assert share_of_first("guided", kept) == pytest.approx(exact, abs=0.1)


def test_mixture_replacement_alone_comes_too_late() -> None:
    """What the guidance is for: without it four in ten end in the wrong component."""
    assert 0.45 < share_of_first("linear", APART) < 0.65


def test_low_modes_are_those_up_to_the_cutoff() -> None:
    """|k|∞ ≤ K, K itself among them: (2K + 1)² modes, read off one by one."""
    every = spectral.to_field((spectral.multiplicity(N) > 0).to(torch.complex128)[None, None], N)
    kept = spectral.to_modes(LowModes(2, N).part(every)).real[0, 0] > 0.5
    k1, k2 = spectral.frequencies(N)
    assert torch.equal(kept, torch.maximum(k1.abs(), k2) < 2.5)
    assert float((spectral.multiplicity(N) * kept).sum()) == 25


@pytest.mark.parametrize(
    ("cutoff", "words"), [(-1, "from 0 to 3"), (4, "from 0 to 3"), (1.0, "whole"), (True, "whole")]
)
def test_bad_cutoffs(cutoff: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LowModes(cutoff, N)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(8, 8), "boolean"),
        (torch.zeros(8, 9, dtype=torch.bool), "square"),
        (torch.zeros(4, 4, dtype=torch.bool), "from 8"),
        (torch.zeros(1, 8, 8, dtype=torch.bool), "shape"),
    ],
)
def test_bad_masks(mask: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pixels(mask)


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="linear, guided"):
        ConditionalDenoiser(gaussian(), LowModes(1, N), VALUE, PRIOR, SPECTRUM, method="magic")
