"""Watch: noise becomes digits, with spectrum and signal-to-noise ratio under the same playhead."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mldemo.diffusion.steps import SAMPLERS
from mldemo.networks.sizes import SIZES
from mldemo.pipeline import checkpoints_for, prepare
from mldemo.request import GUIDANCE, LARGEST_GUIDANCE, SCORES, Request
from mldemo.space.priors import PRIORS
from mldemo.store.family import counterparts
from mldemo.store.manifest import checkpoint_names, manifest_entry, read_manifest
from mldemo.ui.fields import Aspect, Choice, Number, Unseen, Whole, seed_field
from mldemo.ui.limits import checked
from mldemo.ui.server.trained import TRAINED
from mldemo.ui.tab import Place, Tab
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import RECORDING, Record, run_records

AUTO = "auto"  # the default checkpoint of the prior
OFF = "off"  # one level


def names(place: Place) -> list[str]:
    """The available checkpoints; none if the folder holds no manifest."""
    try:
        return checkpoint_names(place.folder)
    except ValueError:
        return []


def checkpoint_field(place: Place) -> Choice:
    """The checkpoint, labelled with the levels that it was trained on."""
    options: list[tuple[str, str]] = [("the usual one for this prior", AUTO)]
    for name in names(place):
        entry = manifest_entry(name, place.folder)
        levels = [str(resolution) for resolution, _ in entry["levels"]]
        only = " only" if len(levels) == 1 else ""
        options.append((f"{name} · trained at {' → '.join(levels)}{only}", name))
    return Choice(
        "checkpoint",
        "Checkpoint",
        AUTO,
        options,
        menu=True,
        free=AUTO,
        why=TERMS["checkpoint"],
        lesser=True,
    )


def network_aspects(place: Place) -> list[Aspect]:
    """Buttons for the size of the checkpoint, if the folder holds any in both sizes."""
    pairs = {name: counterparts(name, place.folder) for name in names(place)}
    pairs = {name: pair for name, pair in pairs.items() if len(pair) == len(SIZES)}
    if not pairs:
        return []
    facts = {
        "free": AUTO,
        "pairs": pairs,
        "usual": {prior: place.default(prior) for prior in PRIORS},
        "slow": place.device.type == "cpu",
    }
    return [Aspect("network", "Network", list(SIZES), "checkpoint", TERMS["network"], facts)]


def guidance_field(place: Place) -> Number:
    """The weight g; the manifest names the checkpoints that another one than the default suits."""
    files = read_manifest(place.folder)["files"] if names(place) else {}
    return Number(
        "guidance",
        "Guidance (1: as trained)",
        GUIDANCE,
        0,
        LARGEST_GUIDANCE,
        0.05,
        of="checkpoint",
        suits={name: entry["guidance"] for name, entry in files.items() if "guidance" in entry},
        why=TERMS["guidance"],
        lesser=True,
    )


def prior_field(place: Place) -> Choice:
    """Every prior, those with a checkpoint first."""
    known = names(place)
    trained = [p for p in PRIORS if known and checkpoints_for(p, place.folder)]
    rest = [p for p in PRIORS if p not in trained]
    options = [(p, p) for p in trained] + [(f"{p} (exact scores only)", p) for p in rest]
    return Choice("prior", "Prior", Request.prior, options, menu=True, why=TERMS["prior"])


def sampler_field(*, lesser: bool = True) -> Choice:
    """The samplers by their names in the literature."""
    options = [(sampler.label, name) for name, sampler in SAMPLERS.items()]
    return Choice(
        "sampler",
        "Sampler",
        Request.sampler,
        options,
        menu=True,
        why=TERMS["sampler"],
        lesser=lesser,
    )


def score_field() -> Choice:
    """What predicts the image: a network, or one of two exact formulas."""
    label, options = "Score (two are exact)", [(s.label, name) for name, s in SCORES.items()]
    return Choice("score", label, Request.score, options, why=TERMS["score"], lesser=True)


def resolution_field(*levels: int, lesser: bool = False) -> Choice:
    """The grid, 32 by default."""
    options = [(str(n), n) for n in levels]
    return Choice("n", "Resolution", 32, options, why=TERMS["resolution"], lesser=lesser)


def count_field(default: int, *counts: int) -> Choice:
    """How many images: square numbers, since they are arranged in a square."""
    options = [(str(n), n) for n in counts]
    return Choice("count", "Images", default, options, why=TERMS["count"], lesser=True)


def steps_field(default: int, most: int) -> Whole:
    """How many steps of the solver."""
    return Whole("steps", "Steps", default, 2, most, why=TERMS["steps"], lesser=True)


def coarse_field() -> Choice:
    """The time down to which a run has half the resolution."""
    options = [(text, text) for text in (OFF, "0.1", "0.2", "0.4")]
    name, label = "coarse_until", "Coarse until t"
    return Choice(name, label, OFF, options, why=TERMS["coarse-until"], lesser=True)


def request_of(values: dict[str, Any]) -> Request:
    """The validated request for the values of the form."""
    values = dict(values, resolution=values["n"])
    del values["n"]
    if values["score"] != "learned" or values["checkpoint"] == AUTO:
        values["checkpoint"] = None
    until = values["coarse_until"]
    values["coarse_until"] = None if until == OFF else float(until)
    return checked(values)


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """Denoise, one record per solver state."""
    values = dict(values)
    trained = values.pop("trained", "")
    request = request_of(values)
    if not trained or request.score != "learned":
        yield from run_records(place.prepare(request), place.folder)
        return
    folder, name = TRAINED.find(trained)
    run = prepare(replace(request, checkpoint=name), place.device, folder)
    yield from run_records(run, command=None, python=None)  # the network is on this server only


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
            guidance_field(place),
            coarse_field(),
        ),
        aspects=network_aspects(place),
        unseen=(Unseen("trained", 40),),
        source=source,
        props={
            "recording": f"recordings/{RECORDING.name}" if RECORDING.is_file() else None,
            "trained": {p: checkpoints_for(p, place.folder) if known else [] for p in PRIORS},
        },
    )
