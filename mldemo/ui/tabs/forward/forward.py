"""Forward: a picture dissolves under every prior, and the reverse process edits it."""

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.data.pictures import field_from_greys, mask_from_text, picture_from_text
from mldemo.diffusion.oracles import EmpiricalDenoiser
from mldemo.diffusion.samplers import State
from mldemo.editing import Edit, dissolve, edit
from mldemo.pipeline import Run, prepare
from mldemo.request import Request
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import bandwidth, radial_power
from mldemo.ui.fields import Choice, Number, Unseen, Whole, seed_field
from mldemo.ui.limits import check_work, checked
from mldemo.ui.programs import digit_expression, edit_program, picture_expression
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import (
    count_field,
    prior_field,
    resolution_field,
    sampler_field,
    score_field,
    steps_field,
)
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, floats, frame_record, grey, head_record

DISSOLVE = 12  # frames of the forward process
DIGITS = 400
KINDS = [
    ("dissolve, then denoise", "denoise"),
    ("keep low frequencies", "extend"),
    ("fill a region", "inpaint"),
]
METHODS = [("replace what is known", "linear"), ("and guide the rest", "guided")]


@lru_cache(maxsize=8)
def _digits(folder: Path, resolution: int) -> Tensor:
    """The generated digits of the bundle on level N."""
    request = Request(score="empirical", resolution=resolution)
    denoise = prepare(request, folder=folder).denoise
    assert isinstance(denoise, EmpiricalDenoiser)
    return denoise.fields.float()


def given(values: dict[str, Any], place: Place) -> Tensor:
    """x_0 (1, 1, N, N): the picture in the link, else a generated digit."""
    if values["picture"]:
        return field_from_greys(picture_from_text(values["picture"]), values["n"])
    return _digits(place.folder, values["n"])[values["digit"]][None]


def edit_of(values: dict[str, Any]) -> Edit:
    """The validated edit for the values of the form."""
    region = mask_from_text(values["region"], values["n"]) if values["region"] else None
    if values["kind"] == "extend" and values["keep"] > bandwidth(values["n"]):
        raise ValueError(
            f"keep must be at most {bandwidth(values['n'])} at {values['n']}², "
            f"got {values['keep']}"
        )
    return Edit(values["kind"], values["t"], values["keep"], region, values["method"])


def request_of(values: dict[str, Any]) -> Request:
    """The validated request; a guided call counts as three calls, which is its cost."""
    names = ("prior", "score", "steps", "sampler", "count", "seed")
    request = checked({name: values[name] for name in names} | {"resolution": values["n"]})
    guided = values["method"] == "guided" and values["kind"] != "denoise"
    check_work(request.work * (3 if guided else 1))
    return request


def program_of(run: Run, folder: Path, change: Edit, values: dict[str, Any]) -> str:
    """Python that computes the same pixels."""
    n = run.request.resolution
    picture = values["picture"]
    digit = digit_expression(values["digit"], n, folder)
    given = picture_expression(picture, n) if picture else digit
    return edit_program(run, folder, given, change, values["region"])


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The forward process up to t (for "denoise"), then the reverse one; a record per state."""
    request, change, clean = request_of(values), edit_of(values), given(values, place)
    run = place.prepare(request)
    n = request.resolution
    noises = {name: run.statistics.prior(name) for name in PRIORS}
    noises[request.prior] = run.prior
    draws = torch.cat([prior.draw(request.seed, [0], n) for prior in noises.values()])
    indices = list(range(request.count))
    upward = np.linspace(0, change.time, DISSOLVE + 1)[:-1].tolist()
    upward = upward if change.kind == "denoise" else []
    total = len(upward) + request.steps
    yield head_record(
        run,
        place.folder,
        steps=total,
        turn=len(upward),
        until=change.time,
        given="own picture" if values["picture"] else f"digit {values['digit']}",
        kind_of_edit=change.kind,
        solver_steps=request.steps,
        keep=change.cutoff,
        python=program_of(run, place.folder, change, values),
        command=None,  # the command line has no pencil
        priors=list(noises),
    )
    shown = {"clean": grey(clean)}
    if change.kind == "extend":
        shown["kept"] = grey(change.known(n).part(clean))
    yield {"kind": "clean", "n": n}, shown
    last = time.perf_counter()

    def frames() -> Iterator[State]:
        if upward:
            eta = run.prior.draw(request.seed, indices, n)
            yield from dissolve(clean.expand(request.count, -1, -1, -1), eta, upward, run.schedule)
        yield from edit(run, clean, change)

    for step, state in enumerate(frames()):
        now = time.perf_counter()
        at = next(iter(dissolve(clean, draws, [state.time], run.schedule)))
        yield state_record(state, step, run, at.x, now - last)
        last = time.perf_counter()
    yield END


def state_record(state: State, step: int, run: Run, every: Tensor, seconds: float) -> Record:
    """x_t and x̂_0 of the run, the clean picture at the same t under every prior, the spectrum."""
    t = torch.tensor(state.time, dtype=torch.float64)
    x, x0 = state.x.cpu(), state.x0.cpu()
    readings = {
        "time": state.time,
        "alpha": float(run.schedule.alpha(t)),
        "sigma": float(run.schedule.sigma(t)),
        "calls": state.calls,
        "ms": seconds * 1e3,
    }
    power = floats(radial_power(x).mean((0, 1)))
    arrays = {"x": grey(x), "x0": grey(x0), "every": grey(every), "power": power}
    return frame_record(step, arrays, readings)


def tab(place: Place) -> Tab:
    """The tab."""
    return Tab(
        id="forward",
        title="Forward",
        fields=(
            Choice(
                "kind",
                "What to do",
                "denoise",
                KINDS,
                why=TERMS["edit"],
            ),
            Number(
                "t",
                "Dissolve up to time t",
                0.4,
                0.02,
                1.0,
                0.01,
                why=TERMS["dissolve-up-to"],
            ),
            Whole(
                "keep",
                "Keep |k| up to K",
                4,
                0,
                31,
                why=TERMS["keep"],
            ),
            Choice(
                "method",
                "Known part",
                "guided",
                METHODS,
                why=TERMS["known-part"],
            ),
            score_field(),
            prior_field(place),
            resolution_field(16, 32, 64, lesser=True),
            count_field(4, 1, 4, 9),
            sampler_field(),
            steps_field(20, 100),
            seed_field(Request.seed, lesser=True),
            Whole(
                "digit",
                "Digit, unless a picture is given",
                29,
                0,
                DIGITS - 1,
                slider=False,
                why=TERMS["digit"],
            ),
        ),
        unseen=(Unseen("picture", 1600), Unseen("region", 171)),
        source=source,
    )
