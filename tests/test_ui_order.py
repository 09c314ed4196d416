"""What a link says and what is pressed holds in whatever order the parts of the page arrive."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from ui import LASTING, PATIENCE, Held, Tab, app, browser, drawn, linked, page

__all__ = ["app", "browser", "page"]
SMALL = "score=gaussian&n=16&count=4&seed=3"
WATCH = "#tab-watch .md-player"
READ = "**/tabs/watch/network.js"  # without it no link is read
# gradio's tabs have no buttons that the page could find until `free()`
NO_BUTTONS = """
window.hide = () => { for (const b of document.querySelectorAll("button[data-tab-id]"))
  if (!window.found) { b.dataset.kept = b.dataset.tabId; delete b.dataset.tabId; } };
new MutationObserver(hide).observe(document, { childList: true, subtree: true, attributes: true });
window.free = () => {
  window.found = true;
  for (const b of document.querySelectorAll("button[data-kept]")) b.dataset.tabId = b.dataset.kept;
};
"""


# Answers to `fetch`: all of a recording, half of a run if `slow`; the rest with `ends[name]()`.
HELD_ENDS = """
window.ends = {};
const plain = window.fetch;
window.fetch = async (url, how) => {
  const name = /seed=4/.test(url) ? "pinned" : /bin$/.test(url) ? "recorded"
    : window.slow && /live/.test(url) ? "live" : "";
  const answer = await plain(url, how);
  if (!name || !answer.ok) return answer;
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const first = name === "live" ? bytes.length >> 1 : bytes.length;
  return new Response(new ReadableStream({ start(stream) {
    stream.enqueue(bytes.slice(0, first));
    ends[name] = () => {
      if (first < bytes.length) stream.enqueue(bytes.slice(first));
      stream.close();
    };
  } }));
};
"""


def test_a_link_s_tab_is_shown_however_late_its_button_comes(app: str, page: Page) -> None:
    page.add_init_script(NO_BUTTONS)
    page.goto(f"{app}/?tab=priors&priors=standard&n=16")
    page.wait_for_selector("button[data-kept=priors]")
    page.wait_for_timeout(3000)  # longer than one would be patient
    page.evaluate("free()")
    tab = Tab.shown(page, "priors")
    tab.finished()
    assert "draws at 16²" in tab.text("what")
    assert "tab=priors&priors=standard&n=16" in page.url


def test_history_is_kept_however_late_its_tab_is_shown(app: str, page: Page) -> None:
    """What changes meanwhile in the tab that is left is not written into the other's address."""
    page.add_init_script(NO_BUTTONS)
    page.goto(f"{app}/?tab=watch&{SMALL}&steps=3")
    page.evaluate("free()")
    Tab.shown(page, "watch").finished()
    page.click("button[role=tab][data-tab-id=priors]")
    left = Tab.shown(page, "priors")
    left.finished()
    left.more()
    linked(page, "tab=priors")
    page.evaluate("window.found = false; hide()")
    page.go_back()
    linked(page, "tab=watch")
    page.locator("#priors-n").get_by_label("16", exact=True).check()
    page.wait_for_timeout(500)  # an address follows sooner
    assert "tab=watch" in page.url
    page.evaluate("free()")
    page.wait_for_selector(WATCH)
    page.go_forward()
    page.wait_for_selector(left.root)
    linked(page, "tab=priors", "n=16")


@pytest.mark.parametrize("query", ["hide=footer", "tab=resolution&finest=32&steps=2"])
def test_a_tab_can_be_pressed_before_the_link_is_read(app: str, page: Page, query: str) -> None:
    """It is shown, and works; Back leads to what the link says."""
    held = Held(page, READ)
    page.goto(f"{app}/?{query}")
    page.click("button[role=tab][data-tab-id=priors]")
    held.come()
    held.let_go()
    Tab.shown(page, "priors").finished()
    linked(page, "tab=priors")
    if "resolution" in query:
        page.go_back()
        tab = Tab.shown(page, "resolution")
        tab.finished()
        assert "2 steps" in tab.text("what")


@pytest.mark.parametrize("query", ["hide=footer", f"tab=watch&{SMALL}&steps=3"])
@pytest.mark.parametrize("late", [READ, "**/tabs/watch/watch.js"])
def test_start_can_be_pressed_before_the_scripts_come(
    app: str, page: Page, query: str, late: str
) -> None:
    """Then it runs what the controls say."""
    held = Held(page, late)
    page.goto(f"{app}/?{query}")
    page.click("#watch-start")
    held.come()
    held.let_go()
    tab = Tab.shown(page, "watch")
    tab.finished()
    assert ("16² · 3 steps" if "n=16" in query else "32² · 20 steps") in tab.text("what")


def test_a_control_can_be_moved_before_the_tab_s_script_comes(app: str, page: Page) -> None:
    """What is shown is what the control says, and so is the address."""
    held = Held(page, "**/tabs/watch/watch.js")
    page.goto(f"{app}/?hide=footer")
    held.come()
    page.locator("#watch-n").get_by_label("8", exact=True).check()
    linked(page, "n=8")
    held.let_go()
    tab = Tab.shown(page, "watch")
    tab.finished()
    assert "8² · 20 steps" in tab.text("what")


def test_what_is_done_to_the_first_picture_goes_into_the_address(app: str, page: Page) -> None:
    """Though the page may not write there until it has read it."""
    held = Held(page, READ)
    page.goto(app)
    page.wait_for_selector("#md-opening .md-player[data-frames='21']")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#md-opening .md-player[data-step='1']")
    held.come()
    page.wait_for_timeout(400)  # the delay with which addresses are written
    assert "step" not in page.url
    held.let_go()
    linked(page, "step=1")


def test_a_run_that_is_pinned_by_hand_stays(app: str, page: Page) -> None:
    """The one of the link, computed later, does not take its place."""
    link = "score-gaussian*n-16*count-4*seed-4*steps-6"
    page.add_init_script(HELD_ENDS)
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6&pin={link}")
    tab.end()
    page.wait_for_function("'pinned' in ends")
    page.click(f"{tab.root} .md-pin")
    page.wait_for_selector(f"{tab.root}[data-pinned=true]")
    page.evaluate("ends.pinned()")
    drawn(page)
    linked(page, "seed-3", gone="seed-4")
    assert "seed 3" in (page.get_attribute(f"{tab.root} .md-beside figcaption", "title") or "")


def test_nothing_known_of_a_run_is_taken_for_the_next_one_s(app: str, page: Page) -> None:
    """Between the head of a run and its first picture too."""
    page.add_init_script(
        "const frame = window.requestAnimationFrame.bind(window); window.later = [];"
        "window.requestAnimationFrame = (act) => (window.still ? later.push(act) : frame(act));"
    )
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6")
    tab.end()
    page.evaluate("window.still = true")
    page.click("#watch-start")
    page.wait_for_selector(f"{tab.root}[data-run=live-2][data-state=finished]")
    facts = tab.facts()
    assert "step" not in facts
    assert facts["played"] == "false" and facts["playing"] == "true"
    page.evaluate("() => { window.still = false; later.forEach(requestAnimationFrame); }")
    page.wait_for_selector(f"{tab.root}[data-step='6'][data-played=true]")


def test_a_wrong_link_is_put_right_where_a_run_begins_a_moment_later(app: str, page: Page) -> None:
    """What is said of the link stays beside its run."""
    tab = Tab(page, app, "forward", "kind=zzz")
    tab.finished()
    assert "The link asks for kind=zzz" in tab.text("alert")


def test_the_tour_begins_on_the_first_tab(app: str, page: Page) -> None:
    """From another one, where its things are not seen until gradio has turned the page."""
    Tab(page, app, "priors")
    page.click("#title .md-tour")
    box = page.locator(".md-tour-box")
    box.wait_for()
    assert "1 of 9" in box.inner_text()


def test_a_recorded_run_that_filled_the_time_does_not_end_the_live_one(
    app: str, browser: Browser
) -> None:
    """Its own end may come after the other has begun."""
    page = browser.new_page()  # a refusal is an error in its log
    page.set_default_timeout(PATIENCE)
    page.add_init_script("window.slow = true;" + HELD_ENDS)
    refused: list[str] = []

    def once(route) -> None:
        if refused:
            return route.continue_()
        refused.append(route.request.url)
        return route.fulfill(status=503, body="no place now")

    page.route("**/live/watch?*", once)
    page.goto(f"{app}/?tab=watch&{SMALL}&steps=12&speed=60")
    page.wait_for_function("'recorded' in ends")
    page.click(f"{WATCH} .md-again")
    page.wait_for_selector(f"{WATCH}[data-mode=live][data-state=running]")
    page.wait_for_function(
        "e => (({frames, step}) => frames > 3 && step == frames - 1)"
        "(document.querySelector(e).dataset)",
        arg=WATCH,
    )
    page.evaluate("ends.recorded()")
    drawn(page)
    assert page.get_attribute(WATCH, "data-played") == "false"
    page.evaluate("ends.live()")
    page.wait_for_selector(f"{WATCH}[data-state=finished][data-step='12']")
    page.close()


@pytest.mark.parametrize("ident", ["resolution", "forward"])
def test_stop_before_the_first_frame_stops(app: str, page: Page, ident: str) -> None:
    """Also where a tab starts a run by itself when it opens: nothing is asked again."""
    held = Held(page, f"**/live/{ident}**")
    page.goto(f"{app}/?tab={ident}")
    held.come()
    page.click(f"#{ident}-stop")
    page.wait_for_selector(f"#tab-{ident} .md-player[data-state=idle]")
    page.wait_for_timeout(700)
    assert len(held.routes) == 1
    assert page.get_attribute(f"#tab-{ident} .md-player", "data-state") == "idle"


def test_a_link_names_no_network_of_another_run(app: str, page: Page) -> None:
    """The controls ask for something else than what is shown: it holds the controls alone."""
    tab = Tab(page, app, "watch", "prior=fno&n=16&steps=4")
    tab.finished()
    copied = parse_qs(urlsplit(link_of(page, tab)).query)
    assert copied["checkpoint"] != ["auto"] and copied["prior"] == ["fno"]
    held = Held(page, "**/live/watch**")
    tab.more()
    page.locator("#watch-score").get_by_label("Gaussian").check()
    held.come()
    copied = parse_qs(urlsplit(link_of(page, tab)).query)
    assert copied["score"] == ["gaussian"] and copied["checkpoint"] == ["auto"]


def link_of(page: Page, tab: Tab) -> str:
    """What Copy link gives."""
    page.click(f"{tab.root} .md-copy-link")
    return tab.text("command")


def test_the_thumb_stays_within_what_is_computed(app: str, page: Page) -> None:
    tab = Tab(page, app, "watch", LASTING)
    tab.under_way(3)
    page.click("#watch-stop")
    page.wait_for_selector(f"{tab.root}[data-state=stopped]")
    last = int(tab.facts()["frames"]) - 1
    slide = (
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); return Number(e.value); }"
    )
    assert page.eval_on_selector(f"{tab.root} .md-range", slide, "100") == last < 100


def test_animations_are_saved_one_after_the_other(app: str, page: Page) -> None:
    """A second press while one is being written does nothing, and playback goes on as before."""
    tab = Tab(page, app, "watch", "n=16&steps=6&count=1")
    tab.finished()
    before = tab.facts()["playing"]
    saved: list[str] = []
    page.on("download", lambda download: saved.append(download.suggested_filename))
    with page.expect_download():
        page.eval_on_selector_all(
            f"{tab.root} :is(.md-save-gif, .md-save-webp)",
            "buttons => buttons.forEach((button) => button.click())",
        )
    page.wait_for_timeout(700)
    assert saved == ["mldemo-watch.gif"]
    assert tab.facts()["playing"] == before


def test_an_open_sheet_belongs_to_its_tab(app: str, page: Page) -> None:
    """On a phone: neither another tab nor a wide screen takes it for its own."""
    page.set_viewport_size({"width": 390, "height": 844})
    tab = Tab(page, app, "watch")
    opened = "document.documentElement.classList.contains('md-sheet')"
    page.click("#tab-watch .md-handle")
    page.wait_for_function(opened)
    page.click("button[role=tab][data-tab-id=priors]:visible")
    page.wait_for_selector("#tab-priors .md-player[data-state=finished]")
    page.wait_for_function(f"!{opened}")
    page.click("button[role=tab][data-tab-id=watch]:visible")
    page.wait_for_function(opened)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_function(f"!{opened}")
    assert page.is_visible(f"{tab.root} .md-what")


def test_the_tour_ends_with_its_tab(app: str, page: Page) -> None:
    tab = Tab(page, app, "watch")
    page.click("#title .md-tour")
    page.wait_for_selector(".md-tour-box", state="visible")
    page.focus(tab.root)
    page.keyboard.press("Escape")
    page.wait_for_selector(".md-tour-box", state="hidden")
    page.click("#title .md-tour")
    page.wait_for_selector(".md-tour-box", state="visible")
    page.click("button[role=tab][data-tab-id=priors]:visible")
    page.wait_for_selector(".md-tour-box", state="hidden")
    assert page.locator(".md-toured").count() == 0


def test_a_tour_asked_for_at_once_points_at_what_stays(app: str, page: Page) -> None:
    """The player that the page opens with moves into gradio's tab, in place of another one."""
    page.goto(app)
    page.wait_for_selector(".md-tour-box", state="attached")
    page.focus("#title .md-tour")
    page.keyboard.press("Enter")
    page.wait_for_selector(".md-tour-box", state="visible")
    page.wait_for_selector("#md-opening", state="detached")
    drawn(page)
    assert page.locator("#tab-watch .md-toured").count() == 1
