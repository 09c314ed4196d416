"""The sampling loop: states, calls, starts, one seed on every level, and one device."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mldemo.data.sets import IdxFolder
from mldemo.data.statistics import Statistics
from mldemo.diffusion.denoiser import Denoiser
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.samplers import brownian_fields, check_steps, initial_state, sample
from mldemo.diffusion.sde import Schedule, log_snr_times, uniform_times
from mldemo.diffusion.steps import SAMPLERS
from mldemo.networks import build_network
from mldemo.space import spectral
from mldemo.space.covariance import Prior
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Bessel, FourierFilter, Laplacian, Standard

SCHEDULE, PRIOR = Schedule(), Bessel(1.5, 8.0, trace=0.4)
TINY = {"kind": "ushaped", "width": 8, "modes": 3, "depth": 1, "core_widths": (8, 16)}
each_sampler = pytest.mark.parametrize("sampler", list(SAMPLERS))


@pytest.fixture(scope="module")
def statistics(idx_folder: Path) -> Statistics:
    return Statistics.of(IdxFolder(idx_folder).fields())


def gaussian(statistics: Statistics, n: int, prior: Prior = PRIOR) -> GaussianDenoiser:
    return GaussianDenoiser(statistics.mean_at(n), statistics.spectrum(n), prior, SCHEDULE)


@each_sampler
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_states_and_calls(sampler: str, steps: int) -> None:
    """steps + 1 states; x0 is D(x, t) of the very state; the last is (0, D, D); the number of
    calls is `steps`, for Heun 2·steps - 1; the loop is lazy."""
    asked: list[float] = []

    def denoise(x: Tensor, time: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        asked.append(float(time))
        return 0.9 * x + time

    x = PRIOR.draw(0, [0, 1], 8, torch.float64)
    noise = brownian_fields(PRIOR, 0, [0, 1], 8, dtype=torch.float64)
    loop = sample(denoise, x, sampler, steps, noise=noise)
    first = next(loop)
    assert len(asked) == 1
    assert torch.is_grad_enabled()  # nothing is held across a yield
    states = [first, *loop]
    grids = {"euler": uniform_times(steps), "adams": SAMPLERS["adams"].times(SCHEDULE, steps)}
    grid = grids.get(sampler, log_snr_times(SCHEDULE, steps))
    assert [s.time for s in states] == [*grid, 0.0]
    assert [s.step for s in states] == list(range(steps + 1))
    assert {s.steps for s in states} == {steps}
    assert torch.equal(first.x, x)
    for state in states[:-1]:
        torch.testing.assert_close(state.x0, 0.9 * state.x + state.time)
    assert torch.equal(states[-1].x, states[-2].x0)
    assert torch.equal(states[-1].x, states[-1].x0)
    expected = 2 * steps - 1 if sampler == "heun" else steps
    assert states[-1].calls == len(asked) == expected
    assert [s.calls for s in states] == sorted(s.calls for s in states)


@each_sampler
@pytest.mark.parametrize("prior", [PRIOR, Laplacian(1.3, trace=0.4)], ids=lambda p: p.name)
def test_one_seed_is_one_picture_on_every_level(
    statistics: Statistics, sampler: str, prior: Prior
) -> None:
    """With the Gaussian oracle in float32, whole runs at 64 and 27 restrict to the run at 16."""
    results = {}
    for n in (16, 27, 64):
        x = initial_state(prior, statistics, SCHEDULE, 7, [0, 3], n)
        noise = brownian_fields(prior, 7, [0, 3], n)
        *_, last = sample(gaussian(statistics, n, prior), x, sampler, 12, noise=noise)
        results[n] = last.x
    for n in (27, 64):
        gap = spectral.resample(results[n], 16) - spectral.resample(results[16], 16)
        assert float(gap.abs().max()) < 1e-5 * max(1.0, float(results[16].abs().max()))


@each_sampler
def test_a_sample_does_not_depend_on_its_batch(statistics: Statistics, sampler: str) -> None:
    def picture(indices: list[int]) -> Tensor:
        x = initial_state(PRIOR, statistics, SCHEDULE, 7, indices, 16, dtype=torch.float64)
        noise = brownian_fields(PRIOR, 7, indices, 16, dtype=torch.float64)
        *_, last = sample(gaussian(statistics, 16), x, sampler, 6, noise=noise)
        return last.x[indices.index(4)]

    torch.testing.assert_close(picture([4]), picture([0, 9, 4, 1]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "prior", [PRIOR, Laplacian(1.3), FourierFilter(4), Standard()], ids=lambda p: p.name
)
@pytest.mark.parametrize("n", [16, 9])
def test_start_has_the_marginal_of_the_data_at_t_1(
    statistics: Statistics, prior: Prior, n: int
) -> None:
    """x_T = α_T m + √(α_T²Λ + σ_T²q) ζ: no mode is left out; from_prior is N(0, Q) itself."""
    alpha2 = math.exp(-10.05)
    white = unit_modes(2, [5], n, torch.float64)
    variance = alpha2 * statistics.spectrum(n) + (1 - alpha2) * prior.eigenvalues(n)
    modes = math.sqrt(alpha2) * spectral.to_modes(statistics.mean_at(n).double())
    expected = spectral.to_field(modes + variance.sqrt() * white, n)
    ours = initial_state(prior, statistics, SCHEDULE, 2, [5], n, dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    plain = initial_state(prior, statistics, SCHEDULE, 2, [5], n, from_prior=True)
    torch.testing.assert_close(plain, prior.draw(2, [5], n))


def test_degenerate_modes_come_from_the_start(statistics: Statistics) -> None:
    """q_0 = 0: with the right start the samples' mean mode has the data's variance Λ_0; started
    from N(0, Q) it never leaves zero spread (why the paper's Laplacian failed)."""
    prior, n = Laplacian(1.3, trace=0.4), 8
    indices = list(range(400))
    spread = []
    for from_prior in (False, True):
        options = {"from_prior": from_prior, "dtype": torch.float64}
        x = initial_state(prior, statistics, SCHEDULE, 1, indices, n, **options)
        *_, last = sample(gaussian(statistics, n, prior), x, "dpmpp2m", 10)
        spread.append(float(last.x.mean((-2, -1)).var()))
    expected = float(statistics.spectrum(n)[0, 0])
    assert spread[0] == pytest.approx(expected, rel=0.35)  # five standard errors of 400 samples
    assert spread[1] < 1e-12 * expected


class Devices(TorchDispatchMode):
    """Every operation must yield tensors on one device; copies from elsewhere are noted."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.strays, self.count = device, [], 0

    def __torch_dispatch__(  # type: ignore[override]
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.count += 1
        for leaf in tree_leaves((args, kwargs, out)):
            if isinstance(leaf, Tensor) and leaf.device.type != self.device:
                self.strays.append(f"{func} {tuple(leaf.shape)} on {leaf.device}")
        return out


@pytest.mark.parametrize("kind", ["ushaped", "fno"])
@each_sampler
def test_the_loop_stays_on_its_device(statistics: Statistics, sampler: str, kind: str) -> None:
    """The learned denoiser and its input on `meta`: from the first state to the last, no tensor is
    made on or strays to the CPU (the Brownian path apart, which is handed in)."""
    record = TINY if kind == "ushaped" else {"kind": "fno", "width": 8, "modes": 3, "depth": 1}
    network = build_network(record).to("meta")
    denoiser = Denoiser(network, PRIOR, statistics, SCHEDULE).requires_grad_(False)
    x = initial_state(PRIOR, statistics, SCHEDULE, 1, [0, 1], 16, device="meta")
    assert x.device.type == "meta"

    def noise(start: float, end: float) -> Tensor:
        return torch.empty_like(x)

    states = sample(denoiser, x, sampler, 4, noise=noise)
    next(states)  # fills the caches of this level
    with Devices("meta") as watch:
        rest = list(states)
    assert watch.count > 50
    assert not watch.strays
    assert all(s.x.device.type == s.x0.device.type == "meta" for s in rest)


def test_noise_is_made_on_the_cpu_and_copied() -> None:
    """Start and increments arrive on the device that was asked for, in its dtype."""
    increment = brownian_fields(PRIOR, 1, [0], 8, device="meta")(0.2, 0.4)
    assert (increment.device.type, increment.dtype) == ("meta", torch.float32)
    assert unit_modes(1, [0], 8, torch.float64, "meta").dtype == torch.complex128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampler": "rk4"},
            "sampler must be one of dpmpp2m, adams, ddim, heun, euler, got 'rk4'",
        ),
        ({"sampler": "euler"}, "Euler-Maruyama needs Brownian increments"),
        ({"steps": 0}, "steps must be from 1 to 1000, got 0"),
        ({"steps": 1001}, "steps must be from 1 to 1000, got 1001"),
        ({"steps": 2.0}, "steps must be a whole number, got 2.0"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"steps": 2, "times": [1.0]}, "times must be 2 decreasing numbers"),
        ({"steps": 2, "times": [0.1, 0.2]}, "times must be 2 decreasing numbers"),
        ({"steps": 2, "times": [0.5, 0.0]}, "times must"),
        ({"steps": 2, "times": [0.5, math.nan]}, "times must"),
        ({"steps": 2, "times": [1.5, 0.5]}, "times must"),
    ],
)
def test_bad_requests_fail_before_the_first_step(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(lambda x, t: x, torch.zeros(1, 1, 8, 8), **options)


def test_step_bounds_are_inside() -> None:
    assert (check_steps(1), check_steps(1000)) == (1, 1000)
