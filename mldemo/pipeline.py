"""From a request to frames: all that the app and the command line know of the core.

`Request` is the one place where wishes from outside are checked. `prepare` turns it into a `Run`;
`Run.frames()` yields one `Frame` per solver state. `pixels` is the one place that clips.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.checkpoints import (
    BUNDLE,
    Checkpoint,
    checkpoint_names,
    load_checkpoint,
    load_statistics,
    manifest_entry,
    parse,
    prior_names,
    read_manifest,
    read_verified,
)
from mldemo.data import Statistics, load_fields
from mldemo.noise import check_seed
from mldemo.oracles import EmpiricalDenoiser, GaussianDenoiser
from mldemo.priors import PRIORS, VARIED, Prior, Standard, fit_matched
from mldemo.samplers import (
    SAMPLERS,
    Denoise,
    Increment,
    brownian_fields,
    check_steps,
    default_times,
    initial_state,
    network_calls,
    sample,
)
from mldemo.sde import Schedule
from mldemo.spectral import check_resolution, radial_mean, radial_power, resample

SCORES = ("learned", "gaussian", "empirical")
EXACT_SCORES = SCORES[1:]
LARGEST_COUNT = 4096
GUIDANCE, LARGEST_GUIDANCE = 1.25, 3.0
LARGEST_WORK = 2**33  # network calls x pixels x images
GENERATED_DIGITS = "digits-generated"


def _choice(name: str, value: Any, allowed: Any) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {str(value)[:80]!r}")


def check_guidance(guidance: float) -> float:
    """Return a weight in [0, 3], else raise `ValueError`."""
    if isinstance(guidance, bool) or not isinstance(guidance, int | float):
        raise ValueError(f"guidance must be a number, got {str(guidance)[:80]!r}")
    if not 0 <= guidance <= LARGEST_GUIDANCE:
        raise ValueError(
            f"guidance must be from 0 to {LARGEST_GUIDANCE:g}, got {str(guidance)[:80]}"
        )
    return float(guidance)


@dataclass(frozen=True)
class Request:
    """What somebody wants to see. Every field is checked; a bad one raises `ValueError`.

    `checkpoint` None means the default checkpoint of the prior. `guidance` weighs what the network
    adds to the linear denoiser (`mldemo.networks.preconditioning`). Exact scores ignore both.
    `exponent` and `kappa` change the prior's spectrum; None leaves its default. A learned score
    follows them if its checkpoint was trained with varied priors.
    """

    prior: str = "bessel"
    resolution: int = 32
    steps: int = 20
    sampler: str = "dpmpp2m"
    count: int = 16
    seed: int = 7
    score: str = "learned"
    checkpoint: str | None = None
    guidance: float = GUIDANCE
    exponent: float | None = None
    kappa: float | None = None

    def __post_init__(self) -> None:
        """Check types, ranges and the total work."""
        _choice("prior", self.prior, PRIORS)
        check_resolution(self.resolution)
        check_steps(self.steps)
        _choice("sampler", self.sampler, SAMPLERS)
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise ValueError(f"count must be a whole number, got {self.count!r}")
        if not 1 <= self.count <= LARGEST_COUNT:
            raise ValueError(f"count must be from 1 to {LARGEST_COUNT}, got {self.count}")
        check_seed(self.seed)
        _choice("score", self.score, SCORES)
        if self.checkpoint is not None and not isinstance(self.checkpoint, str):
            raise ValueError(f"checkpoint must be a name, got {self.checkpoint!r}")
        check_guidance(self.guidance)
        for name, value in self.shape.items():
            if name not in {f.name for f in fields(PRIORS[self.prior])}:
                raise ValueError(f"the {self.prior} prior has no {name}, got {name} {value!r}")
            replace(PRIORS[self.prior](), **{name: value})  # checks type and range
        if self.work > LARGEST_WORK:
            raise ValueError(
                f"this asks for {self.work} pixel evaluations, the bound is {LARGEST_WORK}: "
                "lower resolution, steps or count"
            )

    @property
    def shape(self) -> dict[str, float]:
        """The parameters of the prior that were asked for."""
        asked = {"exponent": self.exponent, "kappa": self.kappa}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def calls(self) -> int:
        """How often the denoiser is asked."""
        return network_calls(self.sampler, self.steps)

    @property
    def work(self) -> int:
        """Network calls x pixels x images."""
        return self.calls * self.resolution**2 * self.count


@dataclass(frozen=True)
class Frame:
    """One solver state, on the CPU: fields x_t and x_0 (B, 1, N, N) and how far the run is.

    `power` is the radial power spectrum of x_t, averaged over the batch, shells 0, 1, ….
    `step_seconds` is the compute time since the last frame, `seconds` since the first call.
    """

    step: int
    steps: int
    time: float
    alpha: float
    sigma: float
    x: Tensor
    x0: Tensor
    power: Tensor
    calls: int
    seconds: float
    step_seconds: float

    @property
    def log_snr(self) -> float:
        """log(α/σ), infinite in the last state."""
        return math.log(self.alpha / self.sigma) if self.sigma > 0 else math.inf


def pixels(field: Tensor) -> Tensor:
    """Fields (..., N, N) as uint8 greys: [-1, 1] -> 0..255, clipped here and nowhere else."""
    return ((field + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def checkpoints_for(prior: str, folder: Path = BUNDLE) -> list[str]:
    """The checkpoints trained with this prior, the default first."""
    files = read_manifest(folder)["files"]
    return [name for name in checkpoint_names(folder) if prior in prior_names(files[name])]


@lru_cache(maxsize=4)
def default_statistics(folder: Path = BUNDLE) -> Statistics:
    """Mean and spectrum of the default checkpoint's data, for everything that learns nothing."""
    return load_statistics(read_manifest(folder)["default"], folder)[0]


def default_prior(name: str, statistics: Statistics) -> Prior:
    """The prior with its default parameters and the data's trace (`standard`: 1 per pixel)."""
    _choice("prior", name, PRIORS)
    if name == "matched":
        return fit_matched(statistics.power, statistics.variance)
    if name == "standard":
        return Standard()
    return replace(PRIORS[name](), **{"trace": statistics.variance})


@dataclass(frozen=True)
class Run:
    """A request with everything it needs, ready to be computed (many times, by many users)."""

    request: Request
    prior: Prior
    statistics: Statistics
    schedule: Schedule
    denoise: Denoise
    device: torch.device
    checkpoint: str | None
    trained_levels: list[int]
    source: str | None = None  # where the checkpoint was found

    @property
    def prior_power(self) -> Tensor:
        """Radial mean of q_k over the shells of the run's level."""
        n = self.request.resolution
        return radial_mean(self.prior.eigenvalues(n), n)

    @property
    def data_power(self) -> Tensor:
        """Radial mean of Λ_k on the run's level; `Frame.power` holds |m̂_k|² besides."""
        n = self.request.resolution
        return radial_mean(self.statistics.spectrum(n), n)

    @property
    def times(self) -> list[float]:
        """The times of all steps + 1 states, from 1 down to 1e-3, then 0."""
        return [*default_times(self.schedule, self.request.sampler, self.request.steps), 0.0]

    @property
    def alphas(self) -> list[float]:
        """α_t of all states."""
        return self.schedule.alpha(torch.tensor(self.times, dtype=torch.float64)).tolist()

    @property
    def sigmas(self) -> list[float]:
        """σ_t of all states."""
        return self.schedule.sigma(torch.tensor(self.times, dtype=torch.float64)).tolist()

    def start(self, indices: list[int]) -> Tensor:
        """x_T of these samples, on the run's device."""
        where = (self.prior, self.statistics, self.schedule, self.request.seed, indices)
        return initial_state(*where, self.request.resolution, device=self.device)

    def increments(self, indices: list[int]) -> Increment | None:
        """Their Brownian increments, if the sampler is stochastic."""
        r = self.request
        if r.sampler != "euler":
            return None
        return brownian_fields(self.prior, r.seed, indices, r.resolution, self.device)

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[Frame]:
        """Compute the run, one frame per solver state: steps + 1 of them.

        `indices` picks samples of the run's seed, by default 0 … count - 1. Noise is drawn on the
        CPU and copied in, finished frames are copied out; nothing else crosses between devices.
        """
        r = self.request
        start = last = time.perf_counter()
        indices = list(range(r.count) if indices is None else indices)
        x, noise = self.start(indices), self.increments(indices)
        states = sample(self.denoise, x, r.sampler, r.steps, self.schedule, noise)
        for state in states:
            t = torch.tensor(state.time, dtype=torch.float64)
            x, x0 = state.x.cpu(), state.x0.cpu()
            power = radial_power(x).mean((0, 1))
            now = time.perf_counter()
            yield Frame(
                step=state.step,
                steps=state.steps,
                time=state.time,
                alpha=float(self.schedule.alpha(t)),
                sigma=float(self.schedule.sigma(t)),
                x=x,
                x0=x0,
                power=power,
                calls=state.calls,
                seconds=now - start,
                step_seconds=now - last,
            )
            last = time.perf_counter()

    def result(self, indices: Sequence[int] | None = None) -> Frame:
        """Only the last frame."""
        return deque(self.frames(indices), maxlen=1)[0]


def prepare(
    request: Request,
    device: torch.device | str = "cpu",
    folder: Path = BUNDLE,
    data: Path | None = None,
) -> Run:
    """Find the checkpoint or the oracle that a request needs.

    A prior without a checkpoint, or a checkpoint of another prior, raises `ValueError` with what
    can be done instead. `data` is an IDX folder for the empirical score; without it a few hundred
    digits that the default checkpoint generated are used.
    """
    device = torch.device(device)
    if request.score == "learned":
        return _learned(request, device, folder)
    statistics = default_statistics(folder)
    prior = replace(default_prior(request.prior, statistics), **request.shape)
    schedule, n = Schedule(), request.resolution
    denoise: Denoise
    if request.score == "gaussian":
        mean, spectrum = statistics.mean_at(n), statistics.spectrum(n)
        denoise = GaussianDenoiser(mean.to(device), spectrum.to(device), prior, schedule)
    else:
        denoise = EmpiricalDenoiser(_points(folder, data, n).to(device), prior, schedule)
    return Run(request, prior, statistics, schedule, denoise, device, None, [])


def _learned(request: Request, device: torch.device, folder: Path) -> Run:
    known = checkpoints_for(request.prior, folder)
    if request.checkpoint is None and not known:
        raise ValueError(
            f"no checkpoint was trained with the {request.prior} prior yet; "
            f"these scores work without one: {', '.join(EXACT_SCORES)}"
        )
    name = request.checkpoint or known[0]
    trained = prior_names(manifest_entry(name, folder))
    if request.prior not in trained:
        raise ValueError(
            f"checkpoint {name} was trained with {', '.join(trained)}, not with {request.prior}: "
            f"choose such a prior, or a checkpoint of {request.prior}"
            f" ({', '.join(known) or 'there is none yet'})"
        )
    return run_of(request, load_checkpoint(name, folder, device), device)


def run_of(request: Request, checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Run:
    """A run of a loaded checkpoint, under the request's prior."""
    c = checkpoint
    prior = next(p for p in c.priors if p.name == request.prior)
    if request.shape and not c.serves_any_prior:
        raise ValueError(
            f"checkpoint {c.name} was trained with one {prior.name} prior only: "
            f"{', '.join(request.shape)} cannot be changed"
        )
    for name, value in request.shape.items():
        low, high = VARIED[name]
        if not low <= value <= high:
            raise ValueError(f"{name} was from {low:g} to {high:g} in training, got {value:g}")
    prior = replace(prior, **request.shape)
    denoise = c.denoiser(prior, request.guidance)
    parts = prior, c.statistics, c.schedule, denoise, torch.device(device)
    return Run(request, *parts, c.name, c.trained_levels, c.source)


@lru_cache(maxsize=8)
def _points(folder: Path, data: Path | None, resolution: int) -> Tensor:
    """The finite data set of the empirical score on level N."""
    if data is not None:
        return resample(load_fields(data), resolution)
    tensors, _ = parse(read_verified(GENERATED_DIGITS, folder)[0], GENERATED_DIGITS)
    return resample(tensors["fields"], resolution)


def request_from(values: dict[str, Any]) -> Request:
    """A request from untyped values (a form, a URL); unknown names raise `ValueError`."""
    unknown = set(values) - {f.name for f in fields(Request)}
    if unknown:
        raise ValueError(f"a request has no {', '.join(sorted(map(str, unknown)))}")
    whole = {}
    for name, value in values.items():
        if name in ("resolution", "steps", "count", "seed"):
            if isinstance(value, float) and math.isfinite(value) and value == int(value):
                value = int(value)
        whole[name] = value
    return Request(**whole)
