"""Priors: eigenvalues, trace and draws of two to four covariance operators, one seed."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mldemo.pipeline import checkpoints_for, default_prior, default_statistics, prepare
from mldemo.request import Request, request_from
from mldemo.space.covariance import Prior
from mldemo.space.noise import unit_modes
from mldemo.space.priors import PRIORS, VARIED
from mldemo.space.spectral import multiplicity, radial_mean, radius, to_field
from mldemo.store.checkpoints import manifest_entry
from mldemo.ui.fields import Choice, Number, Several, seed_field
from mldemo.ui.limits import checked
from mldemo.ui.programs import draws_command, draws_program
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import names
from mldemo.ui.wire import END, Record, floats, frame_record, grey

LEVELS = (8, 16, 32, 64, 128, 256)
CRITICAL = 1.0  # Σ_{k ∈ Z²} |k|^{-2s} is finite iff s > 1
UNTRAINED = "no network here was trained under such a prior"
RAISED = str.maketrans("0123456789.", "⁰¹²³⁴⁵⁶⁷⁸⁹·")
SAMPLE = {"resolution": 32, "steps": 10, "count": 4}
FORMULAS = {
    "standard": "qₖ = 1/N²",
    "laplacian": "qₖ ∝ |2πk|⁻²ˢ",
    "bessel": "qₖ ∝ (κ² + 4π²|k|²)⁻ˢ, κ = 2π/ℓ",
    "fno": "qₖ ∝ Rₖ² for |k|∞ ≤ 14, else 0",
    "combined": "qₖ ∝ (√q of laplacian + ½√q of fno)²",
    "matched": "qₖ ∝ (k₀² + |k|²)⁻ˢ, fitted to the data",
}
FOLLOWS = {"laplacian": ("exponent",), "bessel": ("exponent", "kappa"), "combined": ("exponent",)}


class Spectrum:
    """The eigenvalues of a prior with the sliders' parameters, trace class or not.

    At or below the critical exponent there is no operator to normalise: σ² is then chosen so that
    the level N = 16 holds the data's variance, which leaves the growth with N to be seen.
    """

    def __init__(self, name: str, exponent: float, length: float, place: Place) -> None:
        statistics = default_statistics(place.folder)
        self.name, self.variance = name, statistics.variance
        shape = {"exponent": exponent, "kappa": 2 * math.pi / length}
        self.shape = {key: shape[key] for key in FOLLOWS.get(name, ())}
        self.diverges = bool(self.shape) and exponent <= CRITICAL
        self.prior: Prior | None = None
        if not self.diverges:
            self.prior = replace(default_prior(name, statistics), **self.shape)

    def eigenvalues(self, resolution: int) -> Tensor:
        """q_k on level N, (N, N//2 + 1) float64."""
        if self.prior is not None:
            return self.prior.eigenvalues(resolution)
        return self._shape(resolution) * (self.variance / self._sum(16))

    def _shape(self, n: int) -> Tensor:
        # the combined prior's filter is of finite rank: its Laplacian part alone decides
        square = 4 * math.pi**2 * radius(n) ** 2 + self.shape.get("kappa", 0.0) ** 2
        power = square.clamp(min=1e-9) ** -self.shape["exponent"]
        return torch.where((multiplicity(n) > 0) & (square > 0), power, 0.0)

    def _sum(self, n: int) -> float:
        return float((multiplicity(n) * self._shape(n)).sum())

    def trace(self, resolution: int) -> float:
        """Σ_{k ∈ H_N} q_k."""
        return float((multiplicity(resolution) * self.eigenvalues(resolution)).sum())

    def request(self, resolution: int, seed: int) -> Request:
        """Four draws of it."""
        return request_from(
            {"prior": self.name, "resolution": resolution, "count": 4, "seed": seed, **self.shape}
        )

    @property
    def trace_class(self) -> bool:
        """Whether Σ_k q_k is finite."""
        return self.prior is not None and self.prior.trace_class

    @property
    def reason(self) -> str:
        """Why it is, or is not, trace class."""
        s = self.shape.get("exponent")
        if self.prior is not None and s is None:
            s = getattr(self.prior, "exponent", None)
        if self.name == "standard":
            return "qₖ = 1/N² keeps Σ qₖ below 1, so the noise at every fixed frequency vanishes"
        if self.name == "fno":
            return "finitely many qₖ are not 0"
        if self.diverges and s is not None:
            power = f"{2 - 2 * s:.2g}".translate(RAISED)
            growth = "like log N" if s == CRITICAL else f"like N{power}"
            return (
                f"s = {s:.2f} ≤ 1: Σ qₖ grows {growth}, there is no random function in the limit"
            )
        return f"s = {s:.2f} > 1: Σ |k|⁻²ˢ converges in two dimensions"


def sample_of(s: Spectrum, seed: int, place: Place) -> Tensor | None:
    """Pictures under this very prior, if a network was trained over the family; else None."""
    if s.prior is None or not names(place):
        return None
    known = checkpoints_for(s.name, place.folder)
    varied = [n for n in known if manifest_entry(n, place.folder).get("variations")]
    inside = all(VARIED[key][0] <= v <= VARIED[key][1] for key, v in s.shape.items())
    if not varied or not inside:
        return None
    request = checked(
        {"prior": s.name, "seed": seed, "checkpoint": varied[0], **SAMPLE, **s.shape}
    )
    return prepare(request, place.device, place.folder).result().x0


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """A record per prior: spectrum, traces, draws; then what a conditioned network makes of it."""
    n, seed = values["n"], values["seed"]
    chosen = values["priors"]
    spectra = [Spectrum(p, values["s"], values["length"], place) for p in chosen]
    head = {"kind": "head", "steps": 0, "device": place.device.type, "priors": chosen}
    head |= {"resolution": n, "seed": seed, "levels_shown": LEVELS}
    found = [s.prior for s in spectra if s.prior is not None]
    head["python"] = draws_program(found, seed, n)
    head["command"] = draws_command([s.request(n, seed) for s in spectra if s.prior is not None])
    yield head, {}
    modes = unit_modes(seed, range(4), n)
    for i, s in enumerate(spectra):
        q, finest = s.eigenvalues(n), s.eigenvalues(LEVELS[-1])
        draws = to_field(modes * q.sqrt().to(torch.float32), n)
        traces = [s.trace(level) for level in LEVELS]
        total = s.prior.total if s.prior is not None else math.inf
        meta = {
            "kind": "prior",
            "index": i,
            "name": s.name,
            "formula": FORMULAS[s.name],
            "trace_class": s.trace_class,
            "reason": s.reason,
            "total": total if math.isfinite(total) else None,
            "mean_is_noisy": bool(q[0, 0] > 0),
        }
        arrays = {
            "q": floats(radial_mean(finest, LEVELS[-1])),
            "traces": floats(torch.tensor(traces)),
            "draws": grey(draws),
        }
        yield meta, arrays
    yield frame_record(0, {}, {})
    for i, s in enumerate(spectra):
        made = sample_of(s, seed, place)
        if made is None:
            yield {"kind": "sample", "index": i, "count": 0, "why": UNTRAINED}, {}
        else:
            yield {"kind": "sample", "index": i, **SAMPLE}, {"pixels": grey(made)}
    yield END


def tab(place: Place) -> Tab:
    """The tab; it follows its sliders at once."""
    matched = [(name, name) for name in PRIORS]
    return Tab(
        id="priors",
        title="Priors",
        fields=(
            Several(
                "priors",
                "Priors (two to four)",
                ["bessel", "laplacian", "standard"],
                matched,
                2,
                4,
                why="Laws of random functions: a variance qₖ for every frequency k. All are drawn "
                "from the same white noise, so that only the law differs.",
            ),
            Number(
                "s",
                "Exponent s (laplacian, bessel, combined)",
                1.5,
                0.5,
                3.0,
                0.05,
                why="How fast the variance falls with frequency, qₖ ~ |k|⁻²ˢ. The larger, the "
                "smoother; at 1 or below the noise is no function in the limit.",
            ),
            Number(
                "length",
                "Correlation length ℓ (bessel)",
                0.33,
                0.11,
                2.0,
                0.01,
                why="How far, in widths of the picture, values still know of each other.",
            ),
            Choice(
                "n",
                "Resolution of the draws",
                64,
                [(str(n), n) for n in (16, 32, 64, 128)],
                why="Points per side of the grid on which the draws are shown.",
                lesser=True,
            ),
            seed_field(Request.seed, lesser=True),
        ),
        source=source,
        eager=True,
        start="Draw",
    )
