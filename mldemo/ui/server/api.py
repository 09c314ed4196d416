"""Endpoints for programs: `gradio_client` sees them with their types; errors are one sentence.

from gradio_client import Client
Client("http://127.0.0.1:7860").predict(resolution=64, seed=7, api_name="/sample")

Where the package `mcp` is installed, they are also tools of an MCP server at gradio_api/mcp/.
"""

import base64
import functools
import inspect
import io
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from gradio.events import api
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL.Image import Image

from mldemo.data.pictures import pixels
from mldemo.diffusion.sde import END, FIRST
from mldemo.diffusion.steps import SAMPLERS
from mldemo.images import sheet
from mldemo.pipeline import Frame, Run, default_statistics
from mldemo.request import LARGEST_GUIDANCE, SCORES, Request
from mldemo.space.covariance import Prior
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import SMALLEST, radial_mean
from mldemo.ui.limits import FINEST_LIVE, MOST_IMAGES, MOST_STEPS, checked, kind_of, size_of
from mldemo.ui.server.live import COMPUTE, sentence
from mldemo.ui.server.schedule import Full
from mldemo.ui.tab import Place
from mldemo.ui.wire import grey

ASKED = list(inspect.signature(Request).parameters.values())  # parameters of a run, in this order
ARGUMENTS = {
    "prior": f"law of the noise, one of {', '.join(PRIORS)}",
    "resolution": f"pixels per side, {SMALLEST} to {FINEST_LIVE}",
    "steps": f"solver steps, 1 to {MOST_STEPS}",
    "sampler": f"one of {', '.join(SAMPLERS)}",
    "count": f"how many pictures, 1 to {MOST_IMAGES}",
    "seed": "whole number; the same seed gives the same function at every resolution",
    "score": f"one of {', '.join(SCORES)}; learned is that of a network, the others are exact",
    "checkpoint": "name of a checkpoint that can be used with the prior; null: the default one",
    "guidance": f"weight g of the network's part, 0 to {LARGEST_GUIDANCE:g}; 1 is the network as "
    "trained, 0 the linear filter alone",
    "exponent": "exponent s of the spectrum, for a prior that has one; null: the prior's default",
    "kappa": "κ = 2π / correlation length, for a prior that has one; null: the prior's default",
    "coarse_until": "a time: until the run has come down to it, images are denoised at half the "
    f"resolution; above {FIRST:g}, at most {END:g}; null: at the full resolution throughout",
}
CONCURRENCY = {"concurrency_limit": 4, "concurrency_id": "compute"}


def add_endpoints(place: Place) -> None:
    """Register all endpoints in the page under construction."""
    for function in (sample, frames, noise, prior_spectrum):
        api(_guarded(function, place), api_name=function.__name__, **CONCURRENCY)


def _guarded(function: Callable[..., Any], place: Place) -> Callable[..., Any]:
    """An endpoint with `place` filled in; a `ValueError` reaches the client as a sentence."""
    _, *parameters = inspect.signature(function).parameters.values()
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        parameters = ASKED

    def refuse(error: ValueError) -> gr.Error:
        return gr.Error(sentence(error), title="Not possible", print_exception=False)

    def answer(*arguments: Any) -> Any:
        try:
            return function(place, *arguments)
        except ValueError as error:
            raise refuse(error) from None

    def stream(*arguments: Any) -> Any:
        try:
            yield from function(place, *arguments)
        except ValueError as error:
            raise refuse(error) from None

    guarded = stream if function is frames else answer
    functools.update_wrapper(guarded, function)
    del guarded.__wrapped__
    returned = function.__annotations__["return"]
    guarded.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
    lines = [f"    {p.name}: {ARGUMENTS[p.name]}" for p in parameters]
    guarded.__doc__ = "\n".join([function.__doc__ or "", "", "Args:", *lines])
    guarded.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": returned}
    return guarded


def _steps(run: Run) -> Iterator[Frame]:
    """The frames of a run, scheduled step by step among the runs of the page's visitors."""
    request, total = vars(run.request), run.request.steps + 1
    try:
        yield from COMPUTE.iterate(run.frames(), size_of(request), total, kind_of(request))
    except Full as error:
        raise ValueError(str(error)) from None


def _picture(image: Image, name: str) -> dict[str, Any]:
    """A PNG file in gradio's cache, named by a hash of its contents, deleted after an hour."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path = save_bytes_to_cache(buffer.getvalue(), name, cache_dir=get_upload_folder())
    return gr.FileData(path=path, orig_name=name, mime_type="image/png").model_dump()


def _run(place: Place, values: tuple[Any, ...]) -> Run:
    request = checked({p.name: value for p, value in zip(ASKED, values, strict=True)})
    return COMPUTE.submit(place.prepare, request).result()


def sample(place: Place, *values: Any) -> dict:
    """Turn noise into images; the answer names the run and holds the picture as a PNG file."""
    run = _run(place, values)
    start, (frame,) = time.perf_counter(), deque(_steps(run), maxlen=1)
    return {
        "picture": _picture(sheet(pixels(frame.x0[:, 0])), "sample.png"),
        "checkpoint": run.checkpoint,
        "source": run.source,
        "trained_levels": run.trained_levels,
        "prior": run.prior.to_dict(),
        "network_calls": run.request.calls,
        "device": str(run.device),
        "seconds": round(time.perf_counter() - start, 3),
    }


def frames(place: Place, *values: Any) -> Iterator[dict]:
    """Every solver state: step, time, alpha, sigma, and x0 as base64 of uint8 (count, N, N)."""
    for frame in _steps(_run(place, values)):
        yield {
            "step": frame.step,
            "time": frame.time,
            "alpha": frame.alpha,
            "sigma": frame.sigma,
            "x0": base64.b64encode(grey(frame.x0).tobytes()).decode("ascii"),
        }


def _prior(place: Place, values: dict[str, Any]) -> tuple[Request, Prior]:
    request = checked(values)
    return request, default_statistics(place.folder).prior(request.prior)


def noise(
    place: Place,
    prior: str = Request.prior,
    resolution: int = 64,
    count: int = 4,
    seed: int = Request.seed,
) -> dict:
    """Draw functions from N(0, Q): a PNG file, the trace at this level and in the continuum."""
    wanted = {"prior": prior, "resolution": resolution, "count": count, "seed": seed}
    request, q = _prior(place, wanted)
    n = request.resolution
    draws = COMPUTE.submit(q.draw, request.seed, range(request.count), n).result()
    return {
        "picture": _picture(sheet(pixels(draws[:, 0])), "noise.png"),
        "prior": q.to_dict(),
        "trace_class": q.trace_class,
        "level_trace": q.level_trace(n),
        "continuum_trace": q.total if q.trace_class else None,
    }


def prior_spectrum(place: Place, prior: str = Request.prior, resolution: int = 64) -> dict:
    """Eigenvalues q_k, averaged over the shells round(|k|) = 0, 1, …, and their sum."""
    request, q = _prior(place, {"prior": prior, "resolution": resolution})
    n = request.resolution
    return {
        "prior": q.to_dict(),
        "trace_class": q.trace_class,
        "shell_mean": radial_mean(q.eigenvalues(n), n).tolist(),
        "level_trace": q.level_trace(n),
    }
