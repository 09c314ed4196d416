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
from mldemo.pipeline import Run, default_prior, prepare
from mldemo.request import Request
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import bandwidth, radial_power
from mldemo.ui.fields import Choice, Number, Unseen, Whole, seed_field
from mldemo.ui.limits import check_work, checked
from mldemo.ui.server.shared import Record
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import SCORES, prior_field, sampler_field
from mldemo.ui.wire import floats, grey, head_record

DISSOLVE = 12  # frames on the way up
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


def wish_of(values: dict[str, Any]) -> Edit:
    """The checked edit behind the values of the form."""
    region = mask_from_text(values["region"], values["n"]) if values["region"] else None
    if values["kind"] == "extend" and values["keep"] > bandwidth(values["n"]):
        raise ValueError(
            f"keep must be at most {bandwidth(values['n'])} at {values['n']}², "
            f"got {values['keep']}"
        )
    return Edit(values["kind"], values["t"], values["keep"], region, values["method"])


def request_of(values: dict[str, Any]) -> Request:
    """The checked run; a guided call counts three times, as it costs."""
    names = ("prior", "score", "steps", "sampler", "count", "seed")
    request = checked({name: values[name] for name in names} | {"resolution": values["n"]})
    guided = values["method"] == "guided" and values["kind"] != "denoise"
    check_work(request.work * (3 if guided else 1))
    return request


def snippet(run: Run, values: dict[str, Any]) -> str:
    """Python that computes the same pixels."""
    r = run.request
    digit = f"""\
points = prepare(Request(score="empirical", resolution={r.resolution})).denoise.fields
clean = points[{values["digit"]}][None].float()"""
    picture = f"""\
text = {values["picture"]!r}
clean = field_from_greys(picture_from_text(text), {r.resolution})"""
    region = (
        f"mask_from_text({values['region']!r}, {r.resolution})" if values["region"] else "None"
    )
    return f"""\
import torch
from mldemo import Request, prepare
from mldemo.editing import Edit, edit
from mldemo.data.pictures import field_from_greys, mask_from_text, picture_from_text
from mldemo.pipeline import pixels

{picture if values["picture"] else digit}
request = Request(
    prior={r.prior!r}, resolution={r.resolution}, steps={r.steps}, sampler={r.sampler!r},
    count={r.count}, seed={r.seed}, score={r.score!r},
)
wish = Edit(
    {values["kind"]!r}, time={values["t"]}, cutoff={values["keep"]}, method={values["method"]!r},
    region={region},
)
states = list(edit(prepare(request, device={run.device.type!r}), clean, wish))
shown = torch.stack([pixels(s.x0[:, 0].cpu()) for s in states])  # what the page shows as x̂₀
print(shown.shape, shown[-1].float().mean())
"""


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The forward process up to t (for "denoise"), then the reverse one; a record per state."""
    request, wish, clean = request_of(values), wish_of(values), given(values, place)
    run = prepare(request, place.device, place.folder)
    n = request.resolution
    noises = {name: default_prior(name, run.statistics) for name in PRIORS}
    noises[request.prior] = run.prior
    draws = torch.cat([prior.draw(request.seed, [0], n) for prior in noises.values()])
    indices = list(range(request.count))
    upward = np.linspace(0, wish.time, DISSOLVE + 1)[:-1].tolist()
    upward = upward if wish.kind == "denoise" else []
    total = len(upward) + request.steps
    yield head_record(
        run,
        "live",
        steps=total,
        kind_of_edit=wish.kind,
        solver_steps=request.steps,
        keep=wish.cutoff,
        python=snippet(run, values),
        priors=list(noises),
    )
    shown = {"clean": grey(clean)}
    if wish.kind == "extend":
        shown["kept"] = grey(wish.known(n).part(clean))
    yield {"kind": "clean", "n": n}, shown
    last = time.perf_counter()

    def frames() -> Iterator[State]:
        if upward:
            eta = run.prior.draw(request.seed, indices, n)
            yield from dissolve(clean.expand(request.count, -1, -1, -1), eta, upward, run.schedule)
        yield from edit(run, clean, wish)

    for step, state in enumerate(frames()):
        now = time.perf_counter()
        at = next(iter(dissolve(clean, draws, [state.time], run.schedule)))
        yield frame_record(state, step, run, at.x, now - last)
        last = time.perf_counter()
    yield {"kind": "end", "last": True}, {}


def frame_record(state: State, step: int, run: Run, every: Tensor, seconds: float) -> Record:
    """x_t and x̂_0 of the run, the clean picture at the same t under every prior, the spectrum."""
    t = torch.tensor(state.time, dtype=torch.float64)
    x, x0 = state.x.cpu(), state.x0.cpu()
    meta = {
        "kind": "frame",
        "track": 0,
        "step": step,
        "time": state.time,
        "alpha": float(run.schedule.alpha(t)),
        "sigma": float(run.schedule.sigma(t)),
        "calls": state.calls,
        "ms": seconds * 1e3,
    }
    power = floats(radial_power(x).mean((0, 1)))
    return meta, {"x": grey(x), "x0": grey(x0), "every": grey(every), "power": power}


def tab(place: Place) -> Tab:
    """The tab."""
    return Tab(
        id="forward",
        title="Forward",
        fields=(
            Choice("kind", "What to do", "denoise", KINDS),
            Number("t", "Dissolve up to time t", 0.4, 0.02, 1.0, 0.01),
            Whole("keep", "Keep |k| up to K", 4, 0, 31),
            Choice("method", "Known part", "guided", METHODS),
            Choice("score", "Score (two are exact)", "learned", SCORES),
            prior_field(place),
            Choice("n", "Resolution", 32, [(str(n), n) for n in (16, 32, 64)]),
            Choice("count", "Images", 4, [(str(n), n) for n in (1, 4, 9)]),
            sampler_field(),
            Whole("steps", "Steps", 20, 2, 100),
            seed_field(Request.seed),
            Whole("digit", "Digit, unless a picture is given", 29, 0, DIGITS - 1, slider=False),
        ),
        unseen=(Unseen("picture", 1600), Unseen("region", 171)),
        source=source,
    )
