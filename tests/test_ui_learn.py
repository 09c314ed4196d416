"""Learn in a real browser: guess, try, answer; progress; links for a class."""

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page
from test_lessons import STEPS, words
from ui import PATIENCE, Tab, app, browser, laid_out, page

__all__ = ["app", "browser", "page"]


def opened(page: Page, app: str, query: str) -> None:
    """The Learn tab with its texts."""
    page.goto(f"{app}/?{query}")
    page.wait_for_selector("#tab-learn .md-player[data-lesson]")


def guess(page: Page, option: int) -> None:
    """Choose and commit."""
    page.locator("#tab-learn .md-lesson-options input").nth(option).check()
    page.click("#tab-learn .md-commit")


def test_guess_try_answer_and_a_reload(app: str, page: Page) -> None:
    """The answer follows the guess; the page notices what is done in another tab; it lasts."""
    text = words("en")["steps"]["trace-class"]
    opened(page, app, "lesson=trace-class")
    assert page.inner_text("#tab-learn .md-lesson-question") == text["question"]
    for hidden in (".md-lesson-try", ".md-lesson-answer", ".md-reveal", ".md-controls"):
        assert not page.is_visible(f"#tab-learn {hidden}"), hidden
    page.click("#tab-learn .md-commit")  # without a choice it commits nothing
    assert page.get_attribute("#tab-learn .md-player", "data-guessed") == "false"
    guess(page, 0)
    assert page.is_visible("#tab-learn .md-lesson-try")
    assert not page.is_visible("#tab-learn .md-lesson-answer")
    assert page.locator("#tab-learn .md-lesson-options input").first.is_disabled()

    page.click(".md-lesson-open")
    page.wait_for_selector("#tab-priors .md-player[data-state=finished]")
    asked, now = parse_qs(STEPS["trace-class"]["query"]), parse_qs(urlsplit(page.url).query)
    assert now["tab"] == ["priors"]
    assert now["lesson"] == ["trace-class"]
    assert now["priors"] == asked["priors"]
    assert page.inner_text(".md-guide-task") == text["try"]
    page.wait_for_timeout(1500)
    assert page.inner_text(".md-guide-seen") == ""  # nothing has been done yet
    box = page.locator("#priors-s").get_by_role("spinbutton")
    box.fill("0.9")
    box.press("Tab")
    page.wait_for_selector(".md-guide-seen:not(:empty)")
    page.click(".md-guide .md-reveal")  # the answer comes to the experiment
    page.wait_for_selector(".md-guide[data-revealed=true]")
    assert "tab=priors" in page.url
    result = page.locator(".md-guide .md-lesson-result")
    assert text["options"][1] in result.inner_text()
    assert page.evaluate("document.activeElement.className") == "md-lesson-result"
    assert result.bounding_box()["y"] < 900  # type: ignore[index]
    assert page.is_visible("#tab-priors .md-verdict")
    page.click(".md-guide-next")
    page.wait_for_selector("#tab-learn .md-player[data-lesson=one-function]")
    page.wait_for_selector(".md-guide", state="hidden")
    page.click("#tab-learn .md-lesson-nav summary")
    page.click("#tab-learn .md-lesson-nav [data-step=trace-class]")
    page.wait_for_selector("#tab-learn .md-player[data-revealed=true]")
    learn = page.locator("#tab-learn")
    assert learn.locator(".md-lesson-options .md-right").inner_text().startswith("s > 1")
    assert learn.locator(".md-lesson-math math").bounding_box()["height"] > 20  # type: ignore[index]

    page.reload()
    page.wait_for_selector("#tab-learn .md-player[data-revealed=true]")
    assert page.get_attribute("#tab-learn .md-player", "data-tried") == "true"
    assert page.locator("#tab-learn .md-lesson-options input").first.is_checked()
    page.click(".md-lesson-over")
    assert page.get_attribute("#tab-learn .md-player", "data-lesson") == "white-noise"
    assert page.evaluate("localStorage.getItem('mldemo-lessons')") == "{}"


COMPARED = {  # lesson -> (control, its value, grid of the pinned run, words of the difference)
    "one-function": ("#watch-n", "64", 16, "16²"),
    "beyond-linear": ("#watch-score", "learned", 32, "exact score of a Gaussian"),
    "dissolve": ("#forward-t", "0.8", 32, "up to t = 0.2"),
}


@pytest.mark.parametrize("lesson", COMPARED)
def test_a_lesson_compares_with_a_pinned_run(app: str, page: Page, lesson: str) -> None:
    """The first run stays beside the second, under one playhead; then the page has seen it."""
    control, value, n, difference = COMPARED[lesson]
    opened(page, app, f"lesson={lesson}")
    guess(page, 0)
    assert "pinned" in page.inner_text("#tab-learn .md-lesson-task")
    page.click(".md-lesson-open")
    ident = STEPS[lesson]["tab"]
    tab = Tab.shown(page, ident)
    root = tab.root
    page.wait_for_selector(f"{root}[data-state=finished][data-pinned=true]")
    tab.end()
    first = {"End": tab.pictures("x0", n)}
    page.keyboard.press("Home")
    tab.at(0)
    first["Home"] = tab.pictures("x0", n)
    page.wait_for_timeout(1000)
    assert page.inner_text(".md-guide-seen") == ""
    run = tab.facts()["run"]
    if ident == "forward":
        box = page.locator(control).get_by_role("spinbutton")
        box.fill(value)
        box.press("Tab")
    else:
        page.locator(control).get_by_label(value, exact=True).check()
    page.wait_for_selector(f'{root}[data-state=finished]:not([data-run="{run}"])')
    tab.end()
    page.wait_for_selector(".md-guide-seen:not(:empty)")
    for key, pictures in first.items():
        page.focus(root)
        page.keyboard.press(key)
        tab.at(0 if key == "Home" else int(page.get_attribute(f"{root} .md-range", "max") or 0))
        np.testing.assert_array_equal(tab.pictures("beside-x0", n), pictures)
    caption = page.inner_text(f"{root} .md-beside figcaption >> nth=0")
    assert f"{difference}, pinned" in caption
    page.click(f"{root} .md-pin")  # nothing is beside it now: no comparison, and it says so
    assert page.get_attribute(root, "data-pinned") == "false"
    assert page.locator(f"{root} .md-beside:visible").count() == 0


@pytest.mark.parametrize("query", ["", "&present=1"])
def test_the_race_is_predicted_watched_and_told(app: str, page: Page, query: str) -> None:
    """It plays by itself; the page notices its end; the verdict is in sight, and the answer's
    figures are those of the table."""
    opened(page, app, f"lesson=race{query}")
    guess(page, 0)
    page.click(".md-lesson-open")
    tab = Tab.shown(page, "training")
    assert tab.text("mode") == "prerecorded" and page.inner_text(".md-guide-seen") == ""
    page.wait_for_selector(".md-guide-seen:not(:empty)")
    verdict = page.locator(f"{tab.root} .md-verdict")
    page.focus(tab.root)
    page.keyboard.press("End")
    tab.at(30)
    for state in ("seen", "answer"):
        if state == "answer":
            page.click(".md-guide .md-reveal")
        for width, height in ((1280, 720), (1366, 768), (1920, 1080)):
            page.set_viewport_size({"width": width, "height": height})
            laid_out(page)
            box = verdict.bounding_box()
            bar = page.locator(".md-guide").bounding_box()
            assert box and bar and box["y"] + box["height"] <= bar["y"], (state, width)
    assert verdict.inner_text().startswith("A draw")
    row = page.locator(f"{tab.root} .md-lanes tr:has(th:text-is('error')) td")
    answer = page.inner_text(".md-guide .md-lesson-text")
    assert all(error in answer for error in row.all_inner_texts())


def test_the_panel_by_keyboard_alone(app: str, page: Page) -> None:
    """Arrow keys choose, Enter commits, the slider is moved, the page notices, Enter reveals."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_init_script(
        "localStorage.setItem('mldemo-lessons', '[3, {')"
    )  # anything may be there
    opened(page, app, "tab=learn&lesson=solution")
    root = "#tab-learn .md-player"
    page.keyboard.press("Tab")
    for _ in range(60):
        if page.evaluate("document.activeElement.type") == "radio":
            break
        page.keyboard.press("Tab")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{root}[data-guessed=true]")
    assert page.locator("#tab-learn .md-lesson-options input").nth(1).is_checked()
    page.wait_for_selector(f"{root}[data-regime=everywhere]")
    page.focus("#tab-learn .md-handle")  # on a phone the sliders are in a sheet
    page.keyboard.press("Enter")
    page.wait_for_selector("#learn-a")
    laid_out(page)
    chart = page.locator(f"{root} .md-growth").bounding_box()
    sheet = page.locator("#tab-learn .md-controls").bounding_box()
    assert chart is not None
    assert sheet is not None
    assert 0 <= chart["y"] < chart["y"] + chart["height"] <= sheet["y"]
    page.wait_for_timeout(1200)
    assert page.get_attribute(root, "data-tried") == "false"
    box = page.locator("#learn-a").get_by_role("spinbutton")
    box.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("3")
    page.keyboard.press("Tab")
    page.wait_for_selector(f"{root}[data-regime=along-noise][data-tried=true]")
    assert "s + 1 = 2.5 < a = 3 ≤ 2s + 1 = 4" in page.inner_text(f"{root} .md-verdict")
    page.focus("#tab-learn .md-reveal")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{root}[data-revealed=true]")
    assert page.evaluate("document.activeElement.className") == "md-lesson-result"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_wrong_name_and_no_storage(app: str, page: Page) -> None:
    """The page says which lessons there are, and works where a browser keeps nothing."""
    page.add_init_script(
        "Object.defineProperty(Storage.prototype, 'setItem', "
        "{value() { throw new DOMException('no', 'QuotaExceededError'); }});"
        "Object.defineProperty(Storage.prototype, 'getItem', "
        "{value() { throw new DOMException('no', 'SecurityError'); }});"
    )
    opened(page, app, "tab=learn&lesson=nonsense")
    note = page.inner_text(".md-lesson-note")
    assert "nonsense" in note
    assert "trace-class" in note
    assert words("en")["words"]["unkept"] in note
    guess(page, 1)
    page.click("#tab-learn .md-reveal")
    page.wait_for_selector("#tab-learn .md-player[data-revealed=true]")
    assert page.inner_text("#tab-learn .md-lesson-result") == words("en")["words"]["right"]


def test_lessons_that_do_not_load_say_so(app: str, page: Page) -> None:
    page.add_init_script(
        "const plain = fetch; window.fetch = (url, ...more) => /lessons.json/.test(url)"
        " ? Promise.resolve(new Response('', { status: 503 })) : plain(url, ...more);"
    )
    page.goto(f"{app}/?tab=learn")
    note = page.locator("#tab-learn .md-lesson-note")
    note.wait_for()
    assert "did not load (503)" in note.inner_text()


def test_the_link_for_lecturers_opens_the_maker_once(app: str, page: Page) -> None:
    """On the tab itself too; the address, and so every link copied later, is without it."""
    opened(page, app, "tab=learn")
    assert page.locator(".md-maker[open]").count() == 0
    page.click("#title a:has-text('lecturers')")
    page.wait_for_selector(".md-maker[open] .md-maker-link")
    assert "#" not in page.url


def test_start_over_takes_the_guess_back(app: str, page: Page) -> None:
    opened(page, app, "tab=learn")
    guess(page, 1)
    page.click("#tab-learn .md-lesson-over")
    page.wait_for_selector("#tab-learn .md-player[data-guessed=false]")
    assert page.locator("#tab-learn .md-lesson-options input:checked").count() == 0


def test_a_link_for_a_class_does_what_it_says(app: str, page: Page) -> None:
    """Values, hidden controls, lesson, large type: all of it in the link, and the page follows."""
    opened(page, app, "tab=learn")
    page.click(".md-maker summary")
    page.select_option(".md-maker-tab", "solvers")
    page.locator(".md-maker").get_by_label("Sampler", exact=True).select_option("ddim")
    page.select_option(".md-maker-lesson", "solvers")
    page.check(".md-maker-present")
    page.locator('.md-maker-row[data-field="prior"]').get_by_label("hide").check()
    page.locator('.md-maker-group input[value="hint"]').check()
    page.locator('.md-maker-group input[value="watch"]').check()
    page.click(".md-maker-copy")
    page.wait_for_selector(".md-maker-out .md-copied:not(:empty)")
    url = page.evaluate("navigator.clipboard.readText()")
    wanted = {"tab": "solvers", "sampler": "ddim", "lesson": "solvers", "present": "1"}
    found = {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}
    assert wanted.items() <= found.items()
    assert found["hide"] == "prior,hint,watch"
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_selector("#tab-solvers .md-player[data-state=finished]", timeout=PATIENCE)
    assert "DDIM" in page.inner_text("#tab-solvers .md-what")
    large = (
        "parseFloat(getComputedStyle(document.querySelector('#tab-solvers .md-player')).fontSize)"
    )
    page.wait_for_function(f"{large} >= 20")
    for part, there in (("#solvers-sampler", True), ("#solvers-prior", False)):
        assert page.is_visible(part) is there
    assert not page.is_visible("#tab-solvers .md-hint")
    assert not page.is_visible("button[data-tab-id=watch]")
    assert page.is_visible(".md-guide")
    page.click(".md-guide-close")
    assert not page.is_visible(".md-guide")
    assert "lesson" not in page.url


def test_the_lecturers_page_is_folded_under_the_lessons(app: str, page: Page) -> None:
    """A plan whose links set this very page, exercises, and answers behind another fold."""
    opened(page, app, "tab=learn")
    notes = page.locator("#tab-learn .md-notes")
    link = notes.get_by_role("link", name="lesson 2")
    assert not link.is_visible()
    notes.get_by_role("button").first.click()
    link.wait_for()
    answers = notes.get_by_text("the sum grows like log N")
    assert not answers.is_visible()
    notes.locator("summary", has_text="Answers").click()
    answers.wait_for()
    assert "127.0.0.1:7860" not in notes.inner_html()
    page.goto(f"{app}/{link.get_attribute('href')}")
    page.wait_for_selector("#tab-learn .md-player[data-lesson=trace-class]")
