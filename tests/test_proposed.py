"""The guidance that the page proposes for a checkpoint: in the manifest, and on the slider."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page
from test_sizes import save
from ui import Tab, browser, page, serve

from mldemo.bundling import draw_levels
from mldemo.images import pixels, sheet
from mldemo.pipeline import prepare
from mldemo.request import GUIDANCE, LARGEST_GUIDANCE, Request
from mldemo.store.files import FileError
from mldemo.store.manifest import manifest_update
from mldemo.ui.place import Place
from mldemo.ui.tabs.watch import watch

__all__ = ["browser", "page"]
CPU = torch.device("cpu")
TINY = {"kind": "fno", "width": 8, "modes": 4, "depth": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of which the manifest proposes no weight, and one that 1 suits better."""
    folder = tmp_path_factory.mktemp("proposed")
    for name in ("usual", "other", "plain"):
        save(folder, name, TINY, (16,))
    with manifest_update(folder) as manifest:
        manifest["default"] = "usual"
        manifest["files"]["plain"]["guidance"] = 1
    return folder


def test_the_manifest_names_it(folder: Path) -> None:
    field = watch.guidance_field(Place(CPU, folder))
    assert (field.default, field.suits) == (GUIDANCE, {"plain": 1})


@pytest.mark.parametrize("wrong", [-0.1, LARGEST_GUIDANCE + 0.01, float("nan"), "1", True, None])
def test_what_is_no_weight_is_refused(folder: Path, wrong: object) -> None:
    with pytest.raises(FileError, match="guidance of the file 'plain' must be a number from 0 to"):
        with manifest_update(folder) as manifest:
            manifest["files"]["plain"]["guidance"] = wrong


def test_its_sheet_is_drawn_with_it(copied_bundle: Path) -> None:
    """A row for each level, 16 first; another weight would show."""
    with manifest_update(copied_bundle) as manifest:
        manifest["files"]["tiny"]["guidance"] = LARGEST_GUIDANCE
    drawn = np.asarray(Image.open(draw_levels("tiny", "bessel", copied_bundle, CPU, count=2)))

    def row(guidance: float) -> np.ndarray:
        request = Request(resolution=16, count=2, seed=1, guidance=guidance)
        images = prepare(request, CPU, copied_bundle).result().x0
        return np.asarray(sheet(pixels(images[:, 0]), columns=2, side=128))

    assert np.array_equal(drawn[: len(drawn) // 4], row(LARGEST_GUIDANCE))
    assert not np.array_equal(row(LARGEST_GUIDANCE), row(GUIDANCE))


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[str]:
    """The page with this folder."""
    with serve(MLDEMO_CHECKPOINTS=str(folder)) as url:
        yield url


def test_the_slider_follows_the_checkpoint_unless_it_was_moved(app: str, page: Page) -> None:
    tab = Tab(page, app, "watch", "n=16&steps=2&count=1")
    tab.finished()
    tab.more()
    box = page.locator("#watch-guidance input[type=number]")

    def choose(name: str) -> None:
        page.locator("#watch-checkpoint input").click()
        page.get_by_role("option", name=f"{name} ·").click()

    def shows(value: str, **query: str | None) -> None:
        """On the slider, and in the address."""
        page.wait_for_function(
            """([value, query]) => {
              const asked = new URLSearchParams(location.search);
              return document.querySelector("#watch-guidance input[type=number]").value === value
                && Object.entries(query).every(([name, text]) => asked.get(name) === text);
            }""",
            arg=[value, query],
        )

    shows("1.25", guidance=None)
    choose("plain")
    shows("1", guidance="1", checkpoint="plain")
    choose("other")
    shows("1.25", guidance=None, checkpoint="other")
    box.fill("2")
    box.press("Tab")
    shows("2", guidance="2")
    choose("plain")
    shows("2", guidance="2", checkpoint="plain")


def test_a_link_means_what_it_says(app: str, page: Page) -> None:
    """Without a weight the default, as before there were proposals."""
    tab = Tab(page, app, "watch", "n=16&steps=2&count=1&checkpoint=plain")
    tab.finished()
    tab.more()
    assert page.input_value("#watch-guidance input[type=number]") == "1.25"
    assert "guidance" not in page.url
