"""The page: pictures and controls. It only translates between the form and the pipeline."""

import importlib
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.themes import Default

from mldemo.checkpoints import BUNDLE, checkpoint_names, manifest_entry
from mldemo.pipeline import Request, checkpoints_for, prepare, request_from
from mldemo.priors import PRIORS
from mldemo.samplers import SAMPLERS
from mldemo.ui.wire import RECORDING, heading, message

HERE = Path(__file__).parent
MOST_IMAGES, MOST_STEPS, FINEST_LIVE = 16, 200, 128
MOST_WORK = 2**26  # network calls x pixels x images; 100 steps of Heun at 128² with 16 images fit
SECONDS = 120.0  # a run that takes longer is ended
UNREAD = 50  # messages that a page may leave unread
PACE = 1 / 60  # frames come no faster than a screen shows them
# All that torch does happens on this one thread, one step at a time: every thread that calls torch
# gets a team of OpenMP threads of its own, gradio calls each step on another thread, and as soon
# as the teams outnumber the cores their barriers sleep instead of spin (twice the time per step).
COMPUTE = ThreadPoolExecutor(1, thread_name_prefix="compute")
SCORES = [
    ("learned", "learned"),
    ("Gaussian", "gaussian"),
    ("empirical", "empirical"),
]
TITLE = """# Noise into digits, in function space
An image is a function; so is the noise. Both are drawn once, as functions, and a neural operator
turns one into the other on any grid: change the resolution and the same digits stay."""


def checked(values: dict[str, Any]) -> Request:
    """A request within what one visitor may ask for; a bad one raises `ValueError`."""
    request = request_from(values)
    for name, value, bound in (
        ("count", request.count, MOST_IMAGES),
        ("steps", request.steps, MOST_STEPS),
        ("resolution", request.resolution, FINEST_LIVE),
    ):
        if value > bound:
            raise ValueError(f"{name} must be at most {bound} on this page, got {value}")
    if request.work > MOST_WORK:
        raise ValueError(
            f"this asks for {request.work} pixel evaluations, the bound on this page is "
            f"{MOST_WORK}: lower resolution, steps or count"
        )
    return request


def _messages(
    values: dict[str, Any], device: torch.device, folder: Path
) -> Iterator[dict[str, Any]]:
    run = prepare(checked(values), device, folder)
    head, ident = heading(run, "live"), uuid.uuid4().hex[:12]
    for frame in run.frames():
        yield message(frame, ident, head)


def stream(
    values: dict[str, Any], device: torch.device, folder: Path, seconds: float = SECONDS
) -> Iterator[dict[str, Any]]:
    """Frames of a run for the page, paced, and ended after `seconds`."""
    messages = _messages(values, device, folder)
    start, due = time.monotonic(), 0.0
    ahead = COMPUTE.submit(next, messages, None)
    try:
        while (value := ahead.result()) is not None:
            ahead = COMPUTE.submit(next, messages, None)
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + PACE
            yield value
            if time.monotonic() - start > seconds and value["step"] < value["head"]["steps"]:
                raise gr.Error(
                    f"stopped after {seconds:g} s at step {value['step']} of "
                    f"{value['head']['steps']}: lower resolution, steps or count",
                    title="Out of time",
                    print_exception=False,
                )
    except ValueError as error:
        raise gr.Error(_short(error), title="Not possible", print_exception=False) from None
    finally:
        ahead.cancel()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else text[:400] + " …"


def _names(folder: Path) -> list[str]:
    try:
        return checkpoint_names(folder)
    except ValueError:
        return []


def _checkpoint_label(name: str, folder: Path) -> str:
    levels = [str(resolution) for resolution, _ in manifest_entry(name, folder)["levels"]]
    only = " only" if len(levels) == 1 else ""
    return f"{name} · trained at {' → '.join(levels)}{only}"


def _prior_choices(folder: Path) -> list[tuple[str, str]]:
    trained = [p for p in PRIORS if _names(folder) and checkpoints_for(p, folder)]
    rest = [p for p in PRIORS if p not in trained]
    return [(p, p) for p in trained] + [(f"{p} (coming; exact scores only)", p) for p in rest]


def _choices(score: Any, prior: Any, folder: Path) -> tuple[dict[str, Any], str]:
    """What the checkpoint menu offers for this score and prior, and what to say about it."""
    known: list[str] = []
    if isinstance(prior, str) and prior in PRIORS and _names(folder):
        known = checkpoints_for(prior, folder)
    offered = [(_checkpoint_label(name, folder), name) for name in known]
    note = ""
    if score != "learned":
        note = "An exact score learns nothing: no checkpoint is used."
    elif not known and prior in PRIORS:
        note = (
            f"No checkpoint was trained with the {prior} prior yet. "
            "Choose one of the exact scores, or the bessel prior."
        )
    menu = {
        "choices": offered,
        "value": known[0] if known else None,
        "interactive": bool(known) and score == "learned",
    }
    return menu, note


def build_app(device: torch.device | str = "cpu", folder: Path = BUNDLE) -> gr.Blocks:
    """The page, computing on `device` with the checkpoints of `folder`; nothing is loaded yet."""
    device, folder = torch.device(device), Path(folder)
    gr.set_static_paths([HERE / "recordings"])
    recording = None
    if RECORDING.is_file():
        version = RECORDING.stat().st_mtime_ns
        recording = f"gradio_api/file={RECORDING.as_posix()}?v={version}"
    offered, note_text = _choices("learned", Request.prior, folder)

    with gr.Blocks(title="mldemo", analytics_enabled=False, fill_width=True) as demo:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Row(elem_id="watch-row"):
            with gr.Column(scale=4, min_width=320):
                view = gr.HTML(
                    None,
                    html_template=(HERE / "player.html").read_text("utf-8"),
                    js_on_load=(HERE / "player.js").read_text("utf-8"),
                    apply_default_css=False,
                    elem_id="player",
                    recording=recording,
                )
            with gr.Column(scale=1, min_width=330, elem_id="controls"):
                with gr.Row():
                    start = gr.Button("Start", variant="primary", elem_id="start", min_width=80)
                    stop = gr.Button("Stop", elem_id="stop", min_width=80)
                score = gr.Radio(SCORES, value="learned", label="Score (two are exact)")
                prior = gr.Dropdown(_prior_choices(folder), value=Request.prior, label="Prior")
                menu = gr.Dropdown(label="Checkpoint", elem_id="checkpoint", **offered)
                note = gr.Markdown(note_text, elem_id="note", visible=bool(note_text))
                resolution = gr.Radio([16, 32, 64, 128], value=32, label="Resolution")
                count = gr.Radio([1, 4, 9, 16], value=16, label="Images")
                sampler = gr.Dropdown(
                    [(label, name) for name, label in SAMPLERS.items()],
                    value=Request.sampler,
                    label="Sampler",
                )
                steps = gr.Slider(2, 100, value=20, step=1, label="Steps")
                with gr.Row(elem_id="seed-row"):
                    seed = gr.Number(7, precision=0, minimum=0, label="Seed", min_width=100)
                    dice = gr.Button("Roll dice", elem_id="dice", min_width=100)

        def live(
            score: Any,
            prior: Any,
            checkpoint: Any,
            resolution: Any,
            steps: Any,
            sampler: Any,
            count: Any,
            seed: Any,
            request: gr.Request,
        ) -> Iterator[dict[str, Any]]:
            """Denoise and stream every solver state."""
            values = {
                "score": score,
                "prior": prior,
                "resolution": resolution,
                "steps": steps,
                "sampler": sampler,
                "count": count,
                "seed": seed,
                "checkpoint": checkpoint if score == "learned" else None,
            }
            unread = demo._queue.pending_messages_per_session
            for value in stream(values, device, folder):
                session = request.session_hash or ""
                inbox = unread[session] if session in unread else None
                if inbox is not None and inbox.qsize() > UNREAD:
                    raise gr.Error(
                        f"this page left more than {UNREAD} messages unread",
                        print_exception=False,
                    )
                yield value

        # preprocess=False: components let NaN, true and lists through, `checked` does not.
        event = start.click(
            live,
            [score, prior, menu, resolution, steps, sampler, count, seed],
            view,
            api_name="run",
            preprocess=False,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=2,
            concurrency_id="compute",
        )
        event.failure(
            None, js="() => { document.dispatchEvent(new Event('mldemo-failed')); return []; }"
        )
        stop.click(None, None, None, cancels=[event])
        dice.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)")

        def offer(score: Any, prior: Any) -> tuple[Any, Any]:
            offered, text = _choices(score, prior, folder)
            return gr.Dropdown(**offered), gr.Markdown(text, visible=bool(text))

        gr.on(
            [score.input, prior.input],
            offer,
            [score, prior],
            [menu, note],
            api_visibility="private",
            preprocess=False,
            show_progress="hidden",
            queue=False,
        )
    demo.queue(max_size=16, api_open=False)
    return demo


def launch_options() -> dict[str, Any]:
    """What `demo.launch` needs so that the page looks right, keeps quiet and stays small."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
    mono = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
    return {
        "theme": Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono),
        "css_paths": HERE / "style.css",
        "run_history": False,
        "footer_links": [],
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "100kb",
        "inbrowser": False,
        "share": False,
        "quiet": True,
    }


def warm_up(device: torch.device | str = "cpu", folder: Path = BUNDLE) -> Future[None]:
    """Load the default checkpoint in the background, so that the first click is quick."""

    def work() -> None:
        with suppress(ImportError):  # gradio imports it at its first event, if it is there
            importlib.import_module("matplotlib.pyplot")
        with suppress(ValueError):  # no checkpoint: the page says so when it is asked for one
            prepare(Request(steps=2), device, folder).result()

    return COMPUTE.submit(work)
