"""Priors: eigenvalues, trace and draws of two to four covariance operators, from one seed."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mldemo.pipeline import checkpoints_for, default_statistics
from mldemo.request import Request, request_from
from mldemo.space.covariance import EXPONENT, KAPPA, Parameter, Prior
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import FINEST, LEVELS, radial_mean
from mldemo.store.manifest import manifest_entry
from mldemo.ui.fields import Choice, Number, Several, seed_field
from mldemo.ui.limits import checked
from mldemo.ui.programs import draws_command, draws_program
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import names
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, floats, frame_record, grey

UNTRAINED = "no network here was trained under such a prior"
SAMPLE = {"resolution": 32, "steps": 10, "count": 4}


def shape_of(name: str, values: dict[str, Any]) -> dict[str, float]:
    """The sliders' values of those parameters that the prior has."""
    sliders = {EXPONENT.name: values["s"], KAPPA.name: 2 * math.pi / values["length"]}
    names = [p.name for p in PRIORS[name].adjustable]
    return {key: value for key, value in sliders.items() if key in names}


def sample_of(prior: Prior, shape: dict[str, float], seed: int, place: Place) -> Tensor | None:
    """Samples under this prior if a network was trained on a family that covers it, else None."""
    if not names(place):
        return None
    known = checkpoints_for(prior.name, place.folder)
    varied = [n for n in known if manifest_entry(n, place.folder).get("variations")]
    met = all(shape[p.name] in p for p in prior.adjustable if p.name in shape)
    if not varied or not met:
        return None
    usual = place.default(prior.name)
    name = usual if usual in varied else varied[0]
    request = checked({"prior": prior.name, "seed": seed, "checkpoint": name, **SAMPLE, **shape})
    return place.prepare(request).result().x0


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """A record per prior: spectrum, traces, draws; then samples of a conditioned network."""
    n, seed = values["n"], values["seed"]
    chosen = values["priors"]
    shapes = [shape_of(name, values) for name in chosen]
    statistics = default_statistics(place.folder)
    priors = [
        replace(statistics.prior(name), **shape)
        for name, shape in zip(chosen, shapes, strict=True)
    ]
    head = {"kind": "head", "steps": 0, "device": place.device.type, "priors": chosen}
    head |= {"resolution": n, "seed": seed, "levels_shown": LEVELS}
    head |= {"python": draws_program(priors, seed, n)}
    four = {"resolution": n, "count": 4, "seed": seed}
    head["command"] = draws_command(
        [
            request_from({"prior": prior.name, **four, **shape})
            for prior, shape in zip(priors, shapes, strict=True)
            if prior.trace_class or not shape
        ],
        place.folder,
    )
    yield head, {}
    for i, prior in enumerate(priors):
        q = prior.eigenvalues(FINEST)
        meta = {
            "kind": "prior",
            "index": i,
            "name": prior.name,
            "formula": prior.formula,
            "trace_class": prior.trace_class,
            "reason": prior.reason,
            "total": prior.total if math.isfinite(prior.total) else None,
            "mean_is_noisy": bool(q[0, 0] > 0),
        }
        arrays = {
            "q": floats(radial_mean(q, FINEST)),
            "traces": floats(torch.tensor([prior.level_trace(level) for level in LEVELS])),
            "draws": grey(prior.draw(seed, range(4), n)),
        }
        yield meta, arrays
    yield frame_record(0, {}, {})
    for i, (prior, shape) in enumerate(zip(priors, shapes, strict=True)):
        made = sample_of(prior, shape, seed, place)
        if made is None:
            yield {"kind": "sample", "index": i, "count": 0, "why": UNTRAINED}, {}
        else:
            yield {"kind": "sample", "index": i, **SAMPLE}, {"pixels": grey(made)}
    yield END


def tab(place: Place) -> Tab:
    """The tab, which is updated as its sliders move."""
    options = [(name, name) for name in PRIORS]

    def of(p: Parameter) -> str:
        return ", ".join(name for name, kind in PRIORS.items() if p in kind.adjustable)

    return Tab(
        id="priors",
        title="Priors",
        fields=(
            Several(
                "priors",
                "Priors (two to four)",
                ["bessel", "laplacian", "standard"],
                options,
                2,
                4,
                why=TERMS["priors"],
            ),
            Number(
                "s",
                f"Exponent s ({of(EXPONENT)})",
                1.5,
                0.5,
                EXPONENT.high,
                0.05,
                why=TERMS["exponent"],
            ),
            Number(
                "length",
                f"Correlation length ℓ ({of(KAPPA)})",
                0.33,
                0.11,
                2.0,
                0.01,
                why=TERMS["correlation-length"],
            ),
            Choice(
                "n",
                "Resolution of the draws",
                64,
                [(str(n), n) for n in (16, 32, 64, 128)],
                why=TERMS["resolution-of-draws"],
                lesser=True,
            ),
            seed_field(Request.seed, lesser=True),
        ),
        source=source,
        eager=True,
        start="Draw",
    )
