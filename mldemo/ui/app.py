"""The page: a title, the tabs, a footer."""

import importlib
import json
import os
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr
import torch

import mldemo
from mldemo.machine import share_cores, tune_process
from mldemo.pipeline import default_checkpoint, prepare
from mldemo.request import Request
from mldemo.store.hub import in_background
from mldemo.store.manifest import BUNDLE, checkpoint_names, find
from mldemo.ui.server.api import add_endpoints
from mldemo.ui.server.live import COMPUTE, Live, Source
from mldemo.ui.server.opening import choices, links, opening, title
from mldemo.ui.server.quota import Decorator, on_borrowed
from mldemo.ui.server.serve import Page, Served
from mldemo.ui.tab import Place, Tab, build_tab, defaults_of, on_page, source_of
from mldemo.ui.tabs.evidence import evidence
from mldemo.ui.tabs.forward import forward
from mldemo.ui.tabs.learn import learn
from mldemo.ui.tabs.priors import priors
from mldemo.ui.tabs.resolution import resolution
from mldemo.ui.tabs.solvers import solvers
from mldemo.ui.tabs.training import training
from mldemo.ui.tabs.watch import watch

TABS = (
    *(watch.tab, resolution.tab, priors.tab, forward.tab),
    *(solvers.tab, training.tab, evidence.tab, learn.tab),
)
TITLE = title()
PRERECORDED = "The run that moves when the page opens is prerecorded; whatever you start is live."


def build_app(
    device: torch.device | str = "cpu", folder: Path = BUNDLE, gpu: Decorator | None = None
) -> Page:
    """The page, computing on `device` with the checkpoints of `folder`; loads no network yet.

    gpu: lends live runs a GPU (`quota.borrowed_gpu`); runs without a loan use `device`.
    """
    place = Place(torch.device(device), Path(folder))
    tabs = [make(place) for make in TABS]
    with Page(
        title="mldemo", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)
    ) as demo:
        gr.HTML(TITLE, elem_id="title", apply_default_css=False)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            parts = {tab.id: build_tab(tab) for tab in tabs}
        gr.HTML(_footer(place), elem_id="footer", apply_default_css=False)
        every = [c for i in (0, 1) for both in parts.values() for c in both[i]]
        specs = [
            {
                "tab": t.id,
                "title": t.title,
                "fields": [f.spec() for f in t.fields],
                "aspects": [a.spec() for a in t.aspects],
            }
            for t in tabs
        ]
        demo.load(None, None, every, js=on_page(f"fromUrl({json.dumps(specs)})"))
        add_endpoints(place)
    demo.queue(max_size=16, api_open=False)  # True would let calls bypass the queue
    defaults = {tab.id: defaults_of(tab) for tab in tabs}
    sources = {tab.id: _source(tab, place, gpu) for tab in tabs}
    stamps = {tab.id: tab.stamp for tab in tabs if tab.stamp}
    live = Live(sources, defaults, [tab.id for tab in tabs if tab.alone], stamps)
    head, now = (links(learn.facts(place)), opening(tabs[0], TITLE)), partial(choices, tabs)
    started = partial(begin, place.device, place.folder)
    demo.served = Served(live, tabs[0].id, head, now, started)
    return demo


def _source(tab: Tab, place: Place, gpu: Decorator | None) -> Source:
    here = source_of(tab, place)
    if gpu is None or tab.eager or tab.alone:  # cheap, or a training on the CPU
        return here
    lent = replace(place, device=torch.device("cuda"), usual=place.device)
    return on_borrowed(gpu, source_of(tab, lent), here)


def _footer(place: Place) -> str:
    """Version, device, where the checkpoints come from, what is prerecorded."""
    try:
        names = checkpoint_names(place.folder)
    except ValueError:
        names = []
    origin = f"{', '.join(names) or 'none'} in {place.folder.name}/"
    device = "CPU" if place.device.type == "cpu" else f"GPU ({place.device.type})"
    parts = [f"mldemo {mldemo.__version__}", f"computes on {device}", f"checkpoints: {origin}"]
    return f'<p class="md-footer">{escape(" · ".join(parts))}. {PRERECORDED}</p>'


def begin(device: torch.device, folder: Path) -> None:
    """Divide the cores among runs and start loading what the first one needs."""
    COMPUTE.threads, team = share_cores(device)
    tune_process(None if "OMP_NUM_THREADS" in os.environ else team)
    warm_up(device, folder)


def warm_up(device: torch.device | str = "cpu", folder: Path = BUNDLE) -> Future[None]:
    """Load the default checkpoint in the background, so that the first click is quick.

    A separate thread waits for the Hub, if need be, so that no compute thread is blocked.
    """

    def work() -> None:
        with suppress(ValueError):  # no checkpoint: the first run that needs one says so
            prepare(Request(steps=2), device, folder).result()
        with suppress(ImportError):  # if installed, gradio imports it at its first event
            importlib.import_module("matplotlib.pyplot")

    def fetch_first() -> None:
        with suppress(ValueError):
            if name := default_checkpoint(Request.prior, device, folder):
                find(name, folder)
        COMPUTE.submit(work).result()

    return in_background(fetch_first)
