"""Pictures of every tab: `python -m tests.screenshots FOLDER`, or with `--url` of a running app.

Light and dark at 1440×900, a phone at 390×844 (the whole page), a projector at 1920×1080 with
`present=1`. Needs what tests/requirements.txt names, and Chromium.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from ui import ARGUMENTS, CHROMIUM, PATIENCE, laid_out, serve

SHAPES = {
    "light": ((1440, 900), "__theme=light", False),
    "dark": ((1440, 900), "__theme=dark", False),
    "phone": ((390, 844), "__theme=light", True),
    "projector": ((1920, 1080), "__theme=light&present=1", False),
}
RUNS = {"resolution": "&finest=64&steps=20&show=x0", "forward": "&steps=20"}


def tabs(page: Page) -> list[str]:
    """The ids of the page's tabs, in its order."""
    page.wait_for_selector("[data-tab-id]", state="attached")
    found = "es => [...new Set(es.map((e) => e.dataset.tabId))]"
    return page.eval_on_selector_all("[role=tab][data-tab-id]", found)


def settle(page: Page, ident: str) -> None:
    """Wait until the tab's first run is at its end and stands still there."""
    player = f"#tab-{ident} .md-player"
    page.wait_for_selector(f"{player}[data-state=finished]:not(:has(.md-plot:empty))")
    page.focus(player)
    page.keyboard.press("End")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_selector(f"{player}:not([data-playing=true])")
    laid_out(page)


def main() -> None:
    """Write FOLDER/<tab>-<shape>.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="an app that is running; else one is started")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--tabs", nargs="*", help="default: all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    running = contextlib.nullcontext(options.url) if options.url else serve()
    with running as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for shape in options.shapes:
            (width, height), query, whole = SHAPES[shape]
            page = chromium.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(PATIENCE)
            page.goto(url)
            for ident in options.tabs or tabs(page):
                page.goto(f"{url}/?tab={ident}&{query}{RUNS.get(ident, '')}")
                try:
                    settle(page, ident)
                except TimeoutError as error:  # a picture of it may tell why
                    print(f"{ident} does not come to its end: {error}", file=sys.stderr)
                path = options.folder / f"{ident}-{shape}.png"
                page.screenshot(path=path, full_page=whole)
                wide = page.evaluate("document.documentElement.scrollWidth")
                print(path, f"{wide} px wide" if wide > width else "", flush=True)
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()
