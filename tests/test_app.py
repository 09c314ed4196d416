"""The server behind the page: who may ask, what is refused, what ends when nobody listens."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from ui import ROOT, answered, app, serve

from mldemo.ui.tab import STATIC
from mldemo.ui.wire import decode

__all__ = ["app"]
GOOD = {"score": "gaussian", "n": "16", "steps": "4", "count": "1", "sampler": "ddim"}


def run(app: str, tab: str = "watch", **query: str) -> list[tuple[dict, dict]]:
    """The records of a live run."""
    return answered(asked(app, tab, **query))


def asked(app: str, tab: str = "watch", **query: str) -> bytes:
    """What a live run sends."""
    answer = httpx.get(f"{app}/mldemo/live/{tab}", params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def client(app: str) -> Iterator[Client]:
    """A program that talks to the app."""
    yield Client(app, verbose=False)


def test_a_run_is_all_its_states_and_an_end(app: str) -> None:
    """Head, steps + 1 frames, end."""
    kinds = [meta["kind"] for meta, _ in run(app, **GOOD)]
    assert kinds == ["head", *["frame"] * 5, "end"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("steps", "nan", ["steps", "nan", "100"]),
        ("steps", "", ["steps", "2", "100"]),
        ("steps", "101", ["steps", "100", "101"]),
        ("steps", "2.5", ["steps", "2.5"]),
        ("steps", "٣", ["steps"]),
        ("count", "17", ["count", "16", "17"]),
        ("n", "256", ["n", "128", "256"]),
        ("n", "1e400", ["n", "1e400"]),
        ("seed", "-1", ["seed", "-1"]),
        ("seed", str(2**53), ["seed", str(2**53 - 1)]),
        ("sampler", "magic", ["sampler", "magic", "dpmpp2m"]),
        ("score", "None", ["score", "None", "learned"]),
        ("prior", "x" * 1000, ["prior", "xxx", "bessel"]),
        ("checkpoint", "../../etc/passwd", ["checkpoint", "passwd"]),
        ("coarse_until", "0.15", ["coarse_until", "0.15", "off", "0.2"]),
        ("surprise", "1", ["surprise", "steps"]),
    ],
)
def test_bad_runs_get_a_sentence(app: str, field: str, value: str, words: list[str]) -> None:
    """It names the field, the value or the bound; never a traceback."""
    ((meta, _),) = run(app, **{**GOOD, field: value})
    assert meta["kind"] == "error"
    assert all(word in meta["text"] for word in words), meta["text"]
    assert "Traceback" not in meta["text"]
    assert len(meta["text"]) < 600


def test_too_long_a_query_and_no_such_tab(app: str) -> None:
    """Plain HTTP answers."""
    where = f"{app}/mldemo/live"
    assert httpx.get(f"{where}/watch", params={"prior": "x" * 3000}).status_code == 414
    assert httpx.get(f"{where}/nothing").status_code == 404


def test_foreign_hosts_are_refused_and_files_stay_inside(app: str) -> None:
    """DNS rebinding, and paths out of the static folder."""
    assert httpx.get(app, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(app, headers={"Host": "a-b.hf.space"}).status_code == 200
    page = httpx.get(app).text
    base = page.split("page.js")[0].rpartition('"')[2]
    assert httpx.get(f"{app}/{base}page.js").status_code == 200
    assert (STATIC.parent / "app.py").is_file()
    assert httpx.get(f"{app}/{base}..%2fapp.py").status_code == 404
    assert httpx.get(f"{app}/{base}../tabs/watch/watch.py").status_code == 404
    assert httpx.get(f"{app}/{base}../tabs/watch/watch.js").status_code == 200


def test_nine_at_once_all_get_every_frame(app: str) -> None:
    """They take turns, those who wait are told so; nobody is forgotten."""
    found: dict[int, list] = {}

    def ask(seed: int) -> None:
        query = {**GOOD, "n": "128", "steps": "20", "count": "16", "sampler": "heun"}
        found[seed] = list(decode(asked(app, **query, seed=str(seed))))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(found) == list(range(9))
    ends = set()
    for records in found.values():
        frames = [arrays for meta, arrays in records if meta["kind"] == "frame"]
        assert len(frames) == 21
        ends.add(frames[-1]["x0"].tobytes())
    assert len(ends) == 9
    assert any(meta["kind"] == "line" for records in found.values() for meta, _ in records)


def test_programs_get_pictures_and_numbers(client: Client) -> None:
    """The picture is the core's; the spectrum sums to the trace."""
    from PIL import Image

    asked = {"resolution": 16, "steps": 3, "count": 4, "score": "gaussian", "seed": 5}
    answer = client.predict(**asked, api_name="/sample")
    picture = np.asarray(Image.open(answer["picture"]))
    assert picture.shape == (134, 134)
    assert picture.std() > 20
    assert answer["network_calls"] == 3
    rough = client.predict(**asked, exponent=1.1, kappa=30, api_name="/sample")
    assert {"exponent": 1.1, "kappa": 30}.items() <= rough["prior"].items()
    coarse = client.predict(**asked, coarse_until=0.2, api_name="/sample")
    assert coarse["network_calls"] == 4
    job = client.submit(**asked, api_name="/frames")
    job.result(60)
    assert [frame["step"] for frame in job.outputs()] == [0, 1, 2, 3]
    noise = client.predict(prior="laplacian", resolution=16, api_name="/noise")
    assert Path(noise["picture"]).is_file()
    assert noise["level_trace"] < noise["continuum_trace"]
    white = client.predict(prior="standard", resolution=32, api_name="/prior_spectrum")
    assert white["trace_class"] is False
    assert white["shell_mean"][3] == pytest.approx(1 / 32**2)
    assert white["level_trace"] == pytest.approx((1 - 1 / 32) ** 2)


@pytest.mark.parametrize("name", ["/sample", "/frames"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", "nan"),
        ("steps", None),
        ("steps", [20]),
        ("steps", True),
        ("steps", 201),
        ("steps", 10**30),
        ("count", "four"),
        ("resolution", 256),
        ("resolution", 1e300),
        ("seed", {"a": 1}),
        ("sampler", ["ddim"]),
        ("score", 3),
        ("prior", "x" * 100_000),
        ("checkpoint", "../../etc/passwd"),
        ("exponent", 1e300),
        ("kappa", "wide"),
        ("coarse_until", 1.5),
    ],
)
def test_bad_calls_of_programs(client: Client, name: str, field: str, value: Any) -> None:
    """One sentence that names the field."""
    with pytest.raises(AppError) as caught:
        client.predict(**{"resolution": 16, "steps": 2, "count": 1, field: value}, api_name=name)
    words = str(caught.value)
    assert field in words
    assert "Traceback" not in words
    assert len(words) < 600


def test_behind_a_prefix() -> None:
    """The root that the page is told ends with the proxy's prefix."""
    with serve("--root-path", "/shown/here") as url:
        config = httpx.get(f"{url}/config").json()
        assert config["root"].endswith("/shown/here")


def test_an_absent_device_ends_with_one_sentence() -> None:
    """Exit code 2, no traceback."""
    ended = subprocess.run(
        [sys.executable, "app.py", "--device", "abacus"],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "abacus" in ended.stderr
