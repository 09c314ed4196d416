"""Learn: questions to guess, controls to move, answers; and links for a class.

The lessons are data: `static/lessons.json` says which tab a step opens and what the page waits
for, `static/lessons.<language>.json` holds every word. Computed here is the one panel that no
other tab has: how Lipschitz the exact denoiser of two functions is, grid by grid.
"""

from collections.abc import Iterator
from typing import Any

import torch

from mldemo.pipeline import default_statistics
from mldemo.space.spectral import multiplicity, radius
from mldemo.ui.fields import Number
from mldemo.ui.server.shared import Record
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.learn.two_points import (
    agreement,
    lipschitz,
    lipschitz_along_noise,
    regime,
)
from mldemo.ui.wire import floats

LEVELS = (8, 16, 32, 64, 128, 256)
TIME = 0.3
FINE, COARSE = 64, 7  # the level and the last frequency of the lesson on coarse levels


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """Both Lipschitz constants on every level; how often runs on the finest two levels agree."""
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
    head |= {"same": agreement(s, a, *LEVELS[-2:])}
    python = f"""\
from mldemo.ui.tabs.learn.two_points import agreement, lipschitz, lipschitz_along_noise

case = {s}, {a}
for level in {LEVELS}:
    print(level, lipschitz(*case, level, {TIME}), lipschitz_along_noise(*case, level, {TIME}))
print(agreement(*case, {LEVELS[-2]}, {LEVELS[-1]}))
"""
    constants = {"lipschitz": lipschitz, "along_noise": lipschitz_along_noise}
    curves = {
        name: floats(torch.tensor([constant(s, a, n, TIME) for n in LEVELS]))
        for name, constant in constants.items()
    }
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
