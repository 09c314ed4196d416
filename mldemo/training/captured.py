"""Training on one GPU, where a step is a CUDA graph: nothing in it waits for Python.

A step of the large network has about two thousand kernels, which take a GPU a few milliseconds and
Python ten times as long to launch.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mldemo.diffusion.captured import Graph
from mldemo.diffusion.denoiser import Denoiser, Noise
from mldemo.space.spectral import resample, shift, to_modes
from mldemo.space.streams import Stream, generator
from mldemo.training.loop import Progress, Training
from mldemo.training.plan import Plan, training_times

_LISTS: Any = torch  # its operations on lists of tensors are not in its types


class _Draws(NamedTuple):
    """What is drawn for a step, at fixed addresses on the device."""

    chosen: Tensor
    times: Tensor
    met: Tensor
    offsets: Tensor
    white: Tensor


class CapturedTraining(Training):
    """A `Training` in one process whose steps are captured, one `Graph` per resolution.

    Fields and times of step i are those of `Training`, from numpy's stream for (seed, i); its
    noise is drawn by the device's own generator, seeded with (seed, i), so that a resumed run goes
    on with the same noise on the same kind of device.

    The learning rate changes from step to step, but in a graph every number is fixed. Since a step
    of the optimiser is affine in the rate, W₁ is computed for the rate 1, and the rate itself, a
    number on the device, gives W + rate (W₁ - W). The weights of `Average` are renewed likewise.

    A step is launched, not waited for, so `seconds` counts the time between steps too.
    """

    def __init__(
        self,
        plan: Plan,
        fields: Tensor,
        device: torch.device | str = "cuda",
        clock: Callable[[], float] = time.perf_counter,
        denoising: type[Denoiser] = Denoiser,
    ) -> None:
        super().__init__(plan, fields, device, clock, denoising)
        if self.world > 1:
            raise ValueError(f"captured steps are of one process, not of {self.world}")
        self.optimizer.set_rate(1.0)
        self._weights = list(self.denoiser.network.parameters())
        self._averages = list(self.average.module.parameters())
        self._before = [torch.empty_like(weight) for weight in self._weights]
        self._rate, self._renewed = torch.zeros(2, device=self.device).unbind()
        self._normal = torch.Generator(self.device)
        self._steps: dict[int, tuple[_Draws, Graph]] = {}
        self._since: float | None = None

    def _level(self, resolution: int) -> tuple[Tensor, Noise]:
        """Modes of the data, and spectra of the family, on one level and on the device."""
        if resolution not in self._levels:
            d = self.device
            parts = [to_modes(resample(p.to(d), resolution)) for p in self.fields.split(1000)]
            noise = Noise(*(v.to(d) for v in self.family.noise(resolution)))
            self._levels[resolution] = torch.cat(parts), noise
        return self._levels[resolution]

    def _captured(self, resolution: int) -> tuple[_Draws, Graph]:
        if resolution not in self._steps:
            batch, n = self.plan.batch, resolution
            whole, double = torch.zeros(batch, dtype=torch.long), torch.zeros(batch).double()
            parts = whole, double, whole, torch.zeros(batch, 2), torch.zeros(batch, 1, n, n)
            draws = _Draws(*(part.to(self.device, copy=True) for part in parts))
            graph = Graph(lambda: self._compute(draws, resolution), self.device)
            self._steps[resolution] = draws, graph
        return self._steps[resolution]

    def _draw(self, draws: _Draws) -> None:
        """Draw fields, times, priors, offsets and noise of the current step."""
        plan = self.plan
        rng = generator(Stream.TRAINING, plan.seed, self.step)
        weights = self.family.weights
        drawn = (
            rng.integers(len(self.fields), size=plan.batch),
            training_times(plan.batch, rng, plan.decisive),
            rng.choice(len(weights), plan.batch, p=weights),
            rng.uniform(-plan.shift, plan.shift, (plan.batch, 2)).astype(np.float32),
        )
        for held, values in zip(draws, drawn, strict=False):
            held.copy_(torch.from_numpy(values), non_blocking=True)
        self._normal.manual_seed(int(rng.integers(2**63)))
        draws.white.normal_(generator=self._normal)

    def _inputs(self, draws: _Draws, resolution: int) -> tuple[Tensor, Tensor, Tensor, Noise]:
        """Modes, ζ, times, spectra of Q of what was drawn."""
        data, noise = self._level(resolution)
        clean = data[draws.chosen]
        if self.plan.shift:
            clean = shift(clean, draws.offsets)
        spectra = Noise(noise.modes[draws.met], noise.shells[draws.met])
        return clean, to_modes(draws.white) * resolution, draws.times, spectra

    def _compute(self, draws: _Draws, resolution: int) -> Tensor:
        """One step from what was drawn and the numbers `_rate` and `_renewed`; its loss."""
        self.optimizer.zero_grad()
        loss = self._objective(*self._inputs(draws, resolution))
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        with torch.no_grad():
            _LISTS._foreach_copy_(self._before, self._weights)
            self.optimizer.step()
            _between(self._before, self._weights, self._rate)
            _LISTS._foreach_copy_(self._weights, self._before)
            _between(self._averages, self._weights, self._renewed)
        return loss.detach()

    def advance(self) -> Progress:
        """Take one optimiser step."""
        if self._since is None:
            self._since = self.clock() - self.seconds
        plan, average = self.plan, self.average
        index, level, inside = plan.level_of(self.step)
        resolution, rate = plan.resolution_of(self.step), plan.rate(self.step)
        draws, graph = self._captured(resolution)
        self._draw(draws)
        self._rate.fill_(rate)
        n = average.steps
        self._renewed.fill_(1 - min(average.decay, (1 + n) / (10 + n)) if n else 1.0)
        loss = graph()
        average.steps += 1
        # a replay goes past autograd, which tells caches derived from weights that they changed
        torch.autograd.graph.increment_version([*self._weights, *self._averages])
        self.step += 1
        self.seconds = self.clock() - self._since
        done = index if inside + 1 == plan.levels[index][1] else None
        where = self.step, plan.steps, level, resolution
        return Progress(*where, loss, rate, self.seconds, done)

    def _restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        super()._restore(tensors, record)
        self._steps.clear()  # the optimiser's state has new addresses
        self._since = None


def _between(values: list[Any], others: list[Any], share: Tensor) -> None:
    """The step a <- a + share (b - a), in place."""
    gaps = _LISTS._foreach_sub(others, values)
    _LISTS._foreach_mul_(gaps, share)
    _LISTS._foreach_add_(values, gaps)
