"""The Hub, well and ill: right bytes or one clear error, soon, and never a bad file."""

import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import Hub
from hub_tools import FILE, REPO, await_that, pin, point_at
from huggingface_hub import constants
from test_checkpoints import _Bomb, _drop, _extra, _misshape, _poison, edit_tensors, rewrite

from mldemo.store import hub
from mldemo.store.checkpoints import load_checkpoint
from mldemo.store.manifest import (
    CheckpointError,
    find,
    manifest_update,
    read_manifest,
    write_file,
)

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.usefixtures("client")
SECONDS = 1.5


def test_fresh_then_cached_then_offline(
    server: Hub, bundle: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find("tiny", bundle)
    assert (found.source, found.raw) == ("hub", raw), found.failures
    asked = len(server.asked)
    found = find("tiny", bundle)
    assert (found.source, found.raw) == ("cache", raw)
    assert len(server.asked) == asked, "the cache needs no network"
    assert load_checkpoint("tiny", bundle).source == "cache"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find("tiny", bundle).source == "cache"


def test_no_repository_means_no_hub(server: Hub, bundle: Path, tiny_bundle: Path, monkeypatch):
    assert load_checkpoint("tiny", tiny_bundle).source == "bundle"
    monkeypatch.setenv("MLDEMO_HUB_REPO", "")
    assert find("tiny", bundle).source == "bundle"
    assert server.asked == []


def test_offline_nothing_is_asked(
    server: Hub, hub_only: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the Hub alone: the error lists all that was tried."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"cache: .*; hub: HF_HUB_OFFLINE .*; bundle: .*No"):
        find("tiny", hub_only)
    (hub_only / FILE).write_bytes(raw)
    assert find("tiny", hub_only).source == "bundle"
    assert server.asked == []


ILLNESS = {
    "refused": ("gone", "ok", "refused"),
    "silent": ("silent", "ok", "timed out"),
    "portal": ("portal", "ok", "is no Hub"),
    "401": (401, "ok", "HTTP 401"),
    "403": (403, "ok", "HTTP 403"),
    "404": (404, "ok", "no such repository or revision .HTTP 404"),
    "429": (429, "ok", "too many requests"),
    "500": (500, "ok", "HTTP 500"),
    "CDN silent": ("ok", "silent", "no file within"),
    "CDN drips": ("ok", "drip", "no file within"),
    "CDN truncates": ("ok", "truncated", "no file within|peer closed"),
    "CDN corrupts": ("ok", "corrupt", "sha256"),
    "CDN portal": ("ok", "portal", "size"),
    "CDN 403": ("ok", 403, "HTTP 403"),
    "CDN 500": ("ok", 500, "HTTP 500"),
}


@pytest.mark.parametrize("illness", ILLNESS)
def test_an_ill_hub_costs_little_and_the_bundle_serves(
    server: Hub, bundle: Path, raw: bytes, illness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is left alone; without a bundled copy the error says what was tried."""
    server.api, server.cdn, words = ILLNESS[illness]
    if server.api == "gone":
        point_at("http://127.0.0.1:9", monkeypatch)
    start = time.monotonic()
    found = find("tiny", bundle, SECONDS)
    assert time.monotonic() - start < SECONDS + 0.5
    assert (found.source, found.raw) == ("bundle", raw)
    (bundle / FILE).unlink()
    asked, start = len(server.asked), time.monotonic()
    with pytest.raises(CheckpointError, match=rf"(?s)cache: .*; hub: .*({words}).*; bundle: "):
        find("tiny", bundle, SECONDS)
    assert time.monotonic() - start < 0.5 and len(server.asked) == asked, "not left alone"


def test_a_hub_that_recovered_is_asked_again(
    server: Hub, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api = 500
    assert find("tiny", bundle).source == "bundle"
    server.api = "ok"
    assert "left alone" in find("tiny", bundle).failures[1]
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + hub.PAUSE)
    assert find("tiny", bundle).source == "hub"


def test_a_file_that_is_not_there_is_an_answer(server: Hub, bundle: Path) -> None:
    """One missing file does not keep the others away."""
    server.api = "missing"
    assert f"holds no {FILE}" in find("tiny", bundle).failures[1]
    server.api = "ok"
    assert find("tiny", bundle).source == "hub"


def test_another_size_is_not_downloaded(server: Hub, bundle: Path, raw: bytes) -> None:
    server.lie[FILE] = raw + b"more"
    assert "the manifest says" in find("tiny", bundle).failures[1]
    assert server.count("CDN") == 0


def test_other_bytes_of_the_same_size_are_refused(server: Hub, hub_only: Path, raw: bytes):
    """The Hub vouches for them: only the committed sha256 tells."""
    server.lie[FILE] = bytes(len(raw))
    with pytest.raises(CheckpointError, match=r"hub: .*sha256"):
        find("tiny", hub_only)


def test_a_revision_that_is_gone(server: Hub, hub_only: Path) -> None:
    pin(hub_only, 40 * "a")
    with pytest.raises(CheckpointError, match=r"somebody/fields@aaaaaaaaaaaa: no such"):
        find("tiny", hub_only)


DAMAGE = {
    "truncated": lambda raw: raw[: len(raw) // 2],
    "flipped": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "empty": lambda raw: b"",
    "pickle": lambda raw: pickle.dumps(_Bomb()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_file_in_the_cache_is_replaced(
    server: Hub, bundle: Path, raw: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never used: not even when there is nothing else."""
    find("tiny", bundle)
    pinned = hub.pinned(read_manifest(bundle), {})
    assert pinned is not None
    spoilt = hub.cached(pinned, FILE)
    spoilt.write_bytes(DAMAGE[kind](raw))
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        found = find("tiny", bundle)
        assert (found.source, found.raw) == ("bundle", raw)
        (bundle / FILE).unlink()
        with pytest.raises(CheckpointError, match=r"cache: .*(bytes|sha256).*; hub: .*; bundle"):
            find("tiny", bundle)
    assert find("tiny", bundle).source == "hub"
    assert hub.cached(pinned, FILE).read_bytes() == raw
    assert find("tiny", bundle).source == "cache"


def test_a_cache_that_cannot_be_written(server: Hub, bundle: Path, cache: Path) -> None:
    """Root may write anywhere, so a file stands where the folder should be."""
    cache.write_text("")
    found = find("tiny", bundle)
    assert found.source == "bundle" and "hub: " in found.failures[1]
    hub._paused.clear()
    (bundle / FILE).unlink()
    with pytest.raises(CheckpointError, match=r"hub: .*(Not a directory|File exists)"):
        find("tiny", bundle)


def test_a_read_only_cache_that_holds_the_file_serves(bundle: Path, raw: bytes, cache: Path):
    find("tiny", bundle)
    folders = [cache, *(p for p in cache.rglob("*") if p.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        found = find("tiny", bundle)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert (found.source, found.raw) == ("cache", raw)


def _pickle(folder: Path) -> None:
    rewrite(folder, lambda raw: pickle.dumps(_Bomb()), keep_hash=False)


def _edit(change: Callable) -> Callable[[Path], None]:
    return lambda folder: edit_tensors(folder, change)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_pickle, "no checkpoint of mldemo"),
        (_edit(_misshape), "size mismatch"),
        (_edit(_drop), "Missing key"),
        (_edit(_extra), "Unexpected key"),
        (_edit(_poison), "not finite"),
    ],
    ids=["pickle", "wrong shapes", "missing keys", "extra keys", "NaN weights"],
)
def test_wrong_contents_from_the_hub_are_refused(
    server: Hub, bundle: Path, spoil: Callable, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the manifest vouches for them."""
    monkeypatch.chdir(bundle)
    spoil(bundle)
    pin(bundle, server.commit(REPO, {FILE: (bundle / FILE).read_bytes()}))
    (bundle / FILE).unlink()
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint("tiny", bundle)
    assert server.count("CDN") == 1 and not (bundle / "exploded").exists()


def test_who_has_a_copy_does_not_wait_for_anothers_download(
    server: Hub, bundle: Path, raw: bytes
) -> None:
    """The page's first click while the background still asks a silent Hub."""
    server.api = "silent"
    ahead = hub.in_background(lambda: find("tiny", bundle, SECONDS))
    while not server.asked:
        time.sleep(0.01)
    start = time.monotonic()
    found = find("tiny", bundle, SECONDS)
    assert time.monotonic() - start < 0.4
    assert found.source == "bundle" and "under way" in found.failures[1]
    assert ahead.result().raw == raw


def test_a_download_that_cannot_begin_blocks_no_other(
    server: Hub, bundle: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(job: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(hub, "in_background", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            hub.download(hub.Pin(REPO, "0" * 40), FILE, len(raw), Path.read_bytes)
    assert find("tiny", bundle, SECONDS).source == "hub"


def test_who_waited_for_anothers_download_does_not_pause_the_repository(
    server: Hub, bundle: Path, raw: bytes
) -> None:
    """It had no time of its own, so it knows nothing of the Hub."""
    server.api, pinned = "silent", hub.pinned(read_manifest(bundle), {})
    assert pinned is not None
    with hub._one_at_a_time:
        waiting = hub.in_background(
            lambda: hub.download(pinned, FILE, len(raw), Path.read_bytes, 0.6)
        )
        time.sleep(0.45)
    with pytest.raises(hub.HubError, match="another download took too long"):
        waiting.result()
    assert REPO not in hub._paused


def test_a_late_download_serves_the_next_time(server: Hub, bundle: Path, raw: bytes) -> None:
    server.cdn = "silent"
    assert find("tiny", bundle, 0.3).source == "bundle"
    server.cdn = "ok"  # the client asks again by itself, behind
    await_that(lambda: find("tiny", bundle, 0.3).source == "cache")


# which repository, whose token


def test_the_environment_names_another_repository(
    server: Hub, tiny_bundle: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = server.commit("other/copy", {FILE: raw})
    server.commit("other/copy", {FILE: bytes(len(raw))})
    monkeypatch.setenv("MLDEMO_HUB_REPO", f"other/copy@{commit}")
    assert find("tiny", tiny_bundle).source == "hub"
    monkeypatch.setenv("MLDEMO_HUB_REPO", "other/copy")  # main: other bytes by now
    found = find("tiny", tiny_bundle)
    assert found.source == "bundle" and "sha256" in found.failures[1]


@pytest.mark.parametrize("where", ["entry", "manifest"])
def test_a_file_that_is_on_no_hub_is_asked_of_none(
    server: Hub, bundle: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Written after the manifest was pinned, or trained on the page: whatever is configured."""
    server.commit("other/copy", {FILE: raw})
    with manifest_update(bundle) as manifest:
        for pinned in (manifest, manifest["files"]["tiny"]):
            pinned.pop("repo", None)
        (manifest["files"]["tiny"] if where == "entry" else manifest)["repo"] = None
    monkeypatch.setenv("MLDEMO_HUB_REPO", "other/copy")
    found = find("tiny", bundle)
    assert (found.source, found.failures) == ("bundle", ())


@pytest.mark.parametrize("name", ["fields", "a/b/c", "../x", "a b/c", "a/b@../x", "@", "/"])
def test_a_bad_name_of_a_repository(tiny_bundle: Path, monkeypatch, name: str) -> None:
    monkeypatch.setenv("MLDEMO_HUB_REPO", name)
    with pytest.raises(ValueError, match="MLDEMO_HUB_REPO"):
        find("tiny", tiny_bundle)


@pytest.mark.parametrize("revision", ["main", "abc", "", None, 7])
def test_the_manifest_pins_a_full_commit(bundle: Path, revision: object) -> None:
    pin(bundle, revision)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pin somebody/fields to a full commit"):
        find("tiny", bundle)


def test_a_new_file_is_not_looked_for_under_the_old_pin(server: Hub, bundle: Path) -> None:
    write_file(bundle, "tiny", "fields", {}, {}, {})
    assert find("tiny", bundle).source == "bundle" and server.asked == []


def test_the_token_is_shown_only_when_asked(
    server: Hub, hub_only: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only to the Hub, not to the CDN."""
    server.private = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(CheckpointError, match=r"HTTP 401.*"):
        find("tiny", hub_only)
    assert all(token is None for _, _, token in server.asked)
    hub._paused.clear()
    monkeypatch.setenv("MLDEMO_HUB_TOKEN", "1")
    assert find("tiny", hub_only).raw == raw
    tokens = {(method == "CDN", token) for method, _, token in server.asked}
    assert tokens == {(False, None), (False, "Bearer hf_secret"), (True, None)}
    monkeypatch.delenv("HF_TOKEN")
    shutil.rmtree(constants.HF_HUB_CACHE)
    with pytest.raises(CheckpointError, match=r"hub: .*[Tt]oken"):
        find("tiny", hub_only)
