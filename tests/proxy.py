"""A reverse proxy and an outer page, for the tests of the page in other people's hands."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


@contextmanager
def _running(app: Starlette) -> Iterator[str]:
    """The address, by name, of a server that runs on a thread of its own."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@contextmanager
def proxy(app: str, prefix: str, says_host: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Address of the page behind a proxy that strips `prefix`, and what was asked beside it.

    says_host: whether the proxy hands the visitor's Host on, as X-Forwarded-Host too.
    """
    astray: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
        alone = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed when reused
        async with httpx.AsyncClient(base_url=app, timeout=120, limits=alone) as client:
            yield {"client": client}

    async def forward(request: Request) -> Response:
        path = request.url.path
        if path != prefix and not path.startswith(prefix + "/"):
            astray.append(path)
            return Response("nothing is served here", 404)
        headers = {k: v for k, v in request.headers.items() if k not in HOP_BY_HOP}
        host = headers.pop("host")
        if says_host:
            headers |= {"host": host, "x-forwarded-host": host, "x-forwarded-proto": "http"}
        url = httpx.URL(path=path.removeprefix(prefix) or "/", query=request.url.query.encode())
        body = await request.body()
        asked = request.state.client.build_request(
            request.method, url, headers=headers, content=body
        )
        answer = await request.state.client.send(asked, stream=True)
        given = {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP}
        closing = BackgroundTask(answer.aclose)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, given, None, closing)

    methods = ["GET", "HEAD", "POST", "OPTIONS", "DELETE"]
    routes = [Route("/{path:path}", forward, methods=methods)]
    with _running(Starlette(routes=routes, lifespan=lifespan)) as address:
        yield f"http://{address}{prefix}", astray


@contextmanager
def outer_page(inside: str) -> Iterator[str]:
    """Address of a page of another site that shows `inside` in a frame, with a Space's permits."""
    permits = (
        "allow-downloads allow-forms allow-modals allow-popups allow-same-origin allow-scripts"
    )
    frame = f'<iframe src="{inside}" sandbox="{permits}" width="1400" height="860"></iframe>'
    text = f"<!doctype html><title>outer</title><link rel=icon href=data:,>{frame}"

    async def answer(_: Request) -> Response:
        return HTMLResponse(text)

    with _running(Starlette(routes=[Route("/", answer)])) as address:
        yield f"http://{address.replace('127.0.0.1', 'localhost')}/"
