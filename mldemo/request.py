"""A validated sampling request: the type and range of every field, and the total work."""

import math
import shlex
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from mldemo.diffusion.samplers import check_steps
from mldemo.diffusion.sde import END, FIRST
from mldemo.diffusion.steps import SAMPLERS
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import FINEST, SMALLEST, check_resolution
from mldemo.space.streams import check_seed


class Score(NamedTuple):
    """A source of D(x, t): a short label for a button, and a description."""

    label: str
    description: str


SCORES = {
    "learned": Score("learned", "learned score"),
    "gaussian": Score("Gaussian", "exact score of a Gaussian"),
    "empirical": Score("empirical", "exact score of a few hundred digits"),
}
EXACT_SCORES = tuple(name for name in SCORES if name != "learned")
LARGEST_COUNT = 4096
GUIDANCE, LARGEST_GUIDANCE = 1.25, 3.0
LARGEST_WORK = 2**33  # network calls x pixels x images


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise `ValueError` unless a value is one of a few names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {str(value)[:80]!r}")


def check_number(name: str, number: float, low: float, high: float, above: bool = False) -> float:
    """Return a number in [low, high], or in (low, high] if `above`, else raise `ValueError`."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} must be a number, got {str(number)[:80]!r}")
    if not low <= number <= high or (above and number == low):
        bounds = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {bounds}, got {str(number)[:80]}")
    return float(number)


@dataclass(frozen=True, repr=False)
class Request:
    """A validated sampling request. Every field is checked; a bad one raises `ValueError`.

    `checkpoint` None means the default checkpoint of the prior, in the size for the device
    (`pipeline.default_checkpoint`). `guidance` weighs what the network adds to the linear filter
    (`mldemo.diffusion.denoiser`). Exact scores ignore both. `exponent` and `kappa` change the
    prior's spectrum; None keeps its default. A learned score can follow them only if its
    checkpoint was trained with varied priors. With `coarse_until`, a time in (1e-3, 1], the run
    starts on level `start_resolution` and changes to `resolution` at that time
    (`mldemo.diffusion.coarse`); None stays on one level.

    Its `repr` is a Python expression, and `command_line` the options of `mldemo sample`, that
    make the same request; both name only what differs from the defaults.
    """

    prior: str = "bessel"
    resolution: int = 32
    steps: int = 20
    sampler: str = "adams"
    count: int = 16
    seed: int = 7
    score: str = "learned"
    checkpoint: str | None = None
    guidance: float = GUIDANCE
    exponent: float | None = None
    kappa: float | None = None
    coarse_until: float | None = None

    def __post_init__(self) -> None:
        """Check types, ranges and the total work."""
        check_choice("prior", self.prior, PRIORS)
        check_resolution(self.resolution)
        check_steps(self.steps)
        check_choice("sampler", self.sampler, SAMPLERS)
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise ValueError(f"count must be a whole number, got {self.count!r}")
        if not 1 <= self.count <= LARGEST_COUNT:
            raise ValueError(f"count must be from 1 to {LARGEST_COUNT}, got {self.count}")
        object.__setattr__(self, "seed", check_seed(self.seed))
        check_choice("score", self.score, SCORES)
        if self.checkpoint is not None and not (
            isinstance(self.checkpoint, str) and self.checkpoint
        ):
            raise ValueError(f"checkpoint must be a name, got {self.checkpoint!r}")
        check_number("guidance", self.guidance, 0, LARGEST_GUIDANCE)
        for name, value in self.shape.items():
            if name not in {p.name for p in PRIORS[self.prior].adjustable}:
                raise ValueError(f"the {self.prior} prior has no {name}, got {name} {value!r}")
        try:
            prior = replace(PRIORS[self.prior](), **self.shape)  # checks types and ranges
        except OverflowError:  # an integer beyond every floating-point number
            raise ValueError(f"{', '.join(self.shape)} must be smaller numbers") from None
        if self.shape and not prior.trace_class:
            raise ValueError(f"the {self.prior} prior is not trace class: {prior.reason}")
        if self.coarse_until is not None:
            check_number("coarse_until", self.coarse_until, FIRST, END, above=True)
            if self.resolution % 2 or self.resolution < 2 * SMALLEST:
                raise ValueError(
                    f"coarse_until needs an even resolution from {2 * SMALLEST} to {FINEST}, "
                    f"got {self.resolution}"
                )
            if not prior.trace_class:
                raise ValueError(
                    "coarse_until needs the same noise on both levels, "
                    f"the {self.prior} prior changes: {prior.reason}"
                )
        if self.work > LARGEST_WORK:
            raise ValueError(
                f"this asks for {self.work} pixel evaluations, the bound is {LARGEST_WORK}: "
                "lower resolution, steps or count"
            )

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that are not at their default."""
        return {
            f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default
        }

    def __repr__(self) -> str:
        """A Python expression for this request."""
        return f"Request({', '.join(f'{name}={value!r}' for name, value in self.changed.items())})"

    @property
    def command_line(self) -> str:
        """The options of `mldemo sample` for this request, quoted for a shell."""
        options = self.changed.items()
        return " ".join(
            f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options
        )

    @property
    def shape(self) -> dict[str, float]:
        """The parameters of the prior that the request sets."""
        asked = {"exponent": self.exponent, "kappa": self.kappa}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def start_resolution(self) -> int:
        """The level on which the run starts: half the resolution if it starts coarse."""
        return self.resolution if self.coarse_until is None else self.resolution // 2

    @property
    def calls(self) -> int:
        """The number of denoiser calls: one more than the sampler's if the level changes."""
        return SAMPLERS[self.sampler].calls(self.steps) + (self.coarse_until is not None)

    @property
    def work(self) -> int:
        """Network calls x pixels x images; an upper bound if the run starts coarse."""
        return self.calls * self.resolution**2 * self.count


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
