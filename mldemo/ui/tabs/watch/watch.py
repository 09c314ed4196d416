"""Watch: noise becomes digits, with spectrum and signal-to-noise ratio under the same playhead."""

from collections.abc import Iterator
from typing import Any

from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import checkpoints_for, prepare
from mldemo.request import GUIDANCE, LARGEST_GUIDANCE, SCORES, Request
from mldemo.space.priors import PRIORS
from mldemo.store.checkpoints import checkpoint_names, manifest_entry
from mldemo.ui.fields import Choice, Number, Whole, seed_field
from mldemo.ui.limits import checked
from mldemo.ui.tab import Place, Tab
from mldemo.ui.wire import RECORDING, Record, run_records

AUTO = "auto"  # the default checkpoint of the prior


def names(place: Place) -> list[str]:
    """The checkpoints that are there; none if the folder holds no manifest."""
    try:
        return checkpoint_names(place.folder)
    except ValueError:
        return []


def checkpoint_field(place: Place) -> Choice:
    """Which checkpoint, by the levels that it was trained on."""
    options: list[tuple[str, str]] = [("the prior's finest", AUTO)]
    for name in names(place):
        entry = manifest_entry(name, place.folder)
        levels = [str(resolution) for resolution, _ in entry["levels"]]
        only = " only" if len(levels) == 1 else ""
        options.append((f"{name} · trained at {' → '.join(levels)}{only}", name))
    why = (
        "Which trained network predicts the image, and on which grids it was trained. Leave it, "
        "unless you want to compare networks."
    )
    return Choice("checkpoint", "Checkpoint", AUTO, options, menu=True, why=why, lesser=True)


PRIOR_WHY = (
    "The noise that a run begins with, by its law: how strong it is at each frequency. bessel is "
    "the default, strong at low frequencies and falling as a power of high ones. The tab Priors "
    "draws all of them."
)
GRID_WHY = (
    "Points per side of the grid. The function does not depend on it: change it, and the same "
    "digits come back, coarser or finer."
)
STEPS_WHY = (
    "The way from noise to image is cut into so many steps. More of them are more accurate, and "
    "take longer."
)
COUNT_WHY = "How many images are drawn at once, each from a noise of its own."
SCORE_WHY = (
    "What says in which direction an image lies. Learned: the trained network. The other two are "
    "exact, but for simpler data: Gaussian knows the mean and the spectrum of the digits alone, "
    "empirical only a list of stored digits, which it returns."
)


def prior_field(place: Place) -> Choice:
    """Every prior, those with a checkpoint first."""
    known = names(place)
    trained = [p for p in PRIORS if known and checkpoints_for(p, place.folder)]
    rest = [p for p in PRIORS if p not in trained]
    options = [(p, p) for p in trained] + [(f"{p} (exact scores only)", p) for p in rest]
    return Choice("prior", "Prior", Request.prior, options, menu=True, why=PRIOR_WHY)


def sampler_field(*, lesser: bool = True) -> Choice:
    """The samplers by their names in the literature."""
    options = [(sampler.label, name) for name, sampler in SAMPLERS.items()]
    why = (
        "The rule for a step from noise towards the image. With enough steps all of them reach "
        "the same law of images; the tab Solvers compares how fast."
    )
    return Choice(
        "sampler", "Sampler", Request.sampler, options, menu=True, why=why, lesser=lesser
    )


def score_field() -> Choice:
    """What predicts the image: a network, or one of two exact formulas."""
    label, options = "Score (two are exact)", [(s.label, name) for name, s in SCORES.items()]
    return Choice("score", label, Request.score, options, why=SCORE_WHY, lesser=True)


def resolution_field(*levels: int, lesser: bool = False) -> Choice:
    """The grid, 32 by default."""
    options = [(str(n), n) for n in levels]
    return Choice("n", "Resolution", 32, options, why=GRID_WHY, lesser=lesser)


def count_field(default: int, *counts: int) -> Choice:
    """How many images: squares, since they stand in a square."""
    options = [(str(n), n) for n in counts]
    return Choice("count", "Images", default, options, why=COUNT_WHY, lesser=True)


def steps_field(default: int, most: int) -> Whole:
    """How many steps of the solver."""
    return Whole("steps", "Steps", default, 2, most, why=STEPS_WHY, lesser=True)


def request_of(values: dict[str, Any]) -> Request:
    """The checked request behind the values of the form."""
    values = dict(values, resolution=values["n"])
    del values["n"]
    if values["score"] != "learned" or values["checkpoint"] == AUTO:
        values["checkpoint"] = None
    return checked(values)


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """Denoise, one record per solver state."""
    run = prepare(request_of(values), place.device, place.folder)
    yield from run_records(run)


def tab(place: Place) -> Tab:
    """The tab with the checkpoints of this place."""
    known = names(place)
    return Tab(
        id="watch",
        title="Watch",
        fields=(
            score_field(),
            prior_field(place),
            checkpoint_field(place),
            resolution_field(8, 16, 32, 64, 128),
            count_field(16, 1, 4, 9, 16),
            sampler_field(),
            steps_field(20, 100),
            seed_field(Request.seed),
            Number(
                "guidance",
                "Guidance (1: as trained)",
                GUIDANCE,
                0,
                LARGEST_GUIDANCE,
                0.05,
                why="How much the network's own part counts beside the part that is a formula. "
                "0: the formula alone; 1: as trained; a little more makes strokes crisper.",
                lesser=True,
            ),
        ),
        source=source,
        props={
            "recording": f"recordings/{RECORDING.name}" if RECORDING.is_file() else None,
            "trained": {p: checkpoints_for(p, place.folder) if known else [] for p in PRIORS},
        },
    )
