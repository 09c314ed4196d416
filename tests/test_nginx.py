"""A clean copy behind Debian's nginx and in a container: another user, no home, all addresses.

Without nginx this is skipped, but fails where CI is set.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser
from test_embedding import digits_move, live_run, origin, watched
from test_served import ends, free_port, own_address, started
from ui import ROOT, browser

__all__ = ["browser"]
RUN = "tab=watch&n=16&steps=6&count=4"  # learned: the network is loaded from the bundle
NOTES = ROOT / "mldemo" / "ui" / "server" / "README.md"


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """The files that git tracks, as they are now, where another user may read and not write."""
    with tempfile.TemporaryDirectory(prefix="mldemo-clone-") as folder:
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).is_file():
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield Path(folder)


@contextmanager
def contained(clone: Path, url: str, *arguments: str) -> Iterator[None]:
    """The app as the first process of a container: `nobody`, no home, all addresses.

    Python may live in root's home, so this user may read and enter everything. It may write into
    a temporary folder alone, in which gradio's own belongs to somebody else.
    """
    if os.geteuid() and "CI" not in os.environ:
        pytest.skip("another user and a namespace need root")
    nobody = pwd.getpwnam("nobody")
    port = url.rpartition(":")[2]
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"]
    command += ["--pdeathsig=KILL", "--clear-groups", "--inh-caps=-all,+dac_read_search"]
    command += ["--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search"]
    command += ["env", "-C", str(clone), "-i", "HOME=/nonexistent", f"PATH={os.environ['PATH']}"]
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o1777)
        (Path(temporary) / "gradio").mkdir()
        command += [f"TMPDIR={temporary}", sys.executable, "app.py", "--host", "0.0.0.0"]
        with started(*command, "--port", port, *arguments, url=url):
            yield


@contextmanager
def nginx(app: str, prefix: str, folder: Path) -> Iterator[str]:
    """The address of the page behind nginx, with the lines that our notes recommend."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None and "CI" not in os.environ:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    assert program, "nginx is missing"
    told = NOTES.read_text("utf-8").partition("```nginx\n")[2].partition("```")[0]
    assert "location /demo/" in told and "http://127.0.0.1:7860/" in told
    location = told.replace("/demo", prefix).replace("http://127.0.0.1:7860", app)
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; pid {folder}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off;
            server {{ listen 127.0.0.1:{port}; {location} }}
        }}
        """
    )
    command = [program, "-e", "stderr", "-c", str(folder / "nginx.conf")]
    with started(*command, url=f"http://127.0.0.1:{port}{prefix}/"):
        yield f"http://127.0.0.1:{port}{prefix}"


def test_behind_nginx_at_a_prefix(clone: Path, browser: Browser, tmp_path: Path) -> None:
    """Every file of the page loads, digits move, a live run plays, programs get answers."""
    app, prefix = f"http://127.0.0.1:{free_port()}", "/shown/here"
    with (
        contained(clone, app, "--root-path", prefix),
        nginx(app, prefix, tmp_path) as url,
        watched(browser, origin(url)) as context,
    ):
        page = context.new_page()
        page.goto(f"{url}/")
        digits_move(page)
        page.goto(f"{url}/?{RUN}")
        live_run(page)
        page.click("#watch-start")
        live_run(page)
        assert ends(url)
        client = Client(url, verbose=False)
        noise = client.predict(resolution=16, api_name="/noise")
        assert noise["trace_class"] and Path(noise["picture"]).stat().st_size > 100


def test_frames_pass_nginx_one_by_one(clone: Path, tmp_path: Path) -> None:
    """It keeps none back until its buffers of some kilobytes are full."""
    app = f"http://127.0.0.1:{free_port()}"
    query = "score=gaussian&n=16&count=1&steps=60"
    with contained(clone, app), nginx(app, "/x", tmp_path) as url:
        with httpx.stream("GET", f"{url}/mldemo/live/watch?{query}", timeout=60) as answer:
            parts = list(answer.iter_raw())
        assert len(parts) > 30


def test_on_all_addresses(clone: Path, browser: Browser) -> None:
    """In another machine's browser, which meets no localhost and so no secure context."""
    port = free_port()
    url = f"http://{own_address()}:{port}"
    with contained(clone, url), watched(browser, url) as context:
        page = context.new_page()
        page.goto(f"{url}/")
        digits_move(page)
        page.goto(f"{url}/?{RUN}")
        live_run(page)
        page.click("#watch-start")
        live_run(page)
