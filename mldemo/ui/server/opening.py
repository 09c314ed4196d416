"""A recorded run that is shown before gradio has loaded.

Gradio assembles its page in the browser from some seventy files, and for seconds nothing is
visible. The tags added here to the page's head let the browser fetch our own scripts and the
recorded run at once, and play it in the first tab's player; `page.js` moves that player to its
place as soon as gradio has created one.
"""

import html
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mldemo.ui.fields import Choice
from mldemo.ui.tab import STATIC, UI, Tab, base, spec_of, template
from mldemo.ui.terms import TERMS

LOOKS = ("player", "opening")
EVERYWHERE = ("screen", "column", "learn")  # style sheets that must not get gradio's prefix


def modules(name: str) -> list[str]:
    """A script and all that it imports, directly or indirectly, as paths below `ui/`."""
    found = [name]
    for module in found:
        text = (UI / module).read_text("utf-8")
        imports = re.findall(r'^import .* from "(\..+)";', text, re.M)
        paths = ((UI / module).parent.joinpath(path).resolve() for path in imports)
        named = dict.fromkeys(path.relative_to(UI).as_posix() for path in paths)
        found += [other for other in named if other not in found]
    return found


def title() -> str:
    """The page's title in HTML, with links to read on; on a Space, also to its source."""
    space, link = os.environ.get("SPACE_ID", ""), ""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", space):
        address = f"https://huggingface.co/spaces/{space}/tree/main"
        link = f'<a href="{address}" target="_blank" rel="noopener">Source</a>'
    return (STATIC / "title.html").read_text("utf-8").replace("<!-- source -->", link)


def links(facts: dict[str, str]) -> str:
    """Tags for every page's head: icon, style sheets, the players' scripts, `facts` and terms."""
    scripts = (f'<link rel="modulepreload" href="{base()}{m}">' for m in modules("static/page.js"))
    looks = (f'<link rel="stylesheet" href="{base()}static/{name}.css">' for name in EVERYWHERE)
    names = ("screen", "tour")
    own = (f'<script type="module" src="{base()}static/{name}.js"></script>' for name in names)
    figures = f'<meta name="md-facts" content="{html.escape(json.dumps(facts))}">'
    words = (
        f'<meta name="md-terms" content="{html.escape(json.dumps(TERMS, ensure_ascii=False))}">'
    )
    icon = '<link rel="icon" href="favicon.ico">'
    return "\n".join([icon, figures, words, *looks, *scripts, *own])


def choices(tabs: Sequence[Tab]) -> str:
    """A tag for `page.js` with the current options of fields whose options change while served."""
    found: dict[str, dict[str, Any]] = {}
    for tab in tabs:
        for f in tab.fields:
            if isinstance(f, Choice) and callable(f.options):
                found.setdefault(tab.id, {})[f.name] = f.spec()
    return f'<meta name="md-choices" content="{html.escape(json.dumps(found))}">'


def opening(tab: Tab, title: str) -> str:
    """Tags that show `title` and the player of `tab` with its recorded run; "" without one."""
    recording = tab.props.get("recording")
    if recording is None:
        return ""
    known = modules("static/page.js")
    scripts = [m for m in modules(f"tabs/{tab.id}/{tab.id}.js") if m not in known]
    spec = html.escape(json.dumps(spec_of(tab)))
    return "\n".join(
        [
            f'<link rel="preload" href="{base()}static/{recording}" as="fetch" crossorigin>',
            *(f'<link rel="stylesheet" href="{base()}static/{name}.css">' for name in LOOKS),
            *(f'<link rel="modulepreload" href="{base()}{m}">' for m in scripts),
            f'<script type="module" src="{base()}static/opening.js"></script>',
            f'<template id="md-opening-parts" data-spec="{spec}">',
            title + template(tab.id),
            "</template>",
        ]
    )


def asks_only_for(query: str, tab: str) -> bool:
    """Whether a query asks for nothing but `tab`; gradio's own keys, such as `__theme`, may occur.

    Only then is the recorded run shown early: for other queries it would have to be removed again.
    """
    asked = parse_qsl(query, keep_blank_values=True)
    return all(name.startswith("__") or (name, value) == ("tab", tab) for name, value in asked)


class Head:
    """Middleware that completes the head of gradio's page.

    texts: tags for every page, and further tags for queries that ask for nothing but `tab`.
    now: returns further tags for every page, evaluated at each request.
    demo: the page, whose `root_path` is known once it is served. Gradio's URLs are relative to the
    page's own, which fails at a prefix without a final slash; where a prefix is known, the `base`
    element makes them relative to it.
    """

    def __init__(
        self, app: ASGIApp, texts: tuple[str, str], now: Callable[[], str], tab: str, demo: Any
    ) -> None:
        self.app, self.texts, self.now, self.tab, self.demo = app, texts, now, tab, demo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, but HTML pages only once they are complete."""
        start: Message | None = None
        page = bytearray()

        async def complete(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    start = message
                    return
            if start is None:
                await send(message)
                return
            page.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            query = scope.get("query_string", b"").decode("latin-1")
            prefix = self.demo.root_path or scope.get("root_path") or "."
            base = urlsplit(prefix).path.rstrip("/") + "/"
            body = self._completed(page.decode(), query, base).encode()
            MutableHeaders(scope=start)["Content-Length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, complete)

    def _completed(self, page: str, query: str, base: str) -> str:
        every, first = self.texts
        head = f'<base href="{html.escape(base)}">\n{every}\n{self.now()}\n'
        head += first if asks_only_for(query, self.tab) else ""
        return re.sub("<base [^>]*>", lambda _: head, page, count=1)
