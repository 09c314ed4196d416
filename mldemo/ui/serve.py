"""How the page is served: options of `launch`, our own routes, which hosts may be asked for."""

import os
from typing import Any

import gradio as gr
from gradio.route_utils import FnIndexInferError
from gradio.themes import Default
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from mldemo.ui.live import Live, sentence
from mldemo.ui.tab import STATIC, version

HOSTS = ("localhost", "127.0.0.1", "*.hf.space")
_LIVE: dict[int, Live] = {}


def remember(demo: gr.Blocks, live: Live) -> None:
    """Which endpoint belongs to which page; `launch_options` looks it up."""
    _LIVE[id(demo)] = live


class Kept(StaticFiles):
    """Files whose address holds their version: a browser may keep them for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with a year to live in caches."""
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def trusted_hosts(more: str | None = None) -> list[str]:
    """Hosts that may be asked for: this machine, Spaces, and those of MLDEMO_HOSTS (a,b,…)."""
    more = os.environ.get("MLDEMO_HOSTS", "") if more is None else more
    return [*HOSTS, *(h.strip() for h in more.split(",") if h.strip())]


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
    routes = [
        Mount(f"/mldemo/{version()}", Kept(directory=STATIC), name="mldemo-static"),
        Route("/mldemo/live/{tab}", _LIVE[id(demo)].answer, name="mldemo-live"),
    ]
    refused = dict.fromkeys((FnIndexInferError, KeyError, TypeError), _no_such_call)
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=trusted_hosts())
    return {
        "theme": theme,
        "css_paths": STATIC / "style.css",
        "app_kwargs": {"routes": routes, "middleware": [guard], "exception_handlers": refused},
        "root_path": root_path,
        "run_history": False,
        "footer_links": [],
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "100kb",
        "inbrowser": False,
        "share": False,
        "quiet": True,
    }
