"""`sample` and `noise`: generated functions, and draws of the noise."""

import math
import time
from pathlib import Path
from typing import Any

import click

from mldemo import pipeline
from mldemo.cli.options import (
    DATA,
    Real,
    Whole,
    bundle_option,
    destination,
    device_option,
    guidance_option,
    progress_bar,
    say,
    seed_option,
)
from mldemo.data.pictures import pixels
from mldemo.diffusion.samplers import LARGEST_STEPS
from mldemo.diffusion.sde import END, FIRST
from mldemo.diffusion.steps import SAMPLERS
from mldemo.machine import choose_device
from mldemo.request import LARGEST_COUNT, SCORES, Request
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import FINEST, SMALLEST

CHUNK = 64  # images computed at once; a sample does not depend on it
LARGEST_GIF, LARGEST_MOVING = 64, 2**28  # images; pixels of all frames, each kept twice


def shape_options(command: Any) -> Any:
    """--exponent and --kappa; `Request` checks which priors have them, and in which range."""
    which = "[default: the prior's own]"
    command = click.option("--kappa", type=float, help=f"κ, 2π/correlation length.  {which}")(
        command
    )
    return click.option("--exponent", type=float, help=f"Decay s of the prior.  {which}")(command)


@click.command()
@click.option("--prior", type=click.Choice(list(PRIORS)), default=Request.prior)
@shape_options
@click.option("--resolution", type=Whole(SMALLEST, FINEST), default=Request.resolution)
@click.option("--steps", type=Whole(1, LARGEST_STEPS), default=Request.steps)
@click.option("--sampler", type=click.Choice(list(SAMPLERS)), default=Request.sampler)
@click.option(
    "--coarse-until",
    type=Real(FIRST, END, min_open=True),
    help="Run on half the resolution down to this time t, then on all of it. At 64, until 0.1, "
    "almost half of the time is saved at no worse FID; at 32 it does not pay (study report).  "
    "[default: one resolution]",
)
@click.option("--count", type=Whole(1, LARGEST_COUNT), default=Request.count)
@seed_option
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="[default: the prior's own; of two sizes the large one on a GPU, else the light one]",
)
@guidance_option
@click.option("--score", type=click.Choice(list(SCORES)), default=Request.score)
@click.option(
    "--data",
    help=f"For the empirical score: {DATA}.  [default: bundled generated digits]",
)
@device_option
@bundle_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".png, .npy or .gif")
def sample(out: Path, device: str, folder: Path, data: str | None, **values: Any) -> None:
    """Turn function-space noise into images.

    .npy is float32 (count, N, N), unclipped; .png is a contact sheet; .gif shows x_t and the
    predicted x_0 side by side as the run went.
    """
    from mldemo import images

    out = destination(out, (".png", ".npy", ".gif"))
    request = Request(**values)
    moving = out.suffix.lower() == ".gif"
    if moving and request.count > LARGEST_GIF:
        raise ValueError(f"--count must be at most {LARGEST_GIF} for a .gif, got {request.count}")
    work = (request.steps + 1) * request.count * request.resolution**2
    if moving and work > LARGEST_MOVING:
        raise ValueError(
            f"a .gif holds at most {LARGEST_MOVING} pixels, frames x images x pixels, got {work}: "
            "lower --steps, --count or --resolution"
        )
    if data is not None and request.score != "empirical":
        raise ValueError(f"--data is for --score empirical, not for {request.score}")
    run = pipeline.prepare(request, choose_device(device), folder, data)
    finished, shown, start = [], [], time.perf_counter()
    with progress_bar(request.steps * math.ceil(request.count / CHUNK), "steps") as bar:
        for first in range(0, request.count, CHUNK):
            chosen = range(first, min(first + CHUNK, request.count))
            frame = None
            for frame in run.frames(chosen):
                bar.update(1 if frame.step else 0)
                if moving:
                    shown.append((pixels(frame.x), pixels(frame.x0)))
            assert frame is not None
            finished.append(frame.x0)
    seconds = time.perf_counter() - start
    if moving:
        images.write_gif(out, shown)
    else:
        images.write_fields(out, finished)
    say(
        {
            "out": str(out),
            "checkpoint": run.checkpoint,
            "guidance": request.guidance,
            "score": request.score,
            "prior": run.prior.to_dict(),
            "resolution": request.resolution,
            "sampler": request.sampler,
            "steps": request.steps,
            "coarse_until": request.coarse_until,
            "network_calls": request.calls,
            "count": request.count,
            "seed": request.seed,
            "device": str(run.device),
            "seconds": round(seconds, 3),
        }
    )


@click.command()
@click.option("--prior", type=click.Choice(list(PRIORS)), required=True)
@shape_options
@click.option("--resolution", type=Whole(SMALLEST, FINEST), default=64)
@click.option("--count", type=Whole(1, LARGEST_COUNT), default=16)
@seed_option
@click.option(
    "--trace",
    type=Real(0, 1e6, min_open=True),
    help="tr Q.  [default: the data's variance; 1 per pixel for standard]",
)
@bundle_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".npy or .png")
def noise(trace: float | None, folder: Path, out: Path, **values: Any) -> None:
    """Draw functions from N(0, Q): float32 (count, N, N)."""
    from dataclasses import replace

    from mldemo import images

    out = destination(out, (".npy", ".png"))
    request = Request(**values)
    resolution, count, seed = request.resolution, request.count, request.seed
    q = pipeline.default_statistics(folder).prior(request.prior)
    q = replace(q, **request.shape)
    if trace is not None:
        q = replace(q, **{"trace": trace})
    chunks = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    images.write_fields(out, [q.draw(seed, chunk, resolution) for chunk in chunks])
    say(
        {
            "out": str(out),
            "prior": q.to_dict(),
            "trace_class": q.trace_class,
            "level_trace": q.level_trace(resolution),
            "continuum_trace": q.total if math.isfinite(q.total) else None,
            "resolution": resolution,
            "count": count,
            "seed": seed,
        }
    )
