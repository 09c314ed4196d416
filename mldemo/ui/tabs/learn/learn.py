"""Learn: questions to guess, controls to move, answers; and links for a class.

The lessons are data: `static/lessons.json` says which tab a step opens and what the page waits
for, `static/lessons.<language>.json` holds the texts. Computed here is the one panel that no other
tab has: the Lipschitz constants of the exact denoiser of two functions, on each grid.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.data.statistics import Statistics
from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import default_statistics
from mldemo.space.spectral import LEVELS, multiplicity, radius
from mldemo.studies.linear import Linear
from mldemo.studies.multilevel import Multilevel
from mldemo.studies.study import read_record, values
from mldemo.ui.fields import Number
from mldemo.ui.programs import curve_program
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.learn.recorded_race import race_facts
from mldemo.ui.tabs.learn.two_points import (
    agreement,
    lipschitz,
    lipschitz_along_noise,
    regime,
)
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, floats, frame_record

TIME = 0.3
FINE, COARSE = 64, 7  # the level and the last frequency of the lesson on coarse levels
SURVIVES, DROWNED, LEVEL = 0.2, 0.9, 32  # of the lesson "Which digit comes back"
COMPARED_TIME = 0.2  # of the lesson on linear denoisers
COSTS = "CPU seconds of a step"  # a cell of the study of coarse to fine
NO_RECORD = {"full": "smaller", "filter": "larger", "network": "the smallest", "cost": "a few"}
NO_BUNDLE = {
    "share": "most",
    "above": "some length",
    "first": "smaller",
    "fourth": "larger",
    "drowned": "1",
}


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """Both Lipschitz constants on every level; how often runs on the finest two levels agree."""
    s, a = values["s"], values["a"]
    head = {
        "kind": "head",
        "steps": 0,
        "device": "cpu",
        "s": s,
        "a": a,
        "time": TIME,
    }
    head |= {"levels_shown": LEVELS, "regime": regime(s, a), "cm": s + 1, "lip": 2 * s + 1}
    head |= {"same": agreement(s, a, *LEVELS[-2:])}
    constants = {"lipschitz": lipschitz, "along_noise": lipschitz_along_noise}
    curves = {
        name: floats(torch.tensor([constant(s, a, n, TIME) for n in LEVELS]))
        for name, constant in constants.items()
    }
    yield {**head, "python": program_of(s, a)}, curves
    yield frame_record(0, {}, {})
    yield END


def program_of(s: float, a: float) -> str:
    """Python for the curves."""
    constants = "lipschitz", "lipschitz_along_noise"
    values = ", ".join(f"{name!r}: {name}({s}, {a}, n, {TIME})" for name in constants)
    return curve_program(f"[{{'level': n, {values}}} for n in {LEVELS}]", "level", constants)


def facts(place: Place) -> dict[str, str]:
    """Values of the placeholders in the texts, from statistics, records and the recorded race."""
    found = {"compareTime": f"{COMPARED_TIME:g}"} | race_facts() | recorded_facts()
    try:
        statistics = default_statistics(place.folder)
    except ValueError:  # no bundle: the texts do without these figures
        return found | NO_BUNDLE
    power = multiplicity(FINE) * statistics.spectrum(FINE)
    coarse = power[radius(FINE) < COARSE + 0.5]  # as the tab Watch cuts a band
    snr = signal_to_noise(statistics, SURVIVES)[0, :-1]  # at k = (0, j)
    return found | {
        "share": f"{100 * float(coarse.sum()) / statistics.variance:.0f} %",
        "above": str(int((snr > 1).long().cumprod(0).sum()) - 1),
        "first": f"{snr[1]:.1f}",
        "fourth": f"{snr[4]:.1f}",
        "drowned": f"{signal_to_noise(statistics, DROWNED).max():.1g}",
    }


def recorded_facts(linear: Path | None = None, multilevel: Path | None = None) -> dict[str, str]:
    """Errors of three denoisers and costs of a step, from records; words where one is missing."""
    found = dict(NO_RECORD)
    with suppress(ValueError, KeyError):
        record = read_record(linear or Linear().record_path)
        compared = values(record)[f"16, t = {COMPARED_TIME:g}"]
        for name in ("filter", "full covariance", "network"):
            mean = sum(compared[name]) / len(compared[name])
            found[name.split()[0]] = f"{mean:.2g}"
    with suppress(ValueError, KeyError):
        step = values(read_record(multilevel or Multilevel().record_path))[COSTS]
        found["cost"] = f"{step[str(FINE)] / step['16']:.1f}"
    return found


def signal_to_noise(statistics: Statistics, time: float) -> Tensor:
    """α²Λ_k/(σ²q_k) of the bessel prior on the modes of the lesson's level, 0 where q_k = 0."""
    t, prior = torch.tensor(time, dtype=torch.float64), statistics.prior("bessel")
    odds = (2 * Schedule().log_snr(t)).exp()
    q = prior.eigenvalues(LEVEL)
    return torch.where(q > 0, odds * statistics.spectrum(LEVEL) / q, 0.0)


def tab(place: Place) -> Tab:
    """The tab; its controls are visible only in the step that needs them."""
    return Tab(
        id="learn",
        title="Learn",
        fields=(
            Number(
                "s",
                "Exponent s of the noise, qₖ = |k|⁻²ˢ",
                1.5,
                1.05,
                3.0,
                0.05,
                why=TERMS["noise-exponent"],
            ),
            Number(
                "a",
                "Exponent a of the difference, |Δₖ|² = |k|⁻²ᵃ",
                5.0,
                1.5,
                8.0,
                0.1,
                why=TERMS["difference-exponent"],
            ),
        ),
        source=source,
        eager=True,
        start="Compute",
        notes=Path(__file__).with_name("lecturers.md"),
    )
