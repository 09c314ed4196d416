"""`publish` and `fetch`: what was sent is what comes back."""

import json
import shutil
from pathlib import Path

import pytest
import test_cli
from hub_server import Hub
from hub_tools import FILE, REPO
from test_checkpoints import rewrite

from mldemo.store import hub
from mldemo.store.checkpoints import load_checkpoint
from mldemo.store.manifest import find, manifest_update, read_manifest

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.usefixtures("client")
run = test_cli.run  # the fixture
# the client's own way to upload, with the HTTP library that it pins
SHEET = "sheets/tiny-bessel.png"  # where `bundle` draws it
uploads = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@uploads
def test_publish_then_fetch_gives_identical_bytes(
    server: Hub, tiny_bundle: Path, tmp_path: Path, raw: bytes, run, monkeypatch
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "ours"))
    (folder / "sheets").mkdir()
    (folder / SHEET).write_bytes(b"\x89PNG" + bytes(100))
    metrics = {"16": {"fid": 3.25, "name": "x"}, "32": {"fid": None}, "vendi": 7}
    with manifest_update(folder) as manifest:
        manifest["files"]["tiny"]["metrics"] = metrics
    before = (folder / "manifest.json").read_bytes()

    code, text, _ = run("publish", "--repo", REPO, "--dry-run", "--checkpoints", folder)
    assert code == 0 and server.asked == []
    assert all(name in text for name in (FILE, SHEET, "manifest.json", "README.md"))
    assert "library_name: mldemo" in text and "license: mit" in text
    assert (folder / "manifest.json").read_bytes() == before

    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    code, text, _ = run("publish", "--repo", REPO, "--checkpoints", folder)
    assert code == 0
    commit = server.repos[REPO][-1][0]
    assert json.loads(text) == {
        "repo": REPO,
        "revision": commit,
        "preload_from_hub": f"{REPO} {FILE} {commit}",
    }
    manifest = read_manifest(folder)
    assert (manifest["repo"], manifest["revision"]) == (REPO, commit)

    (folder / FILE).unlink()
    assert run("fetch", "--checkpoints", folder)[:2] == (0, "hub     tiny\n")
    assert run("fetch", "--all", "--checkpoints", folder)[:2] == (0, "cache   tiny\n")
    found = find("tiny", folder)
    assert (found.source, found.raw) == ("cache", raw)
    assert load_checkpoint("tiny", folder).source == "cache"

    tree = server.repos[REPO][-1][1]
    assert tree.keys() == {FILE, SHEET, "manifest.json", "README.md"}
    assert "revision" not in json.loads(tree["manifest.json"])
    from huggingface_hub import ModelCard

    card = ModelCard(tree["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("mit", "mldemo")
    results = {r.metric_name: r.metric_value for r in card.data.eval_results or []}
    assert results == {"16 fid": 3.25, "vendi": 7.0} and card.data.model_name == "tiny"
    assert f"![One seed on four grids]({SHEET})" in card.text and "mldemo fetch --all" in card.text

    assert run("publish", "--repo", REPO, "--checkpoints", folder)[0] == 0
    assert len(server.repos[REPO]) == 1, "nothing changed, so no commit is made"


@uploads
def test_publish_pins_nothing_if_the_hub_holds_other_bytes(
    server: Hub, tiny_bundle: Path, tmp_path: Path, raw: bytes, run, monkeypatch
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "ours"))
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    server.lie[FILE] = bytes(len(raw))
    code, _, err = run("publish", "--repo", REPO, "--checkpoints", folder)
    assert code == 2 and f"holds another {FILE}" in err
    assert "repo" not in read_manifest(folder)


@uploads
def test_publish_pins_nothing_if_the_folder_was_changed_meanwhile(
    server: Hub, tiny_bundle: Path, tmp_path: Path, run, monkeypatch
) -> None:
    """By a training, say, which writes a file that was not sent."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "ours"))
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    client = hub.client

    def meanwhile() -> None:
        client()
        with manifest_update(folder) as manifest:
            manifest["files"]["other"] = manifest["files"]["tiny"] | {"size": 1}

    monkeypatch.setattr(hub, "client", meanwhile)
    code, _, err = run("publish", "--repo", REPO, "--checkpoints", folder)
    assert code == 2 and "was changed meanwhile; nothing is pinned" in err
    assert "repo" not in read_manifest(folder)


@pytest.mark.parametrize(
    ("words", "spoil", "sentence"),
    [
        ("--repo somebody", None, "--repo must look like OWNER/NAME, got 'somebody'"),
        ("--repo a/b", "token", "oken"),
        ("--repo a/b", "damage", "sha256"),
        ("--repo a/b", "silent", "did not answer"),
        ("--repo a/b", 500, "was not published: the Hub failed (HTTP 500)"),
        ("", None, "Missing option '--repo'"),
    ],
)
def test_publish_says_why_not(
    server: Hub, tiny_bundle: Path, tmp_path: Path, run, monkeypatch, words, spoil, sentence
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "ours"))
    monkeypatch.setattr(hub, "SECONDS", 0.5)
    if spoil != "token":
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
    if spoil == "damage":
        rewrite(folder, lambda raw: bytes([raw[0] ^ 1]) + raw[1:], keep_hash=True)
    elif spoil in ("silent", 500):
        server.api = spoil
    code, out, err = run("publish", *words.split(), "--checkpoints", folder)
    assert code == 2 and out == "" and sentence in err and err.count("\n") == 1
    assert server.count("CDN") == server.count("PUT") == 0 and server.repos == {}
    assert "repo" not in read_manifest(folder)


def test_fetch_says_why_not(server: Hub, bundle: Path, tiny_bundle: Path, run) -> None:
    code, _, err = run("fetch", "--checkpoints", tiny_bundle)
    assert code == 2 and "set MLDEMO_HUB_REPO=OWNER/NAME" in err
    code, _, err = run("fetch", "nope", "--checkpoints", bundle)
    assert code == 2 and "'nope'; there are: tiny" in err
    server.api = 500
    code, text, _ = run("fetch", "--checkpoints", bundle)
    assert code == 0 and text.startswith("bundle  tiny (hub: ") and "HTTP 500" in text
    (bundle / FILE).unlink()
    code, text, _ = run("fetch", "--checkpoints", bundle)
    assert code == 1 and text.startswith("FAILED  tiny: no whole copy of tiny; cache: ")
