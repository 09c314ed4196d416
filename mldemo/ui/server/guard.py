"""A filter for requests, applied before gradio sees them.

Gradio serves much that this page does not use (uploads, proxies, component servers, monitoring):
those paths are closed here. Also refused are foreign host names, large or slow bodies, and
malformed calls, which gradio would meet with an exception.
"""

import asyncio
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 2**18  # bytes; the page itself sends a few hundred
BODY_SECONDS = 10.0
LONGEST_PATH, LONGEST_PART, DEEPEST = 1000, 255, 256
OPEN = (  # the first part of a path, "" being the page itself
    *("", "assets", "config", "favicon.ico", "gradio_api", "manifest.json", "mldemo"),
    *("pwa_icon", "robots.txt", "static", "svelte", "theme.css"),
)
OPEN_API = (  # what follows gradio_api/
    *("api_info", "app_id", "call", "cancel", "file", "heartbeat", "info", "mcp"),
    *("openapi.json", "queue", "reset", "startup-events", "theme.css"),
)
# Headers that are dropped: a client must not choose which server answers, nor resume a stream,
# since streams are not stored.
DROPPED = (b"x-gradio-server", b"last-event-id")


class Refused(Exception):
    """A refusal, sent as an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def host_of(value: str) -> str:
    """The name or address in a Host header, in lower case, without port, brackets or final dot."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return (value if value.count(":") > 1 else value.partition(":")[0]).rstrip(".")


def is_trusted(host: str, names: Iterable[str]) -> bool:
    """Whether a host is accepted: any IP address, or one of `names` ("*.org": any name below org).

    Other names are refused even if they resolve to this machine (DNS rebinding); with an IP
    address as host, no name is involved.
    """
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name for name in names
        )
    return True


def trusted_names(*served_as: str | None) -> list[str]:
    """This machine, Spaces, MLDEMO_HOSTS (a,b,…), and the names the server was started with."""
    machine = socket.gethostname().lower()
    more = [host_of(name) for name in os.environ.get("MLDEMO_HOSTS", "").split(",")]
    told = [host_of(urlsplit(s).netloc if s and "://" in s else s or "") for s in served_as]
    return ["localhost", "*.hf.space", machine, f"{machine}.local", *filter(None, more + told)]


class Guard:
    """Middleware around gradio's application; `demo` is the page that it serves."""

    def __init__(self, app: ASGIApp, demo: Any) -> None:
        self.app, self.demo = app, demo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on without the dropped headers."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            if scope["type"] == "websocket":
                raise Refused(404, "nothing is served over web sockets here")
            headers = Headers(scope=scope)
            self._check_hosts(headers)
            path = _check_path(scope)
            if _has_body(headers):
                body = await _read(receive, headers)
                if path.startswith("/gradio_api/"):
                    self._check_call(body)
                receive = _replayed(body, receive)
        except Refused as refused:
            if scope["type"] == "http":
                answer = PlainTextResponse(str(refused), refused.status, {"Connection": "close"})
                await answer(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        kept = [(name, value) for name, value in scope["headers"] if name not in DROPPED]
        await self._answer({**scope, "headers": kept}, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio's answer; a stream whose session is gone has already said so, and is ended."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except RuntimeError as error:
            if not (started and isinstance(error.__cause__, HTTPException)):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _check_hosts(self, headers: Headers) -> None:
        if self.demo.custom_mount_path is not None:  # the outer application checks hosts
            return
        names = trusted_names(self.demo.root_path, self.demo.server_name)
        asked = [headers.get("host", "")]
        asked += [h for v in headers.getlist("x-forwarded-host") for h in v.split(",")]
        for host in map(host_of, asked):
            if not is_trusted(host, names):
                raise Refused(
                    400,
                    f"Invalid host header: {host[:80]!r} is none of this server's names; "
                    "MLDEMO_HOSTS adds some",
                )

    def _check_call(self, body: bytes) -> None:
        """Require JSON, and that `fn_index`, if given, names an existing function."""
        try:
            value = json.loads(body)
            depth = _depth(value)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is no JSON that can be read") from None
        if depth > DEEPEST:
            raise Refused(400, f"the body is nested more than {DEEPEST} deep")
        index = value.get("fn_index") if isinstance(value, Mapping) else None
        if index is None:
            return
        known = self.demo.fns.get(index) if type(index) is int else None
        if known is None or known.fn is None:
            raise Refused(404, f"there is no function {str(index)[:80]!r}")


def _check_path(scope: Scope) -> str:
    """The path below the mount point; paths that the page does not need are refused."""
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    parts = path.split("/")
    longest = max(len(part.encode(errors="replace")) for part in parts)
    if len(path) > LONGEST_PATH or longest > LONGEST_PART:
        raise Refused(414, "the path is too long")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", path):
        raise Refused(404, "the path holds control characters")
    first, second = parts[1], parts[2].partition("=")[0] if len(parts) > 2 else ""
    if first not in OPEN or (first == "gradio_api" and second not in OPEN_API):
        raise Refused(404, "nothing is served here")
    return path


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _read(receive: Receive, headers: Headers) -> bytes:
    """The whole body, unless it is too large or too slow."""
    announced = headers.get("content-length", "0")
    too_large = Refused(413, f"the body is larger than {LARGEST_BODY} bytes")
    if not announced.isdecimal() or int(announced) > LARGEST_BODY:
        raise too_large
    body = bytearray()

    async def whole() -> None:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(400, "the body breaks off")
            body.extend(message.get("body", b""))
            if len(body) > LARGEST_BODY:
                raise too_large
            if not message.get("more_body", False):
                return

    try:
        await asyncio.wait_for(whole(), BODY_SECONDS)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:g} s") from None
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A substitute for `receive`: it returns the body already read, then what follows."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _depth(value: Any) -> int:
    """The nesting depth of lists and objects."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, list | dict)]:
        depth += 1
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v)]
    return depth
