"""The network as a denoiser, held against the Gaussian oracle and a target derived by division."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mldemo.data.statistics import Statistics
from mldemo.diffusion.denoiser import REFERENCE, Denoiser, Noise
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.sde import Schedule
from mldemo.networks import build_network
from mldemo.space import spectral
from mldemo.space.covariance import Prior
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Bessel, FourierFilter, Laplacian, Matched, Standard

SCHEDULE = Schedule()
PRIORS = [
    Bessel(1.5, 8.0, trace=0.4),
    Laplacian(1.3, trace=0.4),  # q_0 = 0
    FourierFilter(2, trace=0.4),  # q_k = 0 for |k|∞ > 2
    Standard(),
]
each_prior = pytest.mark.parametrize("prior", PRIORS, ids=lambda p: p.name)
TIMES = torch.tensor([1e-3, 0.1, 0.5, 1.0], dtype=torch.float64)


class Given(nn.Module):
    """A network that returns what it is told and remembers what it was asked."""

    def __init__(self, answer: Tensor | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, fields: Tensor, snr: Tensor) -> Tensor:
        self.asked.append((fields, snr))
        return torch.zeros_like(fields[:, :1]) if self.answer is None else self.answer


def statistics() -> Statistics:
    """Of data with Λ ~ (2² + |k|²)^-1.8 and a mean."""
    modes = Matched(1.8, 2.0).colour(unit_modes(3, range(30), 32, torch.float64))
    return Statistics.of(spectral.to_field(modes, 32) + 0.3)


STATISTICS = statistics()


def empty_beyond(shell: int, floor: float) -> Statistics:
    """The same with Λ = `floor` from a shell on: 0, or what rounding leaves of 0."""
    power = STATISTICS.power.clone()
    power[shell:] = floor
    return Statistics(STATISTICS.mean, power)


def noisy(prior: Prior, n: int, data: Statistics = STATISTICS) -> tuple[Tensor, Tensor, Tensor]:
    """Modes of x_0 and ζ, and the field x_t = αx_0 + σ√q ζ at the four times."""
    count = len(TIMES)
    clean = spectral.to_modes(data.mean_at(n).double())
    clean = clean + data.spectrum(n).sqrt() * unit_modes(5, range(count), n, torch.float64)
    white = unit_modes(6, range(count), n, torch.float64)
    area = (0.1 * TIMES + 9.95 * TIMES**2).reshape(-1, 1, 1, 1)
    alpha, sigma = torch.exp(-area / 2), torch.sqrt(-torch.expm1(-area))
    x = alpha * clean + sigma * prior.eigenvalues(n).sqrt() * white
    return clean, white, spectral.to_field(x, n)


@each_prior
@pytest.mark.parametrize("n", [8, 9, 16, 64])
def test_a_zero_network_is_the_gaussian_denoiser(prior: Prior, n: int) -> None:
    """On every level, beyond the data's own (32) too."""
    denoiser = Denoiser(Given(), prior, STATISTICS, SCHEDULE)
    mean, spectrum = STATISTICS.mean_at(n), STATISTICS.spectrum(n)
    exact = GaussianDenoiser(mean, spectrum, prior, SCHEDULE)
    _, _, x = noisy(prior, n)
    torch.testing.assert_close(denoiser(x, TIMES), exact(x, TIMES), rtol=1e-9, atol=1e-10)


@each_prior
def test_guidance_weighs_what_the_network_adds(prior: Prior) -> None:
    """D_g = D_lin + g (D - D_lin), with the Gaussian oracle as D_lin."""
    network = Given(spectral.to_field(unit_modes(7, range(len(TIMES)), 16, torch.float64), 16))
    _, _, x = noisy(prior, 16)
    linear = GaussianDenoiser(STATISTICS.mean_at(16), STATISTICS.spectrum(16), prior, SCHEDULE)
    plain = Denoiser(network, prior, STATISTICS, SCHEDULE)(x, TIMES)
    assert (plain - linear(x, TIMES)).abs().max() > 1e-3
    for guidance in (0.0, 1.0, 1.3):
        guided = Denoiser(network, prior, STATISTICS, SCHEDULE, guidance)(x, TIMES)
        expected = torch.lerp(linear(x, TIMES), plain, guidance)
        torch.testing.assert_close(guided, expected, rtol=1e-9, atol=1e-10)


def exact_residual(prior: Prior, n: int) -> tuple[Tensor, Tensor]:
    """The F for which D = x_0, by division: (x_0 - m - linear part) / gain, and where gain > 0."""
    clean, _, x = noisy(prior, n)
    q, data = prior.eigenvalues(n), STATISTICS.spectrum(n)
    area = (0.1 * TIMES + 9.95 * TIMES**2).reshape(-1, 1, 1, 1)
    alpha, sigma = torch.exp(-area / 2), torch.sqrt(-torch.expm1(-area))
    active = (q > 0) & (data > 0)
    v = torch.where(active, alpha**2 * data + sigma**2 * q, 1.0)
    rho = torch.where(active, REFERENCE.eigenvalues(n), 1.0)
    gain = torch.where(active, (data * q / (v * rho)).sqrt() * sigma, 1.0)
    mean = spectral.to_modes(STATISTICS.mean_at(n).double())
    centred = spectral.to_modes(x) - alpha * mean
    target = (clean - mean - alpha * data / v * centred) / gain
    return torch.where(active, target, 0.0), active


@each_prior
@pytest.mark.parametrize("n", [8, 9, 32])
def test_target_of_the_loss_is_the_residual_of_the_denoiser(prior: Prior, n: int) -> None:
    """A network that returns (x_0 - m - linear part)/gain has loss 0 and reconstructs x_0 (modes
    with q = 0 included: there the linear part alone is exact)."""
    clean, white, x = noisy(prior, n)
    target, active = exact_residual(prior, n)
    network = Given(spectral.to_field(target, n))
    denoiser = Denoiser(network, prior, STATISTICS, SCHEDULE)
    assert float(denoiser.loss(clean, white, TIMES).max()) < 1e-16
    expected = spectral.to_field(clean, n)
    torch.testing.assert_close(denoiser(x, TIMES), expected, rtol=1e-7, atol=1e-8)
    (trained, snr), (sampled, snr_again) = network.asked
    torch.testing.assert_close(trained, sampled, rtol=1e-9, atol=1e-9)  # one input in both
    torch.testing.assert_close(snr, snr_again)
    linear = GaussianDenoiser(STATISTICS.mean_at(n), STATISTICS.spectrum(n), prior, SCHEDULE)
    torch.testing.assert_close(sampled[:, 1:], linear(x, TIMES), rtol=1e-9, atol=1e-9)
    # and the loss of any other answer is its L² distance to the target over the active modes
    wrong = torch.randn(len(TIMES), 1, n, n, dtype=torch.float64)
    denoiser = Denoiser(Given(wrong), prior, STATISTICS, SCHEDULE)
    error = torch.where(active, spectral.to_modes(wrong) - target, 0.0)
    distance = spectral.to_field(error, n).square().mean((-3, -2, -1))
    torch.testing.assert_close(denoiser.loss(clean, white, TIMES), distance)


@each_prior
def test_input_and_target_have_the_reference_spectrum(prior: Prior) -> None:
    """E|f_k|² = ρ_k where Λq > 0, at every time, over 3,000 draws at N = 8 (to six standard
    errors), and input and target are uncorrelated: nothing linear is left to learn."""
    n, count = 8, 3000
    mean = spectral.to_modes(STATISTICS.mean_at(n).double())
    a = unit_modes(1, range(count), n, torch.float64)
    clean = mean + STATISTICS.spectrum(n).sqrt() * a
    white = unit_modes(2, range(count), n, torch.float64)
    active = (prior.eigenvalues(n) > 0) & (STATISTICS.spectrum(n) > 0)
    rho = REFERENCE.eigenvalues(n)[active]
    for time in TIMES.tolist():
        times = torch.full((count,), time, dtype=torch.float64)
        network = Given(torch.zeros(count, 1, n, n, dtype=torch.float64))
        loss = Denoiser(network, prior, STATISTICS, SCHEDULE).loss(clean, white, times)
        whitened = network.asked[0][0][:, :1]
        power = spectral.to_modes(whitened)[:, 0, active].abs().square()
        relative = power.mean(0) / rho - 1
        assert float(relative.abs().max()) < 6 * math.sqrt(2 / count), time
        weight = spectral.multiplicity(n)[active]
        trace = float((weight * rho).sum())  # E of the target's squared norm
        error = float(loss.std()) / math.sqrt(count)
        assert abs(float(loss.mean()) - trace) < 6 * error, time


SHELLS = (0, 1, 2, 3, 4, 6, 8, 11, 15, 22)


def on_shells(value: Callable[[int, int], float], n: int) -> list[float]:
    """Means over the shells round(|k|) of level n, mode by mode over the whole plane; shells that
    it does not hold whole are replaced by the last that it does."""
    band = (n - 1) // 2
    shells: dict[int, list[float]] = {}
    for first in range(-band, band + 1):
        for second in range(-band, band + 1):
            shell = round(math.hypot(first, second))
            shells.setdefault(shell, []).append(value(first, second))
    return [math.fsum(v) / len(v) for v in (shells[min(s, band)] for s in SHELLS)]


def half_plane(spectrum: Tensor) -> Callable[[int, int], float]:
    """Λ_k for every k of a spectrum kept on k₂ ≥ 0."""
    rows = spectrum.tolist()
    return lambda k, m: rows[k][m] if m >= 0 else rows[-k][-m]


@each_prior
@pytest.mark.parametrize("n", [8, 9, 64])
def test_noise_is_the_spectrum_of_the_prior(prior: Prior, n: int) -> None:
    """Its shells are means of q_k over level 64, whatever N; of white noise, q = 1/N²."""
    noise = Noise.of(prior, n)
    assert torch.equal(noise.modes, prior.eigenvalues(n))
    if isinstance(prior, Standard):
        expected = [1 / n**2] * len(SHELLS)
    else:
        expected = on_shells(half_plane(prior.eigenvalues(64)), 64)
    want = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(noise.shells, want, rtol=1e-12, atol=1e-18)


def test_shells_are_means_of_the_closed_form() -> None:
    """(κ² + 4π²|k|²)^-s, the whole of it, on the modes of level 64."""
    q = [(64 + 4 * math.pi**2 * r) ** -1.5 for r in range(2 * 31**2 + 1)]
    means = on_shells(lambda first, second: q[first**2 + second**2], 64)
    shells = Noise.of(PRIORS[0], 16).shells
    want = torch.tensor(means, dtype=torch.float64)
    torch.testing.assert_close(shells / shells[0], want / want[0], rtol=1e-12, atol=0)


@each_prior
@pytest.mark.parametrize("n", [8, 64])
def test_the_network_is_told_the_snr_of_every_shell(prior: Prior, n: int) -> None:
    """log(α²/σ²) and log(α²Λ/(σ²q)), cut at ±12 and divided by 12. A shell without noise is at 1;
    data on level 32 go on beyond its last shell as their spectrum does."""
    network = Given()
    Denoiser(network, prior, STATISTICS, SCHEDULE)(noisy(prior, n)[2], TIMES)
    level = n if isinstance(prior, Standard) else 64
    data = on_shells(half_plane(STATISTICS.spectrum(64)), 64)
    q = on_shells(half_plane(prior.eigenvalues(level)), level)
    expected = []
    for time in TIMES.tolist():
        area = 0.1 * time + 9.95 * time**2
        base = -area - math.log(-math.expm1(-area))
        ratios = [base + math.log(a / b) if b else math.inf for a, b in zip(data, q, strict=True)]
        expected.append([max(-1.0, min(1.0, x / 12)) for x in [base, *ratios]])
    want = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(network.asked[0][1], want, rtol=1e-6, atol=1e-9)
    assert int((want.abs() < 1).sum()) > len(TIMES), "all of it is cut off"


class Curious(nn.Module):
    """A network in whose answer every input counts."""

    def forward(self, fields: Tensor, snr: Tensor) -> Tensor:
        weights = torch.arange(1.0, 1 + snr.shape[1], dtype=snr.dtype)
        strength = (snr * weights).sum(1).reshape(-1, 1, 1, 1)
        return fields[:, :1] * strength + fields[:, 1:].square()


@pytest.mark.parametrize("n", [9, 16])
def test_a_batch_of_mixed_priors_is_its_samples_one_by_one(n: int) -> None:
    """Each sample with the spectra of its own prior, against a denoiser of that prior."""
    clean, white, _ = noisy(PRIORS[0], n)
    each = [Noise.of(prior, n) for prior in PRIORS]
    modes = torch.stack([noise.modes for noise in each])[:, None]
    noise = Noise(modes, torch.stack([noise.shells for noise in each]))
    for host in PRIORS[:2]:  # the prior of the denoiser itself has no say
        mixed = Denoiser(Curious(), host, STATISTICS, SCHEDULE).loss(clean, white, TIMES, noise)
        for i, prior in enumerate(PRIORS):
            own = Denoiser(Curious(), prior, STATISTICS, SCHEDULE)
            alone = own.loss(clean[i : i + 1], white[i : i + 1], TIMES[i : i + 1])
            torch.testing.assert_close(mixed[i : i + 1], alone, rtol=1e-12, atol=0)
            others = [j for j in range(len(PRIORS)) if j != i]
            assert all(abs(float(mixed[j] / alone) - 1) > 1e-3 for j in others)


@pytest.mark.parametrize("kind", ["ushaped", "fno"])
@pytest.mark.parametrize("n", [8, 9, 16])
@pytest.mark.parametrize("prior", PRIORS[1:3], ids=lambda p: p.name)
@pytest.mark.parametrize("floor", [0.0, 1e-34])
def test_degenerate_modes_in_float32(prior: Prior, n: int, kind: str, floor: float) -> None:
    """Where q = 0, D = x/α; where Λ = 0 (or next to it), D = m: whatever the network says. Loss
    and gradients are finite."""
    data = empty_beyond(4, floor)
    options = {"core_widths": (8,)} if kind == "ushaped" else {}
    network = build_network({"kind": kind, "width": 8, "modes": 3, "depth": 1, **options})
    nn.init.normal_(network.project.weight)  # type: ignore[arg-type]
    denoiser = Denoiser(network, prior, data, SCHEDULE)
    single = {True: torch.complex64, False: torch.float32}
    clean, white, x = (v.to(single[v.is_complex()]) for v in noisy(prior, n, data))
    loss = denoiser.loss(clean, white, TIMES)
    loss.sum().backward()
    assert bool(torch.isfinite(loss).all())
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
    with torch.no_grad():
        modes = spectral.to_modes(denoiser(x, TIMES))
    q, spectrum = prior.eigenvalues(n), data.spectrum(n)
    inside = spectral.multiplicity(n) > 0
    alpha = SCHEDULE.alpha(TIMES).float().reshape(-1, 1, 1, 1)
    mean = spectral.to_modes(data.mean_at(n)).expand_as(modes)
    unnoised, empty = inside & (q == 0) & (spectrum > 1e-30), inside & (spectrum <= 1e-30)
    assert bool(unnoised.any())
    assert bool(empty.any())
    expected = spectral.to_modes(x) / alpha
    scale = (1 / alpha).square()  # rounding of x is amplified by 1/α
    gap = ((modes - expected).abs() / scale)[..., unnoised]
    assert float(gap.max()) < 1e-5
    torch.testing.assert_close(modes[..., empty], mean[..., empty], atol=1e-5, rtol=0)


def test_one_time_for_all_and_dtype_of_the_input() -> None:
    """() and (1,) times broadcast; float32 in, float32 out, near the float64 answer."""
    torch.manual_seed(0)
    network = build_network({"kind": "fno", "width": 8, "modes": 3, "depth": 1})
    nn.init.normal_(network.project.weight)  # type: ignore[arg-type]
    denoiser = Denoiser(network.double(), PRIORS[0], STATISTICS, SCHEDULE).requires_grad_(False)
    _, _, x = noisy(PRIORS[0], 16)
    each = denoiser(x, torch.full((4,), 0.3, dtype=torch.float64))
    for time in (torch.tensor(0.3).double(), torch.tensor([0.3]).double()):
        torch.testing.assert_close(denoiser(x, time), each)
    single = Denoiser(network.float(), PRIORS[0], STATISTICS, SCHEDULE).requires_grad_(False)
    out = single(x.float(), torch.full((4,), 0.3))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), each, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_fields_of_another_precision_than_the_network_are_refused(dtype: torch.dtype) -> None:
    """In one sentence, before anything is multiplied; by the loss too."""
    denoiser = Denoiser(torch.nn.Linear(3, 3), Bessel(), STATISTICS, SCHEDULE)
    words = f"the network is torch.float32, the fields are {dtype}|float32 or float64, got {dtype}"
    with pytest.raises(ValueError, match=words):
        denoiser(torch.zeros(1, 1, 8, 8, dtype=dtype), torch.tensor(0.5))
    if dtype == torch.float64:
        modes = torch.zeros(1, 1, 8, 5, dtype=torch.complex128)
        with pytest.raises(ValueError, match=words):
            denoiser.loss(modes, modes, torch.tensor([0.5]))
