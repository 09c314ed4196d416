"""Endpoints for programs: `gradio_client` sees them with their types; errors are one sentence.

from gradio_client import Client
Client("http://127.0.0.1:7860").predict(resolution=64, seed=7, api_name="/sample")
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

from mldemo.images import sheet
from mldemo.noise import check_seed
from mldemo.pipeline import (
    Frame,
    Request,
    Run,
    default_prior,
    default_statistics,
    pixels,
    prepare,
)
from mldemo.priors import PRIORS
from mldemo.spectral import check_resolution, radial_mean
from mldemo.ui.limits import FINEST_LIVE, MOST_IMAGES, checked
from mldemo.ui.live import COMPUTE, RUNNING, SECONDS, sentence
from mldemo.ui.tab import Place
from mldemo.ui.wire import grey

CONCURRENCY = {"concurrency_limit": RUNNING, "concurrency_id": "compute"}


def add_endpoints(place: Place) -> None:
    """Register all of them in the page that is being built."""
    for function in (sample, frames, noise, prior_spectrum):
        api(_guarded(function, place), api_name=function.__name__, **CONCURRENCY)


def _guarded(function: Callable[..., Any], place: Place) -> Callable[..., Any]:
    """The function with its place filled in; a `ValueError` reaches the client as a sentence."""
    signature = _without_place(function)

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
    guarded.__signature__ = signature  # type: ignore[attr-defined]
    guarded.__annotations__ = {k: v for k, v in function.__annotations__.items() if k != "place"}
    return guarded


def _without_place(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _steps(run: Run) -> Iterator[Frame]:
    """The frames of a run, each computed on the compute thread, within the time budget."""
    stream, start = run.frames(), time.monotonic()
    while (frame := COMPUTE.submit(next, stream, None).result()) is not None:
        yield frame
        if time.monotonic() - start > SECONDS and frame.step < frame.steps:
            raise ValueError(f"stopped after {SECONDS:g} s: lower resolution, steps or count")


def _picture(image: Image, name: str) -> dict[str, Any]:
    """A picture as a file of gradio's cache, named by its contents, deleted after an hour."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path = save_bytes_to_cache(buffer.getvalue(), name, cache_dir=get_upload_folder())
    return gr.FileData(path=path, orig_name=name, mime_type="image/png").model_dump()


def _run(place: Place, values: dict[str, Any]) -> Run:
    request = checked(values)
    return COMPUTE.submit(prepare, request, place.device, place.folder).result()


def sample(
    place: Place,
    prior: str = Request.prior,
    resolution: int = Request.resolution,
    steps: int = Request.steps,
    sampler: str = Request.sampler,
    count: int = Request.count,
    seed: int = Request.seed,
    score: str = Request.score,
    checkpoint: str | None = None,
) -> dict:
    """Turn noise into images; the answer names the run and holds the picture as a PNG file."""
    values = {k: v for k, v in locals().items() if k != "place"}
    run = _run(place, values)
    start, (frame,) = time.perf_counter(), deque(_steps(run), maxlen=1)
    return {
        "picture": _picture(sheet(pixels(frame.x0[:, 0])), "sample.png"),
        "checkpoint": run.checkpoint,
        "trained_levels": run.trained_levels,
        "prior": run.prior.to_dict(),
        "network_calls": run.request.calls,
        "device": str(run.device),
        "seconds": round(time.perf_counter() - start, 3),
    }


def frames(
    place: Place,
    prior: str = Request.prior,
    resolution: int = Request.resolution,
    steps: int = Request.steps,
    sampler: str = Request.sampler,
    count: int = Request.count,
    seed: int = Request.seed,
    score: str = Request.score,
    checkpoint: str | None = None,
) -> Iterator[dict]:
    """Every solver state: step, time, alpha, sigma, and x0 as base64 of uint8 (count, N, N)."""
    values = {k: v for k, v in locals().items() if k != "place"}
    for frame in _steps(_run(place, values)):
        yield {
            "step": frame.step,
            "time": frame.time,
            "alpha": frame.alpha,
            "sigma": frame.sigma,
            "x0": base64.b64encode(grey(frame.x0).tobytes()).decode("ascii"),
        }


def _prior(place: Place, name: Any) -> Any:
    if not isinstance(name, str) or name not in PRIORS:
        raise ValueError(f"prior must be one of {', '.join(PRIORS)}, got {str(name)[:80]!r}")
    return default_prior(name, default_statistics(place.folder))


def noise(
    place: Place,
    prior: str = Request.prior,
    resolution: int = 64,
    count: int = 4,
    seed: int = Request.seed,
) -> dict:
    """Draw functions from N(0, Q): a PNG file, the trace at this level and in the continuum."""
    q, n = _prior(place, prior), _level(resolution)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_IMAGES:
        raise ValueError(f"count must be from 1 to {MOST_IMAGES}, got {str(count)[:80]}")
    draws = COMPUTE.submit(q.draw, check_seed(seed), range(count), n).result()
    return {
        "picture": _picture(sheet(pixels(draws[:, 0])), "noise.png"),
        "prior": q.to_dict(),
        "trace_class": q.trace_class,
        "level_trace": q.level_trace(n),
        "continuum_trace": q.total if q.trace_class else None,
    }


def _level(resolution: Any) -> int:
    n = check_resolution(resolution)
    if n > FINEST_LIVE:
        raise ValueError(f"resolution must be at most {FINEST_LIVE} here, got {n}")
    return n


def prior_spectrum(place: Place, prior: str = Request.prior, resolution: int = 64) -> dict:
    """Eigenvalues q_k, averaged over the shells round(|k|) = 0, 1, …, and their sum."""
    q, n = _prior(place, prior), _level(resolution)
    return {
        "prior": q.to_dict(),
        "trace_class": q.trace_class,
        "shell_mean": radial_mean(q.eigenvalues(n), n).tolist(),
        "level_trace": q.level_trace(n),
    }
