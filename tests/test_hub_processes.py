"""The Hub and other processes: four clients, one killed, real patience, another's server."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serve
from hub_tools import FILE, REPO, await_that, pin, point_at
from huggingface_hub import constants

from mldemo.store import hub
from mldemo.store.manifest import CheckpointError, find

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.usefixtures("client")
ROOT = Path(__file__).parents[1]
FORKS = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
from mldemo.store.manifest import find

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    folder, environ, out = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        continue
    os.environ.update(environ)
    start = time.monotonic()
    try:
        found = find("tiny", Path(folder))
        answer = [found.source, hashlib.sha256(found.raw).hexdigest()]
    except ValueError as error:
        answer = ["error", str(error)]
    Path(out + ".part").write_text(json.dumps([time.monotonic() - start, *answer]))
    os.rename(out + ".part", out)
    os._exit(0)
"""


class Processes:
    """Processes that look for "tiny": forks of one that has imported mldemo, but no client."""

    def __init__(self, parent: subprocess.Popen[str], folder: Path) -> None:
        self.parent, self.folder, self.count = parent, folder, 0

    def start(self, server: Hub, folder: Path, cache: Path) -> tuple[int, Path]:
        """The new process's id, and the file where its outcome will be."""
        assert self.parent.stdin and self.parent.stdout
        self.count += 1
        out = self.folder / f"{self.count}.json"
        names = {"HF_ENDPOINT": server.api_url, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache)}
        self.parent.stdin.write(json.dumps([str(folder), names, str(out)]) + "\n")
        self.parent.stdin.flush()
        return int(self.parent.stdout.readline()), out


def outcome(out: Path) -> tuple[float, str, str]:
    """The seconds it took, the source, and the sha256 or the error."""
    await_that(out.exists)
    seconds, source, rest = json.loads(out.read_text())
    return seconds, source, rest


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    words = [sys.executable, "-c", FORKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as parent:
        yield Processes(parent, tmp_path_factory.mktemp("outcomes"))


def test_four_processes_at_once(
    server: Hub, hub_only: Path, raw: bytes, cache: Path, processes: Processes
) -> None:
    started = [processes.start(server, hub_only, cache) for _ in range(4)]
    for _, out in started:
        seconds, source, sha256 = outcome(out)
        assert source in ("hub", "cache") and seconds < 10
        assert sha256 == hashlib.sha256(raw).hexdigest()


def test_killed_half_way(
    server: Hub, hub_only: Path, raw: bytes, cache: Path, processes: Processes
) -> None:
    server.cdn = "drip"
    process, _ = processes.start(server, hub_only, cache)
    await_that(lambda: list(cache.rglob("*.incomplete")))
    os.kill(process, signal.SIGKILL)
    server.cdn = "ok"
    found = find("tiny", hub_only)
    assert (found.source, found.raw) == ("hub", raw)


def test_ten_seconds_are_the_most_with_the_real_patience(
    server: Hub, bundle: Path, raw: bytes, tmp_path: Path, processes: Processes
) -> None:
    """The slowest illness of each kind, at once, with nothing shortened."""
    with serve() as silent:
        silent.api = "silent"
        server.cdn = "drip"
        dry = Path(shutil.copytree(bundle, tmp_path / "dry"))
        (dry / FILE).unlink()
        _, first = processes.start(silent, bundle, tmp_path / "one")
        _, second = processes.start(server, dry, tmp_path / "two")
        seconds, source, found = outcome(first)
        assert seconds < 10 and (source, found) == ("bundle", hashlib.sha256(raw).hexdigest())
        seconds, source, found = outcome(second)
        assert 7.5 < seconds < 10 and source == "error"
        assert "no file within" in found


BUILD = """
import sys
from mldemo.ui import build_app

build_app("cpu", sys.argv[1])
print("built")
"""


def test_the_page_is_built_without_a_word_to_the_hub(
    server: Hub, bundle: Path, cache: Path
) -> None:
    """So a silent Hub delays no start: it is asked when a checkpoint is first needed."""
    server.api = "silent"
    names = {"HF_ENDPOINT": server.api_url, "HF_HUB_CACHE": str(cache)}
    words = [sys.executable, "-c", BUILD, str(bundle)]
    text = subprocess.check_output(words, cwd=ROOT, env=os.environ | names, text=True)
    assert text == "built\n" and server.asked == []


def git(folder: Path, *words: str) -> str:
    names = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    done = subprocess.run(
        ["git", "-C", folder, *names, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def olah(tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mirror of the Hub with one local git repository; its folder. The file is in LFS.

    MLDEMO_OLAH names the program `olah-cli`, installed in an environment of its own.
    """
    program = os.environ.get("MLDEMO_OLAH")
    if program is None and "CI" not in os.environ:
        pytest.skip("MLDEMO_OLAH does not name the program olah-cli of olah 0.5.4")
    assert program and Path(program).is_file(), f"MLDEMO_OLAH names no program: {program!r}"
    repo = tmp_path / "mirror" / "models" / REPO
    sha256 = hashlib.sha256(raw).hexdigest()
    stored = repo / ".git" / "lfs" / "objects" / sha256[:2] / sha256[2:4] / sha256
    stored.parent.mkdir(parents=True)
    stored.write_bytes(raw)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(raw)}\n"
    (repo / FILE).write_text(pointer)
    (repo / "README.md").write_text("---\nlicense: mit\n---\n")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = tmp_path / "olah.toml"
    settings.write_text(
        f"[basic]\nhost = '127.0.0.1'\nport = {port}\nrepos-path = '{tmp_path}/repos'\n"
        f"mirrors-path = ['{tmp_path}/mirror']\n[accessibility]\noffline = true\n"
    )
    words = [program, "--config", settings, "--log-path", tmp_path / "log"]
    with (tmp_path / "olah.txt").open("w") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log)
    try:
        await_that(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (tmp_path / "olah.txt").read_text()
        point_at(f"http://127.0.0.1:{port}", monkeypatch)
        yield repo
    finally:
        process.terminate()
        process.wait()


def test_olah_serves_the_same_bytes(
    olah: Path, hub_only: Path, raw: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right bytes; then a file and a commit that it has not, and bytes that rotted on its disk."""
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    commit = git(olah, "rev-parse", "HEAD")
    pin(hub_only, commit)
    found = find("tiny", hub_only)
    assert (found.source, found.raw) == ("hub", raw)
    assert find("tiny", hub_only).source == "cache"
    monkeypatch.setenv("MLDEMO_HUB_REPO", f"{REPO}@main")
    found = find("tiny", hub_only)
    assert found.source == "hub", found.failures
    monkeypatch.delenv("MLDEMO_HUB_REPO")

    for revision in (40 * "a", git(olah, "rev-parse", "HEAD^{tree}")):
        pin(hub_only, revision)
        with pytest.raises(CheckpointError, match="hub: "):
            find("tiny", hub_only)
        hub._paused.clear()

    pin(hub_only, commit)
    shutil.rmtree(cache)
    (rotten,) = (p for p in (olah / ".git" / "lfs").rglob("*") if p.is_file())
    rotten.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(CheckpointError, match=r"hub: .*sha256"):
        find("tiny", hub_only)
