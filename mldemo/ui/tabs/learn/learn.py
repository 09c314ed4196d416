"""Learn: questions to guess, controls to move, answers; and links for a class.

The lessons are data: `static/lessons.json` says which tab a step opens and what the page waits
for, `static/lessons.<language>.json` holds every word. Computed here is the one panel that no
other tab has: how Lipschitz the exact denoiser of two functions is, grid by grid.
"""

from collections.abc import Iterator
from typing import Any

import torch

from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import default_statistics
from mldemo.space.spectral import multiplicity, radius
from mldemo.ui.fields import Number
from mldemo.ui.server.live import Record
from mldemo.ui.tab import Place, Tab
from mldemo.ui.wire import floats

LEVELS = (8, 16, 32, 64, 128, 256)
TIME = 0.3
FINE, COARSE = 64, 7  # the level and the last frequency of the lesson on coarse levels


def power_sum(exponent: float, resolution: int) -> float:
    """Σ |k|^exponent over the modes k ≠ 0 of level N; bounded in N iff exponent < -2."""
    r = radius(resolution)
    terms = torch.where(r > 0, r.clamp(min=1) ** exponent, 0.0)
    return float((multiplicity(resolution) * terms).sum())


def lipschitz(s: float, a: float, resolution: int, time: float = TIME) -> float:
    """Lipschitz constant in L² of D(·, t) on level N when the data are two functions.

    D = E[X_0 | X_t] for X_0 = f or g with probability ½, |f_k - g_k|² = |k|^(-2a) and
    q_k = |k|^(-2s), k ≠ 0. With Δ = f - g and m = (f + g)/2,

        D(x, t) = m + ½Δ tanh((α/2σ²)⟨Q⁻¹Δ, x - αm⟩),   Lip D = (α/4σ²) ‖Δ‖ ‖Q⁻¹Δ‖,

    so it is bounded in N iff a > 2s + 1 (given a > 1).
    """
    t, schedule = torch.tensor(time, dtype=torch.float64), Schedule()
    factor = float(schedule.alpha(t) / (4 * schedule.sigma(t) ** 2))
    norms = power_sum(-2 * a, resolution) * power_sum(4 * s - 2 * a, resolution)
    return factor * norms**0.5


def evidence(s: float, a: float, resolution: int) -> float:
    """‖Q^(-1/2)Δ‖² on level N: bounded, so that the two noisy laws overlap, iff a > s + 1."""
    return power_sum(2 * s - 2 * a, resolution)


def regime(s: float, a: float) -> str:
    """What holds as N → ∞: "strong" (D is Lipschitz), "weak" (it is not), "singular" (no D)."""
    # to the sliders' step, which floating point does not hold exactly
    a, s = round(a, 6), round(s, 6)
    return "strong" if a > round(2 * s + 1, 6) else "weak" if a > round(s + 1, 6) else "singular"


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """Both sums on every level."""
    s, a = values["s"], values["a"]
    head = {
        "kind": "head",
        "mode": "live",
        "steps": 0,
        "device": "cpu",
        "s": s,
        "a": a,
        "time": TIME,
    }
    head |= {"levels_shown": LEVELS, "regime": regime(s, a), "cm": s + 1, "lip": 2 * s + 1}
    python = f"""\
from mldemo.ui.tabs.learn.learn import LEVELS, evidence, lipschitz

for level in LEVELS:
    print(level, lipschitz({s}, {a}, level), evidence({s}, {a}, level))
"""
    lips = torch.tensor([lipschitz(s, a, n) for n in LEVELS])
    sums = torch.tensor([evidence(s, a, n) for n in LEVELS])
    curves = {"lipschitz": floats(lips), "evidence": floats(sums)}
    yield {**head, "command": "", "python": python}, curves
    yield {"kind": "frame", "step": 0, "time": TIME, "alpha": 1.0, "sigma": 1.0}, {}
    yield {"kind": "end", "last": True}, {}


def facts(place: Place) -> dict[str, str]:
    """Figures that the texts name in braces, from the bundle's own statistics."""
    try:
        statistics = default_statistics(place.folder)
    except ValueError:  # no bundle: the text does without the figure
        return {"share": "most"}
    power = multiplicity(FINE) * statistics.spectrum(FINE)
    coarse = power[radius(FINE) < COARSE + 0.5]  # as the tab Watch cuts a band
    return {"share": f"{100 * float(coarse.sum()) / statistics.variance:.0f} %"}


def tab(place: Place) -> Tab:
    """The tab; its controls are seen in the step that needs them."""
    return Tab(
        id="learn",
        title="Learn",
        fields=(
            Number("s", "Exponent s of the noise, qₖ = |k|⁻²ˢ", 1.5, 1.05, 3.0, 0.05),
            Number("a", "Exponent a of the difference, |Δₖ|² = |k|⁻²ᵃ", 5.0, 1.5, 8.0, 0.1),
        ),
        source=source,
        props={"facts": facts(place)},
        eager=True,
        start="Compute",
    )
