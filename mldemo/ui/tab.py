"""A tab: controls on the right, a player on the left, a source of records behind it.

A tab's Python module defines the controls and computes the records; `<id>.html` and `<id>.js` in
its folder define what is drawn. What connects them, here and in `static/page.js`, is shared by all
tabs.
"""

import hashlib
import json
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from mldemo.ui.fields import Aspect, Field, Number, Unseen, Whole, read_all
from mldemo.ui.place import Place
from mldemo.ui.server.live import Source
from mldemo.ui.wire import Record

UI = Path(__file__).parent
DEFAULT_ADDRESS = "http://127.0.0.1:7860/"  # of the app, in Markdown that is read elsewhere too
STATIC, TABS = UI / "static", UI / "tabs"


def _plotly() -> Path:
    """The path of Plotly's script in the installed package, found without importing it."""
    spec = find_spec("plotly")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")


# Scripts of installed packages, by the path in their URLs, which contains the version
LIBRARIES = {f"libraries/plotly-{metadata.version('plotly')}.js": _plotly()}


@dataclass(frozen=True)
class Tab:
    """A tab of the page; `id` names it in the URL, and its folder in `tabs/`.

    source: values of the fields -> records; a generator, run on compute threads only.
    props: further data for the tab's script, as JSON types.
    eager: run when the tab is opened, and without delay after every change (for cheap runs).
    alone: its runs take minutes: they start only with Start, and run one at a time, on the CPU.
    start: the label of the button that starts a run.
    aspects: radio buttons in addition to the fields.
    unseen: what the tab's script adds to a run's query (in its `ask`), besides the fields.
    notes: a Markdown page shown below the tab, collapsed.
    stamp: what the records depend on besides the query; runs are reused only while it is the same.
    """

    id: str
    title: str
    fields: Sequence[Field]
    source: Callable[[dict[str, Any], Place], Iterator[Record]]
    props: dict[str, Any] = field(default_factory=dict)
    eager: bool = False
    alone: bool = False
    start: str = "Start"
    aspects: Sequence[Aspect] = ()
    unseen: Sequence[Unseen] = ()
    notes: Path | None = None
    stamp: Callable[[], Hashable] | None = None


def is_public(path: Path) -> bool:
    """Whether a file may be served: those in `static/` and `tabs/`, except Python."""
    here = path.resolve()
    inside = here.is_relative_to(STATIC) or here.is_relative_to(TABS)
    return inside and here.is_file() and here.suffix not in (".py", ".pyc")


@lru_cache(maxsize=1)
def version() -> str:
    """A hash of the public files, part of their URLs, so that browsers may cache them for good."""
    digest = hashlib.sha256()
    for path in sorted(p for p in UI.rglob("*") if is_public(p)):
        digest.update(path.relative_to(UI).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:10]


def base() -> str:
    """The address of this folder, relative to the page."""
    return f"mldemo/{version()}/"


def on_page(call: str, module: str = "static/page.js") -> str:
    """JavaScript for a gradio event: evaluates `call` on a module, with the inputs as `v`."""
    return (
        "async (...v) => { const page = await import("
        f"new URL('{base()}{module}', document.baseURI).href); return page.{call}; }}"
    )


def source_of(tab: Tab, place: Place) -> Source:
    """A function from a query to the tab's records; it raises at once if a value is invalid."""

    def records(query: Any) -> Iterator[Record]:
        return tab.source(read_all((*tab.fields, *tab.unseen), query), place)

    return records


def defaults_of(tab: Tab) -> dict[str, str]:
    """The default of each control, written as in a query."""
    defaults = {f.name: f.default for f in (*tab.fields, *tab.unseen)}
    return {k: ".".join(v) if isinstance(v, list | tuple) else f"{v}" for k, v in defaults.items()}


def template(tab: str) -> str:
    """`tabs/<tab>/<tab>.html`, with `static/<part>.html` in place of each `<!-- part -->`."""
    return _filled(TABS / tab / f"{tab}.html")


def _filled(path: Path) -> str:
    text = path.read_text("utf-8")
    return re.sub("<!-- ([a-z]+) -->", lambda p: _filled(STATIC / f"{p[1]}.html").rstrip(), text)


def spec_of(tab: Tab) -> dict[str, Any]:
    """What the tab's player needs to know, as JSON types."""
    return {
        "tab": tab.id,
        "eager": tab.eager,
        "alone": tab.alone,
        "fields": [f.spec() for f in tab.fields],
        "unseen": [u.name for u in tab.unseen],
        "props": tab.props,
    }


def build_tab(tab: Tab) -> tuple[list[Component], list[Component]]:
    """Add the tab to the page under construction; returns the components of fields and aspects."""
    with gr.Tab(tab.title, id=tab.id, elem_id=f"tab-{tab.id}") as pane:
        with gr.Row(elem_classes="md-row"):
            with gr.Column(scale=4, min_width=320):
                gr.HTML(
                    None,
                    html_template=template(tab.id),
                    js_on_load=f"import(new URL('{base()}static/page.js', document.baseURI).href)"
                    ".then((page) => page.mount(element, JSON.parse(props.spec)));",
                    apply_default_css=False,
                    elem_classes="md-host",
                    spec=json.dumps(spec_of(tab)),
                )
            with gr.Column(scale=1, min_width=330, elem_classes="md-controls"):
                with gr.Row(elem_classes="md-run"):
                    start = gr.Button(
                        tab.start, variant="primary", elem_id=f"{tab.id}-start", min_width=80
                    )
                    stop = gr.Button("Stop", elem_id=f"{tab.id}-stop", min_width=80)
                components, aspects = _controls(tab)
        if tab.notes is not None:
            _folded(tab.notes)
    start.click(None, components, None, js=on_page(f"start('{tab.id}', v)"))
    stop.click(None, None, None, js=on_page(f"stop('{tab.id}')"))
    pane.select(None, None, None, js=on_page("select()"))
    gr.on(
        [c.change for c in components],  # type: ignore[attr-defined]
        None,
        components,
        None,
        js=on_page(f"changed('{tab.id}', v)"),
    )
    return components, aspects


def _controls(tab: Tab) -> tuple[list[Component], list[Component]]:
    """The components of the fields, the lesser ones grouped and collapsed, and of the aspects."""
    made = {f.name: _component(tab, f) for f in tab.fields if not f.lesser}
    aspects = {a.name: a.component(f"{tab.id}-{a.name}") for a in tab.aspects}
    words = {f.name: f.why for f in (*tab.fields, *tab.aspects)}
    lesser = len(made) < len(tab.fields)
    gr.HTML(
        None,
        html_template=_filled(STATIC / "column.html"),
        js_on_load=f"import(new URL('{base()}static/column.js', document.baseURI).href)"
        ".then((column) => column.mount(element, JSON.parse(props.spec)));",
        apply_default_css=False,
        elem_classes="md-fold",
        spec=json.dumps({"tab": tab.id, "why": words, "lesser": lesser}),
    )
    if lesser:
        with gr.Column(elem_classes="md-lesser"):
            made |= {f.name: _component(tab, f) for f in tab.fields if f.lesser}
    for aspect in tab.aspects:
        _tie(tab, aspect, aspects[aspect.name], made)
    for f in tab.fields:
        if isinstance(f, Number) and f.suits:
            pair = [made[f.of], made[f.name]]
            suited = on_page(f"suited({json.dumps(f.spec())}, ...v)", "static/fields.js")
            pair[0].input(None, pair, pair[1], js=suited)  # type: ignore[attr-defined]
    return [made[f.name] for f in tab.fields], [*aspects.values()]


def _tie(tab: Tab, aspect: Aspect, buttons: gr.Radio, made: dict[str, Component]) -> None:
    """Update the buttons when a field changes, and the field `aspect.of` when one is pressed."""
    module, facts = f"tabs/{tab.id}/{aspect.name}.js", json.dumps(aspect.facts)
    fields = [made[f.name] for f in tab.fields]
    names = json.dumps([f.name for f in tab.fields])
    values = f"Object.fromEntries({names}.map((name, i) => [name, v[i]]))"
    gr.on(
        [c.change for c in fields],  # type: ignore[attr-defined]
        None,
        fields,
        buttons,
        js=on_page(f"shown({facts}, {values})", module),
        trigger_mode="always_last",
    )
    buttons.input(
        None,
        [*fields, buttons],
        made[aspect.of],
        js=on_page(f"chosen({facts}, {values}, v.at(-1))", module),
    )


def _folded(page: Path) -> None:
    """A Markdown page, collapsed under its heading; its links to the app lead to this page."""
    heading, text = page.read_text("utf-8").removeprefix("# ").split("\n", 1)
    with gr.Accordion(heading, open=False, elem_classes="md-notes"):
        gr.Markdown(text.replace(DEFAULT_ADDRESS, ""), container=False)


def _component(tab: Tab, f: Field) -> Component:
    ident = f"{tab.id}-{f.name}"
    if f.name != "seed" or not isinstance(f, Whole):
        return f.component(ident)
    with gr.Row(elem_classes="md-seed-row", elem_id=f"{ident}-row"):
        box = f.component(ident)
        dice = gr.Button("Roll dice", elem_id=f"{tab.id}-dice", min_width=100)
    dice.click(None, None, box, js="() => Math.floor(Math.random() * 1e6)")
    return box
