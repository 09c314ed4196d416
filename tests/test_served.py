"""Served anywhere: addresses, prefixes, mounts, signals, forks, cores."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from ui import ROOT, serve

from mldemo import machine
from mldemo.ui.server.guard import host_of, is_trusted, trusted_names
from mldemo.ui.wire import decode

QUERY = "score=gaussian&n=16&steps=4&count=1"
CLOSED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def ends(url: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a live run below this address comes to its end."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.get(f"{url}/mldemo/live/watch?{QUERY}", headers=headers)
        assert answer.status_code == 200, answer.text
        return [*decode(answer.content)][-1][0]["kind"] == "end"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """An app that should not start."""
    return subprocess.run(
        [sys.executable, "app.py", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def started(*command: str, url: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that serves the page at `url`."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **CLOSED)
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            for _ in range(1200):
                assert process.poll() is None, process.stdout and process.stdout.read()
                try:
                    if client.get(url).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            else:
                pytest.fail("no page")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "0"], {}, ["port", "1 to 65535", "'0'"]),
        (["--port", "-1"], {}, ["port", "1 to 65535", "'-1'"]),
        (["--port", "99999"], {}, ["port", "1 to 65535", "'99999'"]),
        ([], {"GRADIO_SERVER_PORT": "abc"}, ["port", "1 to 65535", "'abc'"]),
        (["--root-path", "javascript:x"], {}, ["root path", "/demo", "javascript:x"]),
        (["--root-path", "http://[foo"], {}, ["root path", "/demo", "http://[foo"]),
        ([], {"GRADIO_ROOT_PATH": '"><script>'}, ["root path", "/demo", "<script>"]),
        (["--host", "203.0.113.9"], {}, ["cannot listen on 203.0.113.9:", "assign"]),
        (["--host", "no.such.host.invalid"], {}, ["cannot listen on no.such.host.invalid:"]),
    ],
)
def test_wrong_addresses_get_a_sentence(
    arguments: list[str], environment: dict[str, str], words: list[str]
) -> None:
    ended = alone(*arguments, **environment)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert all(word in ended.stderr for word in words), ended.stderr


def test_a_port_in_use_gets_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = alone("--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "in use" in ended.stderr and ended.stderr.count("\n") == 1


def test_gradios_variables_and_a_proxy_for_the_outside() -> None:
    """All addresses, a prefix, a proxy that nobody listens at; other machines' browsers play."""
    port = free_port()
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "0.0.0.0"}
    settings |= {"GRADIO_ROOT_PATH": "/shown", "http_proxy": "http://127.0.0.1:9"}
    url = f"http://127.0.0.1:{port}"
    with started(sys.executable, "app.py", "--device", "cpu", url=url, **settings):
        own = socket.gethostbyname(socket.gethostname())
        for host in ("192.0.2.7", f"{own}:{port}", "[2001:db8::1]:80", socket.gethostname()):
            assert ends(url, {"Host": host}), host
        page = httpx.get(url, trust_env=False).text
        assert '<base href="/shown/">' in page
        root = httpx.get(f"{url}/config", trust_env=False).json()["root"]
        assert root.endswith("/shown")
        for name in ("Host", "X-Forwarded-Host"):
            answer = httpx.get(f"{url}/config", headers={name: "evil.com"}, trust_env=False)
            assert answer.status_code == 400
            assert "MLDEMO_HOSTS" in answer.text


def own_address() -> str:
    """An address of this machine that is not its loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.2"
        return probe.getsockname()[0]


@pytest.mark.parametrize("host", ["::1", own_address()], ids=["IPv6", "of the machine"])
def test_one_address_of_this_machine(host: str) -> None:
    port = free_port()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    words = ("app.py", "--device", "cpu", "--host", host, "--port", str(port))
    with started(sys.executable, *words, url=url):
        assert ends(url)


@pytest.mark.parametrize("way", ["launch", "mount", "notebook"])
def test_the_page_without_app_py_as_main(way: str) -> None:
    """`demo.launch()`, a mount in somebody's own application, a notebook's cell that ran twice.

    Page, files and live runs are there. A notebook's kernel has an event loop that runs already.
    """
    port = free_port()
    program = {
        "launch": f"import app; app.demo.launch(server_port={port})",
        "notebook": f"""
import asyncio

async def kernel():
    import app
    async def cell(port):
        app.demo.launch(server_port=port, inline=False, prevent_thread_lock=True, quiet=True)
    await cell({free_port()})
    app.demo.close()
    await cell({port})
    await asyncio.sleep(600)

asyncio.run(kernel())
""",
        "mount": f"""
import app, fastapi, gradio, uvicorn
own = gradio.mount_gradio_app(fastapi.FastAPI(), app.demo, "/inner/demo")
uvicorn.run(own, port={port}, log_level="error")
""",
    }[way]
    url = f"http://127.0.0.1:{port}" + ("/inner/demo" if way == "mount" else "")
    with started(sys.executable, "-c", program, url=f"{url}/") as _:
        assert ends(url)
        page = httpx.get(f"{url}/").text
        start = page.index("mldemo/")
        file = page[start : page.index('"', start)]
        assert httpx.get(f"{url}/{file}").status_code == 200
        assert "style.css" in page or ".md-player" in httpx.get(f"{url}/config").text
        assert httpx.post(f"{url}/gradio_api/upload", files={"files": b"x"}).status_code == 404


@pytest.mark.parametrize("way", ["TERM", "INT", "first process"])
def test_it_ends_cleanly_and_soon(way: str, tmp_path: Path) -> None:
    """With live runs under way; also as the first process of a container. No file stays."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--device", "cpu", "--port", str(port)]
    if way == "first process":
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command]
    with started(*command, url=url, TMPDIR=str(tmp_path)) as process:
        asked = {"prior": "bessel", "resolution": 16, "count": 1, "seed": 7}
        call = f"{url}/gradio_api/call/noise"
        event = httpx.post(call, json={"data": [*asked.values()]}).json()["event_id"]
        assert "complete" in httpx.get(f"{call}/{event}", timeout=60).text
        assert list(tmp_path.rglob("*.png"))
        query = "n=128&count=16&steps=100&sampler=heun"
        with httpx.stream("GET", f"{url}/mldemo/live/watch?{query}", timeout=60) as answer:
            next(answer.iter_raw())
            target = process.pid
            if way == "first process":
                children = Path(f"/proc/{target}/task/{target}/children").read_text().split()
                target = int(children[0])
            begun = time.monotonic()
            os.kill(target, signal.SIGINT if way == "INT" else signal.SIGTERM)
            process.wait(30)
            seconds = time.monotonic() - begun
        words = process.stdout.read() if process.stdout else ""
        assert "Traceback" not in words and "futures" not in words, words
        assert process.returncode == 0, words
        assert not list(tmp_path.rglob("*"))
        assert seconds < 3 * max(1.0, os.getloadavg()[0] / machine.granted_cores())


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_it_ends_while_it_starts(seconds: float, tmp_path: Path) -> None:
    """As the first of a container; without a word, and nothing stays."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, "app.py", "--port", str(free_port())]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **CLOSED)
    try:
        while not list(tmp_path.iterdir()):  # the addresses have been checked
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        words, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and "Traceback" not in words, words
    assert not list(tmp_path.iterdir())


def test_hosts() -> None:
    """Any address, this machine, what is configured; no foreign name, however it is written."""
    assert host_of("A.Example.:80") == "a.example"
    assert host_of("[::1]:7860") == "::1" and host_of("::1") == "::1"
    names = trusted_names("https://demo.example/x", "[::1]")
    for good in ("127.0.0.1", "::1", "fe80::1%eth0", "localhost", "a-b.hf.space", "demo.example"):
        assert is_trusted(good, names), good
    for bad in ("evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "hf.space", "", "0x7f.1"):
        assert not is_trusted(bad, names), bad


def test_granted_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of affinity and the quotas from the process's group up to the root."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    groups = tmp_path / "groups"
    monkeypatch.setattr(machine, "GROUPS_OF_PROCESS", groups)
    assert machine.granted_cores() == 16
    inner = tmp_path / "pod" / "app"
    inner.mkdir(parents=True)
    groups.write_text("0::/pod/app\n")
    (inner / "cpu.max").write_text("max 100000\n")
    assert machine.granted_cores() == 16
    (tmp_path / "pod" / "cpu.max").write_text("150000 100000\n")
    assert machine.granted_cores() == 2
    old = tmp_path / "cpu,cpuacct" / "pod"
    old.mkdir(parents=True)
    groups.write_text("4:cpu,cpuacct:/pod\n3:memory:/\n")
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.granted_cores() == 16
    (old / "cpu.cfs_quota_us").write_text("300000\n")
    assert machine.granted_cores() == 3


FORK = """
import os, signal, torch
from mldemo import Request, prepare
from mldemo.ui.server.quota import on_borrowed

torch.set_num_threads(2)
prepare(Request(resolution=64, steps=2)).result()  # OpenMP has started its team


def forking(*, duration):
    def decorate(task):
        def lent(query):
            read, write = os.pipe()
            if os.fork() == 0:  # as `spaces` does it, in the calling thread
                signal.alarm(40)
                for record in task(query):
                    pass
                os.write(write, b"done")
                os._exit(0)
            os.close(write)
            yield {"kind": os.read(read, 4).decode()}, {}
        return lent
    return decorate


def there(query):
    prepare(Request(resolution=64, steps=2)).result()
    yield {"kind": "frame"}, {}


print(next(on_borrowed(forking, there, there)({}))[0]["kind"])
"""


def test_a_fork_after_the_warm_up_computes() -> None:
    """A lent GPU is held by a fork, in which OpenMP's threads are missing."""
    ended = subprocess.run(
        [sys.executable, "-c", FORK], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.strip() == "done", ended.stderr[-500:]


def test_hosts_can_be_added() -> None:
    with serve(MLDEMO_HOSTS="demo.example, other.example") as url:
        for host, status in (("demo.example", 200), ("other.example:80", 200), ("x.org", 400)):
            headers = {"Host": host}
            assert httpx.get(f"{url}/config", headers=headers).status_code == status
