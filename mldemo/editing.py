"""Editing a given function: dissolve it, denoise it from any time, complete a known part of it.

All of these are the sampling loop with another start or another denoiser. η is one draw of
N(0, Q) per sample, the same at every time, and is passed in as fields (`Prior.draw`), so one seed
gives the same edit on every level.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mldemo.diffusion.conditioning import METHODS, ConditionalDenoiser, Known, LowModes, Pixels
from mldemo.diffusion.samplers import Denoise, State, sample
from mldemo.diffusion.sde import END, Schedule, check_time, diffuse
from mldemo.diffusion.steps import Increment, check_sampler
from mldemo.pipeline import Run
from mldemo.request import Request, check_choice
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.spectral import check_resolution

KINDS = ("denoise", "extend", "inpaint")


def check_field(field: Tensor) -> Tensor:
    """Return finite real fields (B, 1, N, N) on a level, else raise `ValueError`."""
    if field.ndim != 4 or field.shape[1] != 1 or field.shape[2] != field.shape[3]:
        raise ValueError(f"fields must have shape (B, 1, N, N), got {tuple(field.shape)}")
    check_resolution(field.shape[-1])
    if not field.is_floating_point():
        raise ValueError(f"fields must be real numbers, got {field.dtype}")
    if not bool(field.isfinite().all()):
        raise ValueError("the field holds values that are not finite")
    return field


def dissolve(
    clean: Tensor, noise: Tensor, times: Sequence[float], schedule: Schedule | None = None
) -> Iterator[State]:
    """The forward process at increasing times: x_t = α_t x_0 + σ_t η, one η for all of them.

    Yields one state per time in [0, 1], with x0 = x_0 and no call of a denoiser.
    """
    schedule, clean = schedule or Schedule(), check_field(clean)
    if not times or not all(0 <= t <= END for t in times):
        raise ValueError(f"times must be numbers in [0, 1], at least one, got {list(times)}")
    if any(a >= b for a, b in pairwise(times)):
        raise ValueError(f"times must rise, got {list(times)}")

    def states() -> Iterator[State]:
        for i, t in enumerate(times):
            x = diffuse(schedule, clean, noise, torch.tensor(t, dtype=torch.float64))
            yield State(i, len(times) - 1, float(t), x, clean.expand_as(x), 0)

    return states()


def denoise_from(
    denoise: Denoise,
    clean: Tensor,
    noise: Tensor,
    time: float,
    sampler: str = Request.sampler,
    steps: int = 20,
    schedule: Schedule | None = None,
    increments: Increment | None = None,
) -> Iterator[State]:
    """Noise x_0 to the time t in (1e-3, 1], then run the reverse process from there.

    SDEdit (arXiv 2108.01073): what the noise hides in x_t = α_t x_0 + σ_t η is generated again,
    the rest is kept. Yields `steps` + 1 states, as `sample` does; stochastic samplers need
    `increments`.
    """
    schedule, clean = schedule or Schedule(), check_field(clean)
    x = diffuse(schedule, clean, noise, torch.tensor(check_time(time), dtype=torch.float64))
    times = check_sampler(sampler).times(schedule, steps, time)
    return sample(denoise, x, sampler, steps, schedule, increments, times)


def complete(
    denoise: Denoise,
    clean: Tensor,
    noise: Tensor,
    value: Tensor,
    known: Known,
    prior: Prior,
    spectrum: Tensor,
    sampler: str = Request.sampler,
    steps: int = 20,
    schedule: Schedule | None = None,
    increments: Increment | None = None,
    method: str = "linear",
) -> Iterator[State]:
    """Keep the known part of `value` and generate the rest: X_0 given P X_0 = y.

    `clean` and `noise` are independent draws x of N(m, Λ) and η of N(0, Q) (`initial_pair`). The
    run starts from x_T = α_T x_y + σ_T η with x_y = x + Λ Pᵀ(P Λ Pᵀ)⁻¹(y - P x), P x_y = y, which
    is a draw of x given y: a mode that noise does not reach (q = 0) keeps what it starts with.
    It denoises with `ConditionalDenoiser`. For Gaussian data with this mean and spectrum that is
    the conditional law, under every prior; otherwise it is an approximation. For Gaussian data,
    keeping modes leaves the free ones as in the unconditioned run. The last state agrees with
    `value` on the known part up to rounding.
    """
    schedule, value = schedule or Schedule(), check_field(value)
    data = Diagonal(spectrum).like(clean)
    given = clean + data.apply(known.solve(known.part(value - clean), data))
    end = torch.tensor(END, dtype=torch.float64)
    x = diffuse(schedule, known.impose(given, value), noise, end)
    conditional = ConditionalDenoiser(denoise, known, value, prior, spectrum, schedule, method)
    return sample(conditional, x, sampler, steps, schedule, increments)


@dataclass(frozen=True)
class Edit:
    """What to do with a given function; a bad value raises `ValueError`.

    kind: "denoise" noises it to `time` and denoises it from there; "extend" keeps its modes
        |k|∞ ≤ `cutoff` and generates the rest; "inpaint" generates where `region` (N, N) is true.
    method: of `ConditionalDenoiser`, for the last two.
    """

    kind: str = "denoise"
    time: float = 0.5
    cutoff: int = 3
    region: Tensor | None = None
    method: str = "linear"

    def __post_init__(self) -> None:
        """Check what can be checked without knowing the level."""
        check_choice("kind", self.kind, KINDS)
        check_choice("method", self.method, METHODS)
        check_time(self.time)
        if self.kind == "inpaint" and (self.region is None or not bool(self.region.any())):
            raise ValueError("in-painting needs a region: brush over what is to be generated")

    def known(self, resolution: int) -> Known:
        """The part that is kept on level N; "denoise" keeps none and raises `ValueError`."""
        if self.kind == "extend":
            return LowModes(self.cutoff, resolution)
        if self.kind == "inpaint" and self.region is not None:
            if self.region.shape != (resolution, resolution):
                raise ValueError(
                    f"the region must have shape ({resolution}, {resolution}), "
                    f"got {tuple(self.region.shape)}"
                )
            return Pixels(~self.region)
        raise ValueError(f"{self.kind} keeps no part of the function exactly")


def edit(run: Run, clean: Tensor, change: Edit) -> Iterator[State]:
    """Edit x_0 (1 or B, 1, N, N) as a prepared run prescribes: `steps` + 1 states, lazily.

    The run determines the seed of η, the sampler, steps, score and device; its `count` edits of
    one function differ only in their noise. Edits run on one level: a request with `coarse_until`
    raises `ValueError`.
    """
    r, n = run.request, run.request.resolution
    if r.coarse_until is not None:
        raise ValueError(f"an edit runs on one level, got coarse_until {r.coarse_until:g}")
    if check_field(clean).shape[-1] != n:
        raise ValueError(f"the field has level {clean.shape[-1]}, the run has {n}")
    indices = list(range(r.count))
    clean = clean.to(run.device, torch.float32).expand(r.count, -1, -1, -1)
    loop = (r.sampler, r.steps, run.schedule, run.increments(indices))
    if change.kind == "denoise":
        noise = run.prior.draw(r.seed, indices, n, device=run.device)
        return denoise_from(run.denoise, clean, noise, change.time, *loop)
    known = change.known(n)
    data = (run.prior, run.statistics.spectrum(n))
    pair = run.start_pair(indices)
    return complete(run.denoise, *pair, clean, known, *data, *loop, change.method)
