"""The page in other people's hands: behind a proxy's prefix, in a frame of another site."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Route
from proxy import outer_page, proxy
from ui import PATIENCE, browser, serve

from mldemo.ui.wire import decode

__all__ = ["browser"]
PREFIX = "/shown/here"
RUN = "tab=watch&score=gaussian&n=16&steps=6&count=4"


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """An app that was told its prefix."""
    with serve("--root-path", PREFIX) as url:
        yield url


@contextmanager
def watched(browser: Browser, *origins: str) -> Iterator[BrowserContext]:
    """Pages that may ask these origins alone, for files that are there, and log no error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    asked, failed, said = [], [], []
    context.on("request", lambda r: asked.append(r.url))
    context.on("response", lambda r: failed.append(r.url) if r.status >= 400 else None)
    context.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    context.on("weberror", lambda e: said.append(str(e.error)))
    yield context
    context.close()
    strangers = [u for u in asked if not u.startswith(("data:", "blob:"))]
    assert {"{0.scheme}://{0.netloc}".format(urlsplit(u)) for u in strangers} <= set(origins)
    assert not failed
    assert not said


def origin(url: str) -> str:
    """The origin of an address."""
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def digits_move(page: Page | Frame) -> None:
    """Two different steps are drawn by themselves."""
    player = "#tab-watch .md-player"
    first = page.wait_for_selector(f"{player}[data-step]").get_attribute("data-step")
    page.wait_for_selector(f"{player}:not([data-step='{first}'])")


def live_run(page: Page | Frame) -> None:
    """A run that the address asked for arrives, every frame of it."""
    page.wait_for_selector(".md-player[data-mode=live][data-state=finished]")
    page.wait_for_selector(".md-player[data-frames='7'][data-step='6']")  # it plays to its end


@pytest.mark.parametrize("says_host", [True, False])
def test_behind_a_prefix(app: str, browser: Browser, says_host: bool) -> None:
    """Digits move, a live run arrives, the link is the visitor's, nothing is asked elsewhere."""
    with (
        proxy(app, PREFIX, says_host) as (url, astray),
        watched(browser, origin(url)) as context,
    ):
        page = context.new_page()
        page.goto(f"{url}/")
        digits_move(page)
        page.goto(f"{url}/?{RUN}")
        live_run(page)
        page.click("#tab-watch .md-copy-link")
        copied = page.inner_text("#tab-watch .md-command")
        assert copied.startswith(f"{url}/?tab=watch&")
        assert "steps=6" in copied
        page.click("[role=tab][data-tab-id=solvers]")
        page.wait_for_selector("#tab-solvers .md-player[data-step]")
        page.wait_for_url(f"{url}/?tab=solvers**")
        context.close()
        assert not astray


def test_a_prefix_without_its_slash(app: str, browser: Browser) -> None:
    """The page names its files from the root; a live run arrives."""
    with proxy(app, PREFIX) as (url, astray), watched(browser, origin(url)) as context:
        page = context.new_page()
        page.goto(f"{url}?{RUN}")
        live_run(page)
        context.close()
        assert not astray


def test_a_proxy_that_keeps_its_prefix(app: str) -> None:
    """The same files and runs are there under the whole path."""
    page = httpx.get(f"{app}{PREFIX}/").text
    base = page.split("page.js")[0].rsplit('"', 1)[1]
    assert httpx.get(f"{app}{PREFIX}/{base}page.js").status_code == 200
    answer = httpx.get(f"{app}{PREFIX}/mldemo/live/watch?{RUN.partition('&')[2]}", timeout=60)
    assert [meta["kind"] for meta, _ in decode(answer.content)][-1] == "end"


def test_the_root_may_be_a_whole_address() -> None:
    """Its host is one that may be asked for, others are not."""
    with serve("--root-path", "https://shown.example/here") as url:
        page = httpx.get(url, headers={"Host": "shown.example"})
        assert page.status_code == 200
        assert '<base href="/here/">' in page.text
        assert httpx.get(url, headers={"Host": "other.example"}).status_code == 400


def test_in_a_frame_of_another_site(app: str, browser: Browser) -> None:
    """Behind the prefix too: digits move, tabs open, a run arrives, a link can be taken."""
    with (
        proxy(app, PREFIX) as (url, astray),
        outer_page(f"{url}/") as plain,
        outer_page(f"{url}/?tab=priors&priors=bessel.laplacian") as asks,
        watched(browser, origin(url), origin(plain), origin(asks)) as context,
    ):
        context.grant_permissions(["clipboard-read"], origin=origin(plain))
        page = context.new_page()
        page.goto(plain)
        frame = page.frames[1]
        digits_move(frame)
        frame.click("#tab-watch .md-more")
        frame.locator("#watch-score").get_by_label("Gaussian").check()
        frame.click("#watch-start")
        frame.wait_for_selector("#tab-watch .md-player[data-mode=live][data-state=finished]")
        frame.click("#tab-watch .md-copy-link")
        frame.wait_for_selector("#tab-watch .md-copied:has-text('Link copied')")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link == frame.inner_text("#tab-watch .md-command")
        assert link.startswith(f"{url}/?tab=watch&")
        frame.click("[role=tab][data-tab-id=learn]")
        frame.wait_for_selector("#tab-learn .md-player[data-lesson]")
        page.goto(asks)
        frame = page.frames[1]
        frame.wait_for_selector("#tab-priors .md-player[data-state=finished]")
        assert frame.is_visible("#tab-priors")
        assert frame.locator("#tab-priors .md-alert").is_hidden()
        context.close()
        assert not astray


def test_in_the_frame_of_a_space(browser: Browser) -> None:
    """The link is the Space's page's, which is told what the view asks for."""
    listen = "<script>told = []; onmessage = (e) => told.push(e.data.queryString);</script>"
    hub, inside = "https://huggingface.co", "https://some-space.hf.space"
    outer = f"<!doctype html>{listen}<iframe src='{inside}/?{RUN}' width=1400 height=860>"
    told = {"x-forwarded-host": "some-space.hf.space", "x-forwarded-proto": "https"}
    with (
        serve("--host", "127.0.0.1", SPACE_ID="some/space", SYSTEM="spaces") as url,
        watched(browser, hub, inside) as context,
    ):

        def pass_on(route: Route) -> None:
            asked = route.request
            there = asked.url.replace(inside, url)
            route.fulfill(response=route.fetch(url=there, headers=asked.headers | told))

        context.route(f"{inside}/**", pass_on)
        context.route(f"{hub}/**", lambda r: r.fulfill(body=outer, content_type="text/html"))
        page = context.new_page()
        page.goto(f"{hub}/spaces/some/space")
        frame = page.frames[1]
        live_run(frame)
        frame.click("#tab-watch .md-copy-link")
        link = frame.inner_text("#tab-watch .md-command")
        assert link.startswith(f"{hub}/spaces/some/space?tab=watch&")
        assert "steps=6" in link
        frame.locator("#watch-n").get_by_label("8", exact=True).check()
        page.wait_for_function("told.some((q) => q?.includes('n=8'))")
