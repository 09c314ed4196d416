"""A thousand calls that nobody should make, generated over every route of the real app.

None is answered with a 500, none leaves a traceback in the log, a file, or memory.
"""

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from test_public import Served
from ui import serve

CALLS, SEED = 1000, 20261127
TEXTS = ["", "x", "x" * 300, "x" * 5000, "\x00", "%00", "..", "../../../etc/passwd", "٣"]
TEXTS += [
    "\ud7ff",
    "http://[::1",
    "http://169.254.169.254/",
    "C:\\x",
    "<script>",
    "${7*7}",
    "{{7*7}}",
    "%ff",
]
NUMBERS = ["NaN", "-Infinity", "1e999", "-1", "0", "3", "7", "9999", "1" + "0" * 300, "true"]
PATHS = [
    *("/", "/config", "/config/", "/theme.css", "/robots.txt", "/favicon.ico", "/manifest.json"),
    *("/assets/{}", "/static/{}", "/svelte/{}", "/static/img/{}", "/pwa_icon/{}", "/{}"),
    *("/mldemo/live/{}", "/mldemo/{}/static/hub.js", "/mldemo/live/watch?n={}&steps={}"),
    *("/mldemo/live/priors?priors={}", "/mldemo/live/forward?{}={}", "/?{}={}", "/login"),
    *("/monitoring", "/monitoring/summary", "/monitoring/{}", "/docs", "/openapi.json"),
    *(f"/gradio_api/{name}" for name in ("info", "openapi.json", "api_info", "app_id", "user")),
    *(f"/gradio_api/{name}" for name in ("token", "login_check", "upload", "component_server")),
    *(f"/gradio_api/{name}/{{}}" for name in ("file", "stream", "custom_component", "call")),
    *(f"/gradio_api/{name}={{}}" for name in ("file", "proxy", "file/x")),
    *("/gradio_api/call/{}", "/gradio_api/call/sample", "/gradio_api/call/v2/noise"),
    *("/gradio_api/call/noise/{}", "/gradio_api/run/{}", "/gradio_api/api/{}"),
    *("/gradio_api/queue/join", "/gradio_api/queue/join?{}={}", "/gradio_api/queue/data"),
    *("/gradio_api/queue/status", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/mcp/"),
    *("/gradio_api/mcp", "/gradio_api/upload?upload_id={}", "/gradio_api/upload_progress"),
    *("/gradio_api/startup-events", "/gradio_api/deep_link?session_hash={}", "/gradio_api/{}"),
    *("/gradio_api/process_recording", "/gradio_api/dev/reload", "/gradio_api/theme.css"),
]
ENDLESS = (
    "heartbeat",
    "queue/data",
    "dev/reload",
    "mcp",
)  # answers that only end with their reader


def bodies(rng: random.Random) -> tuple[bytes, str]:
    """A body and its content type."""
    text, number = rng.choice(TEXTS), rng.choice(NUMBERS)
    deep = rng.choice((5, 90, 300, 50_000))
    index = rng.choice([*map(str, range(30)), number])
    session = json.dumps(rng.choice(["a", text]))
    method = rng.choice(["tools/call", "initialize", "tools/list", text])
    return rng.choice(
        [
            (b"", "application/json"),
            (b"\xff\xfe", "application/json"),
            (b"[" * deep + b"]" * deep, "application/json"),
            (json.dumps(text).encode("utf-8", "surrogatepass"), "application/json"),
            (f'{{"data": [{number}, {json.dumps(text)}]}}'.encode(), "application/json"),
            (f'{{"data": [], "fn_index": {index}}}'.encode(), "application/json"),
            (
                f'{{"data": [{number}], "fn_index": {index}, "session_hash": {session}}}'.encode(),
                "application/json",
            ),
            (f'{{"event_id": {number}, "session_hash": {session}}}'.encode(), "application/json"),
            (
                f'{{"component_id": {number}, "fn_name": {json.dumps(text)}, "data": {number}, '
                f'"session_hash": {session}}}'.encode(),
                "application/json",
            ),
            (
                json.dumps(
                    {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": text}}
                ).encode("utf-8", "surrogatepass"),
                "application/json",
            ),
            (
                b'{"jsonrpc": "2.0", "a": ' + b'{"a": ' * deep + b"1" + b"}" * deep + b"}",
                "application/json",
            ),
            (b"x" * rng.choice((10, 300_000)), "text/plain"),
            (b"--x\r\n\r\n", "multipart/form-data; boundary=" + "x" * rng.choice((1, 10_000))),
            (b"username=a&password=b", "application/x-www-form-urlencoded"),
        ]
    )


def call(client: httpx.Client, rng: random.Random) -> tuple[str, int, str]:
    """One hostile call: what was asked, the status, the beginning of the answer."""
    path = rng.choice(PATHS)
    while "{}" in path:
        text = rng.choice([*TEXTS, *NUMBERS])
        path = path.replace("{}", rng.choice([quote(text, safe="/=:"), quote(text, safe="")]), 1)
    method = rng.choice(["GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
    headers, body = {}, b""
    if method in ("POST", "PUT"):
        body, headers["Content-Type"] = bodies(rng)
    if rng.random() < 0.2:
        name = rng.choice(["X-Forwarded-Host", "X-Gradio-Server", "X-Forwarded-Proto", "Range"])
        name = rng.choice([name, "Accept", "Cookie", "Origin", "Accept-Language", "Last-Event-ID"])
        values = ["evil.com", "http://[::1", "bytes=9-1", "x" * 3000, "\x01", "é"]
        headers[name] = rng.choice(values)
    if rng.random() < 0.3:
        headers["Accept"] = "application/json, text/event-stream"
    what = f"{method} {path[:80]} {headers} {body[:60]!r}"
    try:
        request = client.build_request(method, path, content=body, headers=headers)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return what, 0, ""
    try:
        with client.stream(method, request.url, content=body, headers=headers) as answer:
            if any(part in path for part in ENDLESS):
                return what, answer.status_code, ""
            return what, answer.status_code, answer.read()[:2000].decode("latin-1")
    except httpx.LocalProtocolError:  # the client itself refuses to send it
        return what, 0, ""
    except httpx.NetworkError:  # a body that is too large is not read to its end
        assert len(body) > 200_000, what
        return what, 413, ""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    """An app of our own, and its log."""
    temporary = tmp_path_factory.mktemp("temporary")
    log = tmp_path_factory.mktemp("log") / "app.log"
    with serve(log=log, TMPDIR=str(temporary)) as url:
        yield Served(url, temporary), log


def test_a_thousand_hostile_calls(fuzzed: tuple[Served, Path]) -> None:
    """Seeded: the same calls each time."""
    served, log = fuzzed
    good = {"score": "gaussian", "n": "8", "steps": "2", "count": "1"}
    alone = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed when reused
    with httpx.Client(base_url=served.url, timeout=60, limits=alone, trust_env=False) as client:
        for i in range(200):  # caches are filled
            call(client, random.Random(i))
        assert served.idles()
        memory, files = served.memory(), served.files()
        rng, bad, asked = random.Random(SEED), [], 0
        for _ in range(CALLS):
            what, status, text = call(client, rng)
            asked += status > 0
            if status >= 500 or "Traceback" in text or (status < 400 and "evil.com" in text):
                bad.append((what[:300], status, text[:200]))
    assert not bad, "\n".join(map(str, bad[:20]))
    assert asked > 0.9 * CALLS
    assert served.run(**good)[-1][0]["kind"] == "end"
    words = log.read_text(errors="replace")
    assert "Traceback" not in words, words[words.index("Traceback") - 500 :][:3000]
    assert len(words) < 20_000
    assert served.files() == files
    assert served.idles()
    assert served.memory() < memory + 30


DEEP = b'{"a":' * 300 + b"1" + b"}" * 300
MCP = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=" + "x" * 10_000}
KNOWN: list[tuple[str, str, bytes, dict[str, str], int]] = [  # each was a 500 and a traceback
    ("POST", "/gradio_api/component_server", b'{"component_id": 1, "fn_name": "x"}', {}, 404),
    ("GET", "/assets/" + "x" * 5000, b"", {}, 414),
    ("GET", "/gradio_api/proxy=%00", b"", {}, 404),
    ("GET", "/gradio_api/proxy=http://[::1", b"", {}, 404),
    ("POST", "/gradio_api/upload", b"--x", FORM, 404),
    ("POST", "/gradio_api/mcp/", b"\xff", MCP, 400),
    ("POST", "/gradio_api/mcp/", DEEP, MCP, 400),
    ("GET", "/", b"", {"X-Forwarded-Host": "evil.com"}, 400),
]


def test_calls_that_once_failed(fuzzed: tuple[Served, Path]) -> None:
    """Each gets its status; so does every function of the page that is a script alone."""
    served, log = fuzzed
    before = len(log.read_text(errors="replace"))
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
        for method, path, body, headers, status in KNOWN:
            answer = client.request(method, path, content=body, headers=headers)
            assert answer.status_code == status, (method, path[:60], answer.text[:200])
        scripts = [d["id"] for d in client.get("/config").json()["dependencies"] if d["js"]]
        assert len(scripts) > 10
        for index in scripts:
            asked = {"data": [], "fn_index": index, "session_hash": "a"}
            assert client.post("/gradio_api/queue/join", json=asked).status_code == 404, index
    assert len(log.read_text(errors="replace")) < before + 2000


def test_large_slow_and_silent_connections_end(fuzzed: tuple[Served, Path]) -> None:
    """100 MB announced or sent, headers and bodies that drip, sockets that say nothing."""
    served, log = fuzzed
    before = len(log.read_text(errors="replace"))
    memory = served.memory()
    url = f"{served.url}/gradio_api/call/sample"
    with httpx.Client(timeout=60, trust_env=False) as client:
        answer = client.post(url, content=b'{"data": ["' + b"x" * 300_000 + b'"]}')
        assert answer.status_code == 413
        assert "262144 bytes" in answer.text

        def parts() -> Iterator[bytes]:
            for _ in range(100):
                yield b"x" * 1_000_000

        with pytest.raises((httpx.WriteError, httpx.ReadError, AssertionError)):
            assert client.post(url, content=parts()).status_code != 413
    host = urlsplit(served.url).netloc
    silent, dripping, body = (_connected(served) for _ in range(3))
    dripping.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: ".encode())
    announced = f"Host: {host}\r\nContent-Length: 9\r\n\r\n"
    body.sendall(f"POST /gradio_api/call/sample HTTP/1.1\r\n{announced}".encode())
    for connection in (silent, dripping, body):
        answered = b""
        while part := connection.recv(1000):  # a connection that is kept would time out here
            answered += part
        assert answered == b"" or answered.startswith(b"HTTP/1.1 408")
        connection.close()
    assert len(log.read_text(errors="replace")) < before + 2000
    assert served.idles()
    assert served.memory() < memory + 30


def _connected(served: Served) -> socket.socket:
    host, port = urlsplit(served.url).netloc.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(40)
    return connection
