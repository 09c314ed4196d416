"""From a request to frames: the interface of the core to the app and the command line.

`prepare` turns a checked `Request` into a `Run`; `Run.frames()` yields one `Frame` per solver
state.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mldemo.data.sets import open_data
from mldemo.data.statistics import Statistics
from mldemo.diffusion.captured import captured
from mldemo.diffusion.coarse import Process, change_of_level, sample_coarse_to_fine
from mldemo.diffusion.oracles import EmpiricalDenoiser, GaussianDenoiser
from mldemo.diffusion.samplers import (
    Denoise,
    State,
    brownian_fields,
    initial_pair,
    initial_state,
    sample,
)
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS, Increment
from mldemo.request import EXACT_SCORES, Request
from mldemo.space.covariance import Prior
from mldemo.space.spectral import radial_mean, radial_power, resample
from mldemo.store.checkpoints import Checkpoint, load_checkpoint, load_statistics, parse
from mldemo.store.family import suited
from mldemo.store.manifest import (
    BUNDLE,
    checkpoint_names,
    manifest_entry,
    prior_names,
    read_manifest,
    read_verified,
)

GENERATED_DIGITS = "digits-generated"


@dataclass(frozen=True)
class Frame:
    """One solver state, on the CPU: fields x_t and x_0 (B, 1, N, N) and how far the run is.

    N is the run's level in every frame: states on a coarser level are prolonged to it.
    `power` is the radial power spectrum of x_t, averaged over the batch, shells 0, 1, ….
    `step_seconds` is the compute time of this frame; `seconds` is the time since the run began,
    including what the caller did between frames.
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


def checkpoints_for(prior: str, folder: Path = BUNDLE) -> list[str]:
    """The checkpoints that can be used with a prior, the default first.

    They were trained with it or with varied priors; the latter generalise to other priors, because
    the network is conditioned on a prior only through signal-to-noise ratios.
    """
    files = read_manifest(folder)["files"]
    return [
        name
        for name in checkpoint_names(folder)
        if prior in prior_names(files[name]) or files[name].get("variations")
    ]


def default_checkpoint(
    prior: str, device: torch.device | str = "cpu", folder: Path = BUNDLE
) -> str | None:
    """The checkpoint of a request that names none: the first of `checkpoints_for`, or None.

    If it exists in two sizes, the one for the device: the large network on a GPU (`suited`).
    """
    known = checkpoints_for(prior, folder)
    return suited(known[0], device, folder) if known else None


@lru_cache(maxsize=4)
def default_statistics(folder: Path = BUNDLE) -> Statistics:
    """Mean and spectrum of the default checkpoint's data, for whatever needs no network."""
    return load_statistics(read_manifest(folder)["default"], folder)[0]


@dataclass(frozen=True)
class Run:
    """A request with everything it needs, ready to be computed (many times, by many users).

    `coarse` denoises on the level on which the run starts, if `denoise` works on one level only.
    """

    request: Request
    prior: Prior
    statistics: Statistics
    schedule: Schedule
    denoise: Denoise
    device: torch.device
    checkpoint: str | None
    trained_levels: list[int]
    source: str | None = None  # where the checkpoint was found
    coarse: Denoise | None = None

    @property
    def prior_power(self) -> Tensor:
        """Radial mean of q_k over the shells of the run's level."""
        n = self.request.resolution
        return radial_mean(self.prior.eigenvalues(n), n)

    @property
    def data_power(self) -> Tensor:
        """Radial mean of Λ_k on the run's level; `Frame.power` also contains |m̂_k|²."""
        n = self.request.resolution
        return radial_mean(self.statistics.spectrum(n), n)

    @property
    def times(self) -> list[float]:
        """The times of all steps + 1 states, from 1 down, the last one 0."""
        sampler = SAMPLERS[self.request.sampler]
        return [*sampler.times(self.schedule, self.request.steps), 0.0]

    @property
    def change(self) -> int | None:
        """Index of the first state on the run's own level; None if all states are."""
        until = self.request.coarse_until
        return None if until is None else change_of_level(self.times[:-1], until)

    @property
    def alphas(self) -> list[float]:
        """α_t of all states."""
        return self.schedule.alpha(torch.tensor(self.times, dtype=torch.float64)).tolist()

    @property
    def sigmas(self) -> list[float]:
        """σ_t of all states."""
        return self.schedule.sigma(torch.tensor(self.times, dtype=torch.float64)).tolist()

    def start(self, indices: list[int]) -> Tensor:
        """x_T of these samples, on the level on which the run starts and on its device."""
        where = (self.prior, self.statistics, self.schedule, self.request.seed, indices)
        return initial_state(*where, self.request.start_resolution, device=self.device)

    def start_pair(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Independent x_0 of the Gaussian model and η with α_T x_0 + σ_T η = `start`."""
        where = (self.prior, self.statistics, self.schedule, self.request.seed, indices)
        return initial_pair(*where, self.request.resolution, device=self.device)

    def increments(self, indices: list[int]) -> Increment | None:
        """The Brownian increments of these samples; None if the sampler is deterministic."""
        r = self.request
        if not SAMPLERS[r.sampler].stochastic:
            return None
        return brownian_fields(self.prior, r.seed, indices, r.resolution, self.device)

    def _states(self, indices: list[int]) -> Iterator[State]:
        r, x = self.request, self.start(indices)
        if r.coarse_until is None:
            noise = self.increments(indices)
            return sample(self.denoise, x, r.sampler, r.steps, self.schedule, noise)
        process = Process(self.prior, self.statistics, self.schedule, r.seed, indices)
        parts = self.coarse or self.denoise, self.denoise, process, x, r.resolution
        return sample_coarse_to_fine(*parts, r.coarse_until, r.sampler, r.steps)

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[Frame]:
        """Compute the run, one frame per solver state: steps + 1 of them.

        `indices` picks samples of the run's seed, by default 0 … count - 1. Noise is drawn on the
        CPU and copied to the device, finished frames are copied back; nothing else is transferred.
        """
        r = self.request
        start = last = time.perf_counter()
        indices = list(range(r.count) if indices is None else indices)
        for state in self._states(indices):
            t = torch.tensor(state.time, dtype=torch.float64)
            x, x0 = (_on_level(field.cpu(), r.resolution) for field in (state.x, state.x0))
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


def _on_level(field: Tensor, resolution: int) -> Tensor:
    return field if field.shape[-1] == resolution else resample(field, resolution)


def prepare(
    request: Request,
    device: torch.device | str = "cpu",
    folder: Path = BUNDLE,
    data: str | Path | None = None,
) -> Run:
    """Find the checkpoint or the oracle that a request needs.

    A prior without a checkpoint, or a checkpoint of another prior, raises `ValueError` and says
    what can be done instead. `data` names a data set or its folder for the empirical score; by
    default a few hundred digits generated by the default checkpoint are used.
    """
    device = torch.device(device)
    if request.score == "learned":
        return _learned(request, device, folder)
    statistics = default_statistics(folder)
    prior = replace(statistics.prior(request.prior), **request.shape)
    schedule = Schedule()

    def exact(n: int) -> Denoise:
        if request.score == "empirical":
            return EmpiricalDenoiser(_points(folder, data, n).to(device), prior, schedule)
        mean, spectrum = statistics.mean_at(n), statistics.spectrum(n)
        return GaussianDenoiser(mean.to(device), spectrum.to(device), prior, schedule)

    denoise = exact(request.resolution)
    coarse = None if request.coarse_until is None else exact(request.start_resolution)
    return Run(request, prior, statistics, schedule, denoise, device, None, [], coarse=coarse)


def _learned(request: Request, device: torch.device, folder: Path) -> Run:
    known = checkpoints_for(request.prior, folder)
    name = request.checkpoint or default_checkpoint(request.prior, device, folder)
    if name is None:
        raise ValueError(
            f"no checkpoint was trained with the {request.prior} prior yet; "
            f"these scores work without one: {', '.join(EXACT_SCORES)}"
        )
    trained = prior_names(manifest_entry(name, folder))
    if name not in known:
        raise ValueError(
            f"checkpoint {name} was trained with {', '.join(trained)}, not with {request.prior}: "
            f"choose such a prior, or a checkpoint of {request.prior}"
            f" ({', '.join(known) or 'there is none yet'})"
        )
    return run_of(request, load_checkpoint(name, folder, device), device)


def run_of(request: Request, checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Run:
    """A run of a loaded checkpoint, under the request's prior."""
    c = checkpoint
    prior = next((p for p in c.priors if p.name == request.prior), None)
    if prior is None:  # trained with varied priors, but not with this one
        prior = c.statistics.prior(request.prior)
    if request.shape and not c.serves_any_prior:
        raise ValueError(
            f"checkpoint {c.name} was trained with one {prior.name} prior only: "
            f"{', '.join(request.shape)} cannot be changed"
        )
    for parameter in prior.adjustable:
        value = request.shape.get(parameter.name)
        if value is not None and value not in parameter:
            raise ValueError(
                f"{parameter.name} was from {parameter.low:g} to {parameter.high:g} in training, "
                f"got {value:g}"
            )
    prior = replace(prior, **request.shape)
    denoise, device = c.denoiser(prior, request.guidance), torch.device(device)
    called: Denoise = captured(denoise) if device.type == "cuda" else denoise
    parts = prior, c.statistics, c.schedule, called, device
    return Run(request, *parts, c.name, c.trained_levels, c.source)


@lru_cache(maxsize=8)
def _points(folder: Path, data: str | Path | None, resolution: int) -> Tensor:
    """The finite data set of the empirical score on level N."""
    if data is not None:
        return open_data(data).fields("train", resolution)
    tensors, _ = parse(read_verified(GENERATED_DIGITS, folder)[0], GENERATED_DIGITS)
    fields = tensors.get("fields", torch.empty(0))
    if fields.ndim != 4 or not len(fields):
        raise ValueError(f"{GENERATED_DIGITS} must hold fields (B, 1, N, N), got {fields.shape}")
    return resample(fields, resolution)
