"""How the page is served: options of `launch`, our own routes, which hosts may be asked for."""

import os
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gradio as gr
from gradio.route_utils import FnIndexInferError
from gradio.themes import Default
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from mldemo.ui.server.live import Live, sentence
from mldemo.ui.server.opening import Head
from mldemo.ui.tab import STATIC, UI, is_public, version

HOSTS = ("localhost", "127.0.0.1", "*.hf.space")
FILES = StaticFiles(directory=UI)


class Served(NamedTuple):
    """What is served beside gradio's page: live runs, and `head`, what opens in tab `first`."""

    live: Live
    first: str
    head: tuple[str, str]


_SERVED: dict[int, Served] = {}


def remember(demo: gr.Blocks, served: Served) -> None:
    """What belongs to which page; `launch_options` looks it up."""
    _SERVED[id(demo)] = served


async def _file(request: Request) -> Response:
    """A file whose address holds its version: a browser may keep it for good.

    A route and no mount: behind a proxy that takes the prefix off, a mount looks for its own name
    in front of the file's.
    """
    path = request.path_params["path"]
    if not is_public(UI / path):
        return Response("there is no such file", 404)
    response = await FILES.get_response(path, request.scope)
    if response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def trusted_hosts(root_path: str | None = None) -> list[str]:
    """Hosts that may be asked for: this machine, Spaces, MLDEMO_HOSTS (a,b,…), the root's own."""
    more = os.environ.get("MLDEMO_HOSTS", "").split(",")
    named = [h.strip() for h in more] + [urlsplit(root_path or "").hostname or ""]
    return [*HOSTS, *filter(None, named)]


def _no_such_call(request: Request, error: Exception) -> Response:
    """A 404 where gradio would fail with a 500: an endpoint or an argument that there is not."""
    if not any(part in request.url.path for part in ("/gradio_api/call/", "/gradio_api/queue/")):
        raise error
    return JSONResponse({"detail": f"there is no such call: {sentence(error)}"}, 404)


def launch_options(demo: gr.Blocks, root_path: str | None = None) -> dict[str, Any]:
    """What `demo.launch` needs: looks, our routes, a guard of hosts, nothing that phones home."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans")
    fonts = (*fonts, "sans-serif")
    mono = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
    theme = Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono).set(
        button_primary_background_fill="*primary_600",  # 500 is too light for white letters
        button_primary_background_fill_hover="*primary_700",
    )
    served = _SERVED[id(demo)]
    routes = [
        Route(f"/mldemo/{version()}/{{path:path}}", _file, name="mldemo-static"),
        Route("/mldemo/live/{tab}", served.live.answer, name="mldemo-live"),
    ]
    refused = dict.fromkeys((FnIndexInferError, KeyError, TypeError), _no_such_call)
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=trusted_hosts(root_path))
    head = Middleware(Head, texts=served.head, tab=served.first, root_path=root_path)
    return {
        "theme": theme,
        "css_paths": [STATIC / "player.css", STATIC / "style.css"],
        "app_kwargs": {
            "routes": routes,
            "middleware": [guard, head],
            "exception_handlers": refused,
        },
        "root_path": root_path,
        "mcp_server": find_spec("mcp") is not None,
        "run_history": False,
        "footer_links": [],
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "100kb",
        "inbrowser": False,
        "share": False,
        "quiet": True,
    }
