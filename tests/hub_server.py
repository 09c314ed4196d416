"""A double of the Hugging Face Hub on this machine: the API on one port, the CDN on another.

It speaks what the real client asks for: resolve with X-Repo-Commit, LFS redirects with
X-Linked-Etag, errors with X-Error-Code, whoami, repository, preupload, LFS batch, commit, paths.
`api` and `cdn` choose how it misbehaves.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ERROR_CODES = {403: "GatedRepo", 404: "RepoNotFound"}
PORTAL = b"<html><h1>Welcome to our hotel</h1>Please sign in.</html>"
LARGE = (".safetensors", ".png")


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def blob_id(raw: bytes) -> str:
    """The name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


class Hub:
    """Repositories {repo: [(commit, {path: bytes})]}, what was asked, and the faults.

    api: "ok", "silent", "portal", a status, or "missing" (the file is not there).
    cdn: "ok", "silent", "drip", "truncated", "corrupt", "portal", or a status.
    `private` names the token without which nothing is shown.
    """

    def __init__(self) -> None:
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.objects: dict[str, bytes] = {}
        self.api: str | int = "ok"
        self.cdn: str | int = "ok"
        self.private: str | None = None
        self.lie: dict[str, bytes] = {}  # path: other bytes than were committed
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, authorization
        self.closing = threading.Event()
        self.api_url = self.cdn_url = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit on top; returns its full hash."""
        history = self.repos.setdefault(repo, [])
        tree = (history[-1][1] if history else {}) | files
        if not history or tree != history[-1][1]:
            text = json.dumps([len(history), {p: digest(raw) for p, raw in sorted(tree.items())}])
            history.append((hashlib.sha1(text.encode()).hexdigest(), tree))
        self.objects |= {digest(raw): raw for raw in tree.values()}
        return history[-1][0]

    def tree(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision and its files."""
        history = self.repos.get(repo, [])
        if revision == "main" and history:
            return history[-1]
        return next((c for c in history if c[0] == revision), None)

    def count(self, method: str, words: str = "") -> int:
        """How many requests there were."""
        return sum(m == method and words in path for m, path, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def misbehave(self, fault: str | int) -> bool:
        """Silence, a page of somebody else, or an error status; True if that was all."""
        if fault == "silent":
            self.hub.closing.wait()
            self.close_connection = True
        elif fault == "portal":
            self.answer(200, PORTAL, Content_Type="text/html")
        elif isinstance(fault, int):
            code = {"X_Error_Code": ERROR_CODES[fault]} if fault in ERROR_CODES else {}
            self.answer(fault, b"", **code)
        else:
            return False
        return True


class _Api(_Handler):
    def handle_all(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization")
        hub.asked.append((self.command, path, token))
        body = self.body()
        if self.misbehave(hub.api):
            return
        if hub.private and token != f"Bearer {hub.private}":
            self.answer(401, X_Error_Code="RepoNotFound")
        elif "/resolve/" in path:
            repo, rest = path[1:].split("/resolve/", 1)
            self.resolve(repo, *rest.split("/", 1))
        elif path == "/api/whoami-v2":
            self.json({"type": "user", "name": "somebody", "orgs": []})
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            repo = f"{wanted.get('organization') or 'somebody'}/{wanted['name']}"
            known = repo in hub.repos
            hub.repos.setdefault(repo, [])
            self.json({"url": f"{hub.api_url}/{repo}"}, 409 if known else 200)
        elif path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.batch(json.loads(body)["objects"])
        elif path.startswith("/api/models/"):
            self.models(path, body)
        else:
            self.answer(404)

    do_GET = do_HEAD = do_POST = handle_all

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if repo not in self.hub.repos:
            return self.answer(401, X_Error_Code="RepoNotFound")
        found = self.hub.tree(repo, revision)
        if found is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        commit, files = found
        if path not in files or self.hub.api == "missing":
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        raw = self.hub.lie.get(path, files[path])
        if not path.endswith(LARGE):
            return self.answer(200, raw, X_Repo_Commit=commit, ETag=f'"{blob_id(raw)}"')
        self.hub.objects[digest(raw)] = raw
        self.answer(
            302,
            Location=f"{self.hub.cdn_url}/{digest(raw)}",
            X_Repo_Commit=commit,
            X_Linked_Etag=f'"{digest(raw)}"',
            X_Linked_Size=str(len(raw)),
        )

    def models(self, path: str, body: bytes) -> None:
        """/api/models/OWNER/NAME/VERB/REVISION"""
        owner, name, verb, revision = path.removeprefix("/api/models/").split("/")
        repo = f"{owner}/{name}"
        commit, files = self.hub.tree(repo, revision) or (None, {})
        if verb == "revision":
            self.json({"id": repo, "sha": commit, "siblings": [{"rfilename": p} for p in files]})
        elif verb == "preupload":
            paths = [item["path"] for item in json.loads(body)["files"]]
            self.json({"files": [self.upload_mode(p, files.get(p)) for p in paths]})
        elif verb == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            commit = self.hub.commit(repo, dict(self.added(line) for line in lines[1:]))
            url = f"{self.hub.api_url}/{repo}/commit/{commit}"
            self.json({"success": True, "commitOid": commit, "commitUrl": url})
        elif verb == "paths-info":
            paths = [p for p in parse_qs(body.decode())["paths"] if p in files]
            self.json([self.path_info(p, self.hub.lie.get(p, files[p])) for p in paths])
        else:
            self.answer(404)

    def upload_mode(self, path: str, there: bytes | None) -> dict:
        mode = {"path": path, "uploadMode": "regular", "shouldIgnore": False}
        if path.endswith(LARGE):
            mode["uploadMode"] = "lfs"
        if there is not None:
            mode["oid"] = digest(there) if path.endswith(LARGE) else blob_id(there)
        return mode

    def added(self, line: dict) -> tuple[str, bytes]:
        value = line["value"]
        if line["key"] == "file":
            return value["path"], base64.b64decode(value["content"])
        return value["path"], self.hub.objects[value["oid"]]

    def path_info(self, path: str, raw: bytes) -> dict:
        info = {"type": "file", "path": path, "size": len(raw), "oid": blob_id(raw)}
        if path.endswith(LARGE):
            info["lfs"] = {"oid": digest(raw), "size": len(raw), "pointerSize": 134}
        return info

    def batch(self, wanted: list[dict]) -> None:
        objects = []
        for item in wanted:
            if item["oid"] not in self.hub.objects:
                href = f"{self.hub.cdn_url}/{item['oid']}"
                item = item | {"actions": {"upload": {"href": href}}}
            objects.append(item)
        self.json({"transfer": "basic", "objects": objects})


class _Cdn(_Handler):
    def do_GET(self) -> None:
        self.hub.asked.append(("CDN", self.path, self.headers.get("Authorization")))
        if self.misbehave(self.hub.cdn):
            return
        raw, fault = self.hub.objects[self.path[1:]], self.hub.cdn
        if fault == "corrupt":
            raw = raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]
        start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        raw = raw[int(start) :]
        if fault not in ("drip", "truncated"):
            return self.answer(206 if int(start) else 200, raw)
        self.send_response(206 if int(start) else 200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.close_connection = True
        if fault == "truncated":
            self.wfile.write(raw[: len(raw) // 2])
            return
        for i in range(0, len(raw), 100):
            if self.hub.closing.wait(0.2):
                return
            self.wfile.write(raw[i : i + 100])

    def do_PUT(self) -> None:
        self.hub.asked.append(("PUT", self.path, self.headers.get("Authorization")))
        raw = self.body()
        self.hub.objects[self.path[1:]] = raw
        self.answer(200 if digest(raw) == self.path[1:] else 400)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no error here."""


@contextmanager
def serve() -> Iterator[Hub]:
    """A running double; its address is `api_url`."""
    hub = Hub()
    servers = [
        _Server(("127.0.0.1", 0), type("Bound", (kind,), {"hub": hub})) for kind in (_Api, _Cdn)
    ]
    hub.api_url, hub.cdn_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in servers)
    threads = [threading.Thread(target=s.serve_forever, args=(0.05,)) for s in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
