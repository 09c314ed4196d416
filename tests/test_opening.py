"""The first picture, before gradio has put the page together."""

import json
import re

import httpx
import pytest
from playwright.sync_api import Page
from ui import app, browser, page

from mldemo.ui.server.opening import asks_only_for, modules, title
from mldemo.ui.tab import UI

__all__ = ["app", "browser", "page"]
OPENING = "#md-opening .md-player"


def test_the_scripts_are_named_with_all_that_they_load() -> None:
    """Each once, and each is there."""
    found = modules("tabs/watch/watch.js")
    assert found[0] == "tabs/watch/watch.js"
    assert {"static/pictures.js", "static/chart.js", "tabs/watch/fft.js"} <= set(found)
    shared = {"static/runner.js", "static/player.js", "static/stream.js"}
    assert shared <= set(modules("static/page.js"))
    assert len(set(found)) == len(found)
    assert all((UI / name).is_file() for name in found)


def test_a_space_links_to_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, if it is one; elsewhere there is no link, and never markup of the name."""
    monkeypatch.delenv("SPACE_ID", raising=False)
    plain = title()
    assert "https://arxiv.org/abs/2303.04772" in plain
    assert "Source" not in plain
    monkeypatch.setenv("SPACE_ID", "some/space")
    assert 'href="https://huggingface.co/spaces/some/space/tree/main"' in title()
    monkeypatch.setenv("SPACE_ID", '"><script>/x')
    assert title() == plain


@pytest.mark.parametrize(
    ("query", "opens"),
    [
        ("", True),
        ("tab=watch", True),
        ("__theme=dark&tab=watch", True),
        ("tab=priors", False),
        ("tab=watch&n=64", False),
        ("seed=", False),
        ("present=1", False),
        ("lesson=3", False),
    ],
)
def test_only_an_address_without_requests_opens_so(app: str, query: str, opens: bool) -> None:
    """What is shown at once is what the page will show."""
    assert asks_only_for(query, "watch") == opens
    text = httpx.get(f"{app}/?{query}").text
    assert ("opening.js" in text) == opens
    assert ("recordings/" in text.partition("window.gradio_config")[0]) == opens
    for link in re.findall(r'<link rel="[a-z]*preload" href="([^"]+)"', text):
        assert httpx.get(f"{app}/{link}").status_code == 200


def test_digits_move_without_gradio(app: str, page: Page) -> None:
    """Its scripts never come; the picture moves all the same, and can be stepped."""
    page.route(
        "**/assets/*.js", lambda route: route.fulfill(body="", content_type="text/javascript")
    )
    page.goto(app)
    first = page.wait_for_selector(f"{OPENING}[data-step]").get_attribute("data-step")
    page.wait_for_selector(f"{OPENING}:not([data-step='{first}'])")
    page.keyboard.press("Home")
    page.wait_for_selector(f"{OPENING}[data-step='0']")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"{OPENING}[data-step='1']")


def test_the_player_goes_on_in_its_place(app: str, page: Page) -> None:
    """The same one: paused before gradio came, it is paused after; then Start works."""
    held, come = [], []
    page.route("**/assets/*.js", lambda r: r.continue_() if come else held.append(r))
    page.goto(app, wait_until="commit")
    page.wait_for_selector(f"{OPENING}[data-frames='21']")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"{OPENING}[data-step='1']")
    before = page.locator(OPENING).bounding_box()
    come.append(True)
    for route in held:
        route.continue_()
    page.wait_for_selector("#tab-watch .md-player[data-step='1']")
    assert page.locator("#md-opening").count() == 0
    page.wait_for_selector("#watch-start")
    after = page.locator("#tab-watch .md-player").bounding_box()
    assert before is not None
    assert after is not None
    assert json.dumps([round(before[k] / 8) for k in ("x", "y", "width")]) == json.dumps(
        [round(after[k] / 8) for k in ("x", "y", "width")]
    )
    page.wait_for_timeout(500)
    assert page.get_attribute("#tab-watch .md-player", "data-step") == "1"
    page.click("#tab-watch .md-more")
    page.locator("#watch-score").get_by_label("Gaussian").check()
    page.click("#watch-start")
    page.wait_for_selector("#tab-watch .md-player[data-mode=live][data-state=finished]")
