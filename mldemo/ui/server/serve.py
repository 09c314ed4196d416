"""Serving the page, with `demo.launch()`, in a notebook or by `gr.mount_gradio_app`.

`Page` is a `gr.Blocks` that adds our routes, guard and style sheets to every application that
gradio creates from it.

Scaling: one process computes on a few threads and computes equal runs once, so a class that
follows one link needs no more than one core. Different runs scale with the number of cores up to
about four, where Python's global lock becomes the bottleneck. Beyond that, use replicas (of the
Space or the container): each holds its own runs in memory, independently of the others, but
gradio's API keeps a session in its process, so a load balancer must be sticky per address.
Gradio's `num_workers` serves files only.
"""

import asyncio
import functools
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio import http_server, routes
from gradio.route_utils import FnIndexInferError
from gradio.themes import Default
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from mldemo.ui.server.guard import Guard
from mldemo.ui.server.live import Live, sentence
from mldemo.ui.server.opening import Head
from mldemo.ui.server.unread import drop_unread
from mldemo.ui.tab import LIBRARIES, STATIC, UI, is_public, version

FILES = StaticFiles(directory=UI)
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans")
MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
SILENT_SECONDS = 10.0  # a connection without a complete request for this long is closed
SHUTDOWN_SECONDS = 1  # after which unfinished answers are cut off


class Served(NamedTuple):
    """What is served in addition to gradio's page.

    live: the live runs; first: the id of the first tab; head, now: the tags that are added to the
    page's head (`opening.Head`); begin: called once the server listens.
    """

    live: Live
    first: str
    head: tuple[str, str]
    now: Callable[[], str]
    begin: Callable[[], Any]


class Page(gr.Blocks):
    """A page with its own routes, guard and style sheets; set `served` after building it."""

    served: Served | None = None  # not yet set when gradio creates its first application

    def launch(self, *arguments: Any, **options: Any) -> Any:
        """As `gr.Blocks.launch`, but also works on an IPv6 address or with a proxy set."""
        name = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
        if ":" in name and not name.startswith("["):
            name = f"[{name}]"  # gradio builds URLs from it
        http_server.LOCALHOST_NAME = "127.0.0.1"  # on which gradio probes ports, over IPv4
        for variable in ("no_proxy", "NO_PROXY"):  # gradio requests its own URL at start
            local = ("localhost", "127.0.0.1", "::1", name.strip("[]"))
            known = os.environ.get(variable, "").split(",")
            os.environ[variable] = ",".join(dict.fromkeys([*filter(None, known), *local]))
        started = super().launch(*arguments, **{**options, "server_name": name})
        config = self.server.config
        config.timeout_graceful_shutdown = SHUTDOWN_SECONDS
        return started

    def run_startup_events(self) -> None:
        """Called by gradio when the server listens, or by the server that it is mounted in."""
        super().run_startup_events()
        # The compute threads need Python's global lock some hundred times a step: let the server
        # hold it for 0.5 ms at most, not 5.
        sys.setswitchinterval(5e-4)
        # gradio polls its queue a thousand times a second, and takes the global lock from the
        # compute threads each time: 9 % of a core
        self._queue.sleep_when_free = 0.02
        if self.served is not None:
            self.served.begin()

    async def run_extra_startup_events(self) -> None:
        """The same, on the event loop."""
        await super().run_extra_startup_events()
        self._dropper = asyncio.create_task(drop_unread(self._queue))
        server = getattr(self, "server", None)
        if server is not None:
            self._sweeper = asyncio.create_task(_sweep(server))

    def close(self, verbose: bool = False) -> None:
        """End live runs, then the server."""
        if self.served is not None:
            self.served.live.close()
        super().close(verbose)

    def parts(self, served: Served, given: dict[str, Any]) -> dict[str, Any]:
        """`app_kwargs` for gradio's application: ours, combined with those that are given."""
        ours = [
            Route(f"/mldemo/{version()}/{{path:path}}", _file, name="mldemo-static"),
            Route("/mldemo/live/{tab}", served.live.answer, name="mldemo-live"),
        ]
        opens = {"texts": served.head, "now": served.now, "tab": served.first}
        head = Middleware(Head, **opens, demo=self)
        refused: dict[Any, Any] = {RequestValidationError: _not_valid}
        refused |= dict.fromkeys((FnIndexInferError, KeyError, TypeError), _no_such_call)
        return {
            **given,
            "routes": [*ours, *given.get("routes", ())],
            "middleware": [Middleware(Guard, demo=self), head, *given.get("middleware", ())],
            "exception_handlers": {**refused, **given.get("exception_handlers", {})},
        }

    def dress(self) -> None:
        """Set the style, no history, footer or monitoring: `launch` and mounting reset these."""
        self.theme = Default(
            primary_hue="blue",
            neutral_hue="slate",
            font=(*FONTS, "sans-serif"),
            font_mono=MONO,
        ).set(
            button_primary_background_fill="*primary_600",  # 500 is too light for white letters
            button_primary_background_fill_hover="*primary_700",
            block_info_text_color="*neutral_600",  # 400 is too light for small letters
            block_info_text_color_dark="*neutral_300",
        )
        self.css, self.css_paths = "", [STATIC / "player.css", STATIC / "style.css"]
        self._set_html_css_theme_variables()
        self.run_history, self.footer_links, self.enable_monitoring = False, [], False


def _bring_parts(create: Callable[..., Any]) -> Callable[..., Any]:
    """Gradio's factory of applications, extended to add the parts of a `Page`."""

    @functools.wraps(create)
    def create_app(blocks: gr.Blocks, *arguments: Any, **options: Any) -> Any:
        if isinstance(blocks, Page) and blocks.served is not None:
            blocks.dress()
            given = options.get("app_kwargs") or {}
            options["app_kwargs"] = blocks.parts(blocks.served, given)
            if options.get("mcp_server") is None:
                options["mcp_server"] = find_spec("mcp") is not None
        return create(blocks, *arguments, **options)

    return create_app


setattr(routes.App, "create_app", staticmethod(_bring_parts(routes.App.create_app)))  # noqa: B010


async def _sweep(server: Any) -> None:
    """Close connections that send no request: uvicorn waits for the end of headers for ever."""
    loop, since = asyncio.get_running_loop(), dict[Any, float]()
    while not server.should_exit:
        await asyncio.sleep(1)
        idle = [c for c in server.server_state.connections if _is_idle(c)]
        since = {c: since.get(c, loop.time()) for c in idle}
        for connection, start in since.items():
            if loop.time() - start > SILENT_SECONDS:
                connection.transport.close()


def _is_idle(connection: Any) -> bool:
    cycle = getattr(connection, "cycle", connection)
    return cycle is None or getattr(cycle, "response_complete", False)


async def _file(request: Request) -> Response:
    """A file whose URL contains its version, so that browsers may cache it for good.

    A route, not a mount: behind a proxy that strips the prefix, a mount looks for its own name in
    front of the file's.
    """
    path = request.path_params["path"]
    if path in LIBRARIES:
        response = FileResponse(LIBRARIES[path])
    elif is_public(UI / path):
        response = await FILES.get_response(path, request.scope)
    else:
        return Response("there is no such file", 404)
    if response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _no_such_call(request: Request, error: Exception) -> Response:
    """A 404 for an unknown endpoint or argument, where gradio would fail with a 500."""
    if not any(part in request.url.path for part in ("/gradio_api/call/", "/gradio_api/queue/")):
        raise error
    return JSONResponse({"detail": f"there is no such call: {sentence(error)}"}, 404)


def _not_valid(_: Request, error: Any) -> Response:
    """FastAPI's 422 without the input: it may be large, and NaN cannot be written as JSON."""
    found = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
    return JSONResponse({"detail": sentence(ValueError("; ".join(found)))}, 422)
