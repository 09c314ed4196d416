"""Two sizes of one network: which stands beside which, what is the default where, the control."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from playwright.sync_api import Page
from test_cli import run
from ui import Tab, browser, page, serve

from mldemo.cli import cli
from mldemo.networks import build_network
from mldemo.networks.sizes import SIZES, size_of
from mldemo.pipeline import default_checkpoint, default_statistics, prepare
from mldemo.request import Request
from mldemo.space.priors import Bessel, Laplacian
from mldemo.store.checkpoints import save_checkpoint
from mldemo.store.family import counterparts, suited
from mldemo.store.files import FileError
from mldemo.store.manifest import CheckpointError, manifest_update, read_manifest
from mldemo.ui.place import Place
from mldemo.ui.tabs.watch import watch

__all__ = ["browser", "page", "run"]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
PAIR = {"light": "small-32", "large": "big-32"}
ALONE = ("big-32-only", "big-fashion", "big-bessel", "fno")


def save(
    folder: Path, name: str, network: dict, levels: tuple[int, ...], **changed: object
) -> None:
    """An untrained network with the digits' statistics, entered as `train` enters one."""
    record = {
        "data": "mnist",
        "priors": [Bessel().to_dict(), Laplacian().to_dict()],
        "variations": 4,
        "levels": [[level, 10] for level in levels],
        "network": network,
        "schedule": {"beta_min": 0.1, "beta_max": 20.0},
        "seconds": 1.0,
    } | changed
    save_checkpoint(folder, name, build_network(network), default_statistics(), record)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Light and large on 16 and on 16, 32; `ALONE` have no counterpart."""
    folder = tmp_path_factory.mktemp("sizes")
    for name, size in (("small", "light"), ("big", "large")):
        save(folder, f"{name}-16", SIZES[size], (16,))
        save(folder, f"{name}-32", SIZES[size], (16, 32))
    large = SIZES["large"]
    save(folder, "big-32-only", large, (32,))
    save(folder, "big-fashion", large, (16, 32), data="fashion-mnist")
    save(folder, "big-bessel", large, (16, 32), priors=[Bessel().to_dict()])
    save(folder, "fno", {"kind": "fno", "width": 8, "modes": 4, "depth": 1}, (16, 32))
    _default(folder, "small-32")
    return folder


def _default(folder: Path, name: str) -> None:
    with manifest_update(folder) as manifest:
        manifest["default"] = name


# ---------------------------------------------------------------- which stands beside which
def test_counterparts_differ_in_size_alone(sizes: Path) -> None:
    assert counterparts("small-32", sizes) == counterparts("big-32", sizes) == PAIR
    assert counterparts("big-16", sizes) == {"light": "small-16", "large": "big-16"}
    for name in ALONE:
        assert set(counterparts(name, sizes).values()) <= {name}
    assert counterparts("nobody", sizes) == {}


def test_the_device_decides_whichever_is_the_folders_default(sizes: Path) -> None:
    try:
        for name in PAIR.values():
            _default(sizes, name)
            assert default_checkpoint("bessel", CPU, sizes) == "small-32"
            assert default_checkpoint("laplacian", GPU, sizes) == "big-32"
            assert default_checkpoint("bessel", "mps", sizes) == "big-32"
            request = Request(resolution=16, steps=2, count=1)
            assert prepare(request, CPU, sizes).checkpoint == "small-32"
            named = replace(request, checkpoint="big-32")
            assert prepare(named, CPU, sizes).checkpoint == "big-32"
    finally:
        _default(sizes, "small-32")
    assert [suited(name, CPU, sizes) for name in ALONE] == list(ALONE)


def test_a_manifest_may_name_the_pair(sizes: Path, tmp_path: Path) -> None:
    """In place of the equal levels; not with a network of another size, or a file it lacks."""
    folder = shutil.copytree(sizes, tmp_path / "own")
    pair = {"light": "small-32", "large": "big-16"}

    def named(**pair: str) -> None:
        with manifest_update(folder) as manifest:
            manifest["sizes"] = pair

    named(**pair)
    assert counterparts("small-32", folder) == counterparts("big-16", folder) == pair
    assert default_checkpoint("bessel", GPU, folder) == "big-16"
    assert default_checkpoint("bessel", CPU, folder) == "small-32"
    assert counterparts("big-32", folder) == PAIR
    named(light="small-32", large="small-16")
    with pytest.raises(CheckpointError, match="calls small-16 large, which it is not"):
        counterparts("small-32", folder)
    with pytest.raises(FileError, match="it has no file 'nobody'"):
        named(large="nobody")


def test_the_command_line_takes_the_same(sizes: Path, tmp_path: Path) -> None:
    words = ["sample", "--checkpoints", str(sizes), "--resolution", "16", "--steps", "1"]
    words += ["--count", "1", "--device", "cpu", "--out", str(tmp_path / "a.png")]
    answer = CliRunner().invoke(cli, words)
    assert '"checkpoint": "small-32"' in answer.stdout, answer.output


def test_a_lent_gpu_computes_what_the_page_names(sizes: Path) -> None:
    here = Place(CPU, sizes)
    assert here.default("bessel") == "small-32"
    assert Place(GPU, sizes).default("bessel") == "big-32"
    assert replace(here, device=GPU, usual=CPU).default("bessel") == "small-32"
    assert here.prepare(Request(resolution=16, steps=2)).request.checkpoint == "small-32"


def test_records_of_networks_that_nobody_knows(sizes: Path, tmp_path: Path) -> None:
    """In a manifest: an unknown kind is of no size, and what is no record is refused."""
    manifest = read_manifest(sizes)

    def of(network: object) -> dict[str, str]:
        manifest["files"]["fno"]["network"] = network
        (tmp_path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        return counterparts("fno", tmp_path)

    assert of({"kind": "transformer", "depth": 2}) == {} == of({"kind": "ushaped", "sides": 3})
    for wrong in (5, "ushaped", {"kind": 3}, {"kind": "ushaped", "depth": [[1]]}):
        with pytest.raises(CheckpointError, match="network of the file 'fno' must be a kind"):
            of(wrong)


@pytest.mark.parametrize("size", ["light", "large"])
def test_train_names_the_two_sizes(run, idx_folder: Path, tmp_path: Path, size: str) -> None:
    words = ("train", "--data", idx_folder, "--size", size, "--levels", "8:1", "--batch", 2)
    assert run(*words, "--name", "a", "--out", tmp_path)[0] == 0
    entry = read_manifest(tmp_path)["files"]["a-8"]
    assert size_of(entry["network"]) == size
    widths = {"light": [48, 96], "large": [128, 256]}[size]
    assert entry["network"]["core_widths"] == widths


def test_the_default_is_the_light_size() -> None:
    assert [size_of({"kind": kind}) for kind in ("ushaped", "fno")] == ["light", None]


def test_the_control_is_there_where_a_pair_is(sizes: Path, tiny_bundle: Path) -> None:
    (aspect,) = watch.tab(Place(CPU, sizes)).aspects
    assert (aspect.name, list(aspect.options)) == ("network", ["light", "large"])
    assert aspect.facts["pairs"].keys() == {"small-16", "small-32", "big-16", "big-32"}
    assert aspect.facts["usual"]["bessel"] == "small-32"
    (aspect,) = watch.tab(Place(GPU, sizes)).aspects
    assert aspect.facts["usual"]["bessel"] == "big-32"
    assert watch.tab(Place(CPU, tiny_bundle)).aspects == []


# ---------------------------------------------------------------- in a browser
@pytest.fixture(scope="module")
def app(sizes: Path) -> Iterator[str]:
    """The page with the folder of two sizes."""
    with serve(MLDEMO_CHECKPOINTS=str(sizes)) as url:
        yield url


SMALL = "n=16&steps=2&count=1"


def checked(page: Page) -> list[str]:
    """Which of the buttons is pressed."""
    return page.eval_on_selector_all(
        "#watch-network input", "es => es.filter((e) => e.checked).map((e) => e.value)"
    )


def wait_for(page: Page, size: str) -> None:
    page.wait_for_selector(f"#watch-network input[value={size}]:checked")


def test_light_and_large_by_hand(app: str, page: Page) -> None:
    """By mouse and keyboard; the checkpoint follows, and is what the link says."""
    tab = Tab(page, app, "watch", SMALL)
    tab.finished()
    wait_for(page, "light")
    assert "The large network takes longer on this CPU" in page.inner_text("#watch-network")
    assert "small-32, trained at 16 → 32" in tab.text("checkpoint")
    page.click(".md-copy-link")
    assert "checkpoint=small-32" in tab.text("command")
    page.focus("#watch-network input[value=light]")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    wait_for(page, "large")
    said = f"{tab.root} .md-checkpoint:has-text('big-32, trained at 16 → 32')"
    page.wait_for_selector(said)
    tab.finished()
    assert "checkpoint=big-32" in page.url
    page.reload()
    page.wait_for_selector(said)
    wait_for(page, "large")
    page.locator("#watch-network").get_by_label("light").check()
    page.wait_for_selector(f"{tab.root} .md-checkpoint:has-text('small-32')")
    page.wait_for_timeout(400)
    assert "checkpoint" not in page.url  # the default again
    tab.more()
    page.locator("#watch-checkpoint input").click()
    page.get_by_role("option", name="big-16 ·").click()
    wait_for(page, "large")
    page.locator("#watch-network").get_by_label("light").check()
    page.wait_for_selector(f"{tab.root} .md-checkpoint:has-text('small-16')")
    mark = page.locator("#watch-network .md-why")
    mark.hover()
    assert "two sizes" in page.locator("#md-why-box").inner_text()


def test_without_a_counterpart_it_says_why(app: str, page: Page) -> None:
    tab = Tab(page, app, "watch", f"{SMALL}&checkpoint=big-fashion")
    page.wait_for_selector("#watch-network:has-text('big-fashion is there in one size only')")
    assert page.locator("#watch-network input:disabled").count() == 2
    assert checked(page) == []
    tab.more()
    page.locator("#watch-checkpoint input").click()
    page.get_by_role("option", name="big-32 ·").click()
    wait_for(page, "large")
    assert page.locator("#watch-network input:disabled").count() == 0
    page.locator("#watch-score").get_by_label("Gaussian").check()
    page.wait_for_selector("#watch-network:has-text('An exact score uses no network')")
    assert page.locator("#watch-network input:disabled").count() == 2


def test_a_slow_run_says_how_long_it_still_takes(app: str, page: Page) -> None:
    """From the steps that it has taken: less and less, and nothing at the end."""
    page.goto(f"{app}/?tab=watch&n=128&steps=100&count=16&checkpoint=big-32")
    player = "#tab-watch .md-player"
    page.wait_for_function(  # the first estimates may grow
        """e => {
          const said = /about (.+) s to go/.exec(document.querySelector(e)?.textContent);
          if (said) window.most = Math.max(window.most ?? 0, +said[1]);
          return said && +said[1] <= window.most / 2;
        }""",
        arg=f"{player} .md-pace",
    )
    assert 4 <= page.evaluate("most") < 600
    page.wait_for_selector(f"{player}[data-state=finished]")
    assert "to go" not in page.inner_text(f"{player} .md-pace")


@pytest.mark.parametrize(("size", "theme"), [((1280, 720), "dark"), ((390, 844), "light")])
def test_it_is_in_sight(app: str, page: Page, size: tuple[int, int], theme: str) -> None:
    """On a projector in large type, and on a phone in the sheet of controls."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    Tab(page, app, "watch", f"{SMALL}&present=1&__theme={theme}")
    if size[0] < 900:
        page.click("#tab-watch .md-handle")
    buttons = page.locator("#watch-network")
    buttons.scroll_into_view_if_needed()
    box = buttons.bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    assert 0 <= box["y"] and box["y"] + box["height"] <= size[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
