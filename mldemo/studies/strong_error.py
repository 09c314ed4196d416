"""The strong error of a sampler on a mixture of digits: ‖x_n - x_∞‖ on one path of the noise."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.diffusion.oracles import EmpiricalDenoiser, MixtureDenoiser
from mldemo.diffusion.samplers import brownian_fields, sample
from mldemo.diffusion.steps import SAMPLERS, check_sampler
from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import to_field
from mldemo.store.manifest import BUNDLE

MIXTURE_STEPS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224)
REFERENCE = "adams"  # where the flow leads: with many steps it has the least error


def bundled_mixture(folder: Path = BUNDLE, components: int = 10) -> MixtureDenoiser:
    """Gaussians on level 32 around generated digits, each with half of the data's spectrum."""
    statistics = default_statistics(folder)
    digits = prepare(Request(score="empirical"), folder=folder).denoise
    assert isinstance(digits, EmpiricalDenoiser)
    means = digits.fields[:components].double()
    weights = torch.full((components,), 1 / components, dtype=torch.float64)
    spectrum = 0.5 * statistics.spectrum(Request.resolution)
    prior = statistics.prior(Request.prior)
    return MixtureDenoiser(means, weights, spectrum, prior)


@dataclass
class StrongErrors:
    """The strong error ‖x_n - x_∞‖ of every sampler on one mixture, with coupled noise.

    Every run starts from the same draw of N(0, Q) and, if it is stochastic, follows the same
    Brownian path. x_∞ is a run with `finest` steps: of the same sampler if it is stochastic, else
    of `REFERENCE`, since the deterministic ones share one flow.
    """

    denoise: MixtureDenoiser
    count: int = 8
    finest: int = 480
    seed: int = 7

    def __post_init__(self) -> None:
        """Draw the start."""
        n = self.denoise.means.shape[-1]
        self._indices = list(range(self.count))
        white = unit_modes(self.seed, self._indices, n, torch.float64)
        self._start = to_field(self.denoise.prior.colour(white), n)
        self._references: dict[str, Tensor] = {}

    def end(self, sampler: str, steps: int) -> Tensor:
        """The result of `steps` steps from the start."""
        path, prior = None, self.denoise.prior
        if SAMPLERS[sampler].stochastic:
            n = self._start.shape[-1]
            path = brownian_fields(prior, self.seed, self._indices, n, dtype=torch.float64)
        states = sample(self.denoise, self._start, sampler, steps, self.denoise.schedule, path)
        return deque(states, maxlen=1)[0].x

    def curve(
        self, sampler: str, steps: Sequence[int] = MIXTURE_STEPS
    ) -> Iterator[dict[str, Any]]:
        """One point per step count, relative to √(E‖x_∞‖²).

        `error` is the median over the samples, `rms` the root mean square, which a single sample
        that ends at another digit dominates.
        """
        finest = sampler if check_sampler(sampler).stochastic else REFERENCE
        if finest not in self._references:
            self._references[finest] = self.end(finest, self.finest)
        reference = self._references[finest]
        unit = reference.square().mean().sqrt()
        for n in steps:
            gap = (self.end(sampler, n) - reference).square().mean((1, 2, 3)).sqrt() / unit
            yield {
                "steps": n,
                "calls": check_sampler(sampler).calls(n),
                "error": float(gap.median()),
                "rms": float(gap.square().mean().sqrt()),
            }
