"""Checkpoint files: what was saved comes back; whatever is damaged is refused with a reason."""

import gc
import hashlib
import json
import pickle
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.store import checkpoints
from mldemo.store.checkpoints import load_checkpoint
from mldemo.store.manifest import BUNDLE, CheckpointError, read_manifest

REQUEST = {"resolution": 16, "steps": 3, "count": 2}


def rewrite(folder: Path, change: Callable[[bytes], bytes], keep_hash: bool) -> None:
    """Replace the file's bytes; with `keep_hash` False the manifest is made to agree."""
    path = folder / "tiny.safetensors"
    raw = change(path.read_bytes())
    path.write_bytes(raw)
    if not keep_hash:
        manifest = read_manifest(folder)
        entry = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        manifest["files"]["tiny"] |= entry
        (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change tensors and let the manifest agree, as a careless publisher would."""
    path = folder / "tiny.safetensors"
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, header["__metadata__"])
    rewrite(folder, lambda raw: raw, keep_hash=False)


def test_a_loaded_checkpoint_is_what_was_trained(
    copied_bundle: Path, idx_folder: Path, tiny_plan: dict
) -> None:
    """Weights to half precision, prior, schedule, statistics and levels exactly."""
    from mldemo.data.sets import IdxFolder
    from mldemo.training.loop import Training
    from mldemo.training.plan import Plan

    run = Training(Plan(**tiny_plan), IdxFolder(idx_folder).fields()[:50])
    for _ in run.run():
        pass
    loaded = load_checkpoint("tiny", copied_bundle)
    kept = loaded.network.state_dict()
    for name, tensor in run.average.module.state_dict().items():
        assert torch.equal(kept[name], tensor.half().float()), name
    assert loaded.priors == run.family.priors
    assert loaded.schedule == run.plan.schedule
    assert torch.equal(loaded.statistics.mean, run.statistics.mean)
    assert torch.equal(loaded.statistics.power, run.statistics.power)
    assert loaded.trained_levels == [8, 16]
    assert {"seed", "versions", "data", "batch", "seconds"} <= loaded.record.keys()
    network = {"kind", "width", "modes", "depth", "core_grid", "core_patch", "core_widths"}
    assert loaded.record["network"].keys() == network


def test_half_precision_changes_no_pixel_much(copied_bundle: Path) -> None:
    """The stored weights against the same weights moved by one half-precision rounding error."""
    checkpoint = load_checkpoint("tiny", copied_bundle)
    run = prepare(Request(checkpoint="tiny", **REQUEST), folder=copied_bundle)
    before = run.result().x0
    generator = torch.Generator().manual_seed(0)
    for p in checkpoint.network.parameters():
        p.mul_(1 + 2**-11 * (2 * torch.rand(p.shape, generator=generator) - 1))
    after = run.result().x0
    checkpoints._load.cache_clear()
    assert 0 < (before - after).abs().max() < 1 / 127.5


def test_a_denoiser_keeps_no_checkpoint_in_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    """One is made once; whoever asks for many checkpoints in turn keeps four, used or not."""
    seen = []
    for i in range(7):
        folder = shutil.copytree(tiny_bundle, tmp_path / str(i))
        checkpoint = load_checkpoint("tiny", folder)
        prior = checkpoint.priors[0]
        assert checkpoint.denoiser() is checkpoint.denoiser(prior, 1.0)
        assert checkpoint.denoiser(guidance=1.5) is not checkpoint.denoiser()
        seen.append(weakref.ref(checkpoint.network))
    del checkpoint
    gc.collect()
    assert sum(network() is not None for network in seen) == 4


DAMAGE = {
    "flipped byte": lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:],
    "truncated": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "a page instead": lambda raw: b"<html>sign in to the hotel network</html>",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_refused(copied_bundle: Path, kind: str) -> None:
    rewrite(copied_bundle, DAMAGE[kind], keep_hash=True)
    with pytest.raises(CheckpointError, match=r"bytes, the manifest says|sha256"):
        load_checkpoint("tiny", copied_bundle)


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_is_never_opened(copied_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the manifest vouches for it."""
    monkeypatch.chdir(copied_bundle)
    rewrite(copied_bundle, lambda raw: pickle.dumps(_Bomb()), keep_hash=False)
    with pytest.raises(CheckpointError, match="no checkpoint of mldemo"):
        load_checkpoint("tiny", copied_bundle)
    assert not (copied_bundle / "exploded").exists()


def _drop(t: dict) -> None:
    del t["network.project.bias"]


def _extra(t: dict) -> None:
    t["network.surprise"] = torch.zeros(1)


def _misshape(t: dict) -> None:
    t["network.project.bias"] = torch.zeros(2).half()


def _poison(t: dict) -> None:
    t["network.project.bias"].fill_(float("nan"))


def _overflow(t: dict) -> None:
    """Finite in double precision alone."""
    t["network.project.bias"] = t["network.project.bias"].double().fill_(1e300)


def _no_statistics(t: dict) -> None:
    del t["data.mean"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop, "Missing key"),
        (_extra, "Unexpected key"),
        (_misshape, "size mismatch"),
        (_poison, "not finite, in network.project.bias"),
        (_overflow, "not finite, in network.project.bias"),
        (_no_statistics, "data.mean"),
    ],
)
def test_wrong_contents_are_refused_though_the_hash_agrees(
    copied_bundle: Path, change: Callable, words: str
) -> None:
    edit_tensors(copied_bundle, change)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint("tiny", copied_bundle)


def test_a_manifest_cannot_point_outside_its_folder(copied_bundle: Path) -> None:
    secret = copied_bundle.parent / "tiny.safetensors"
    shutil.move(copied_bundle / "tiny.safetensors", secret)
    manifest = read_manifest(copied_bundle)
    manifest["files"]["tiny"]["file"] = "../tiny.safetensors"
    (copied_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="must be a plain file name"):
        load_checkpoint("tiny", copied_bundle)


@pytest.mark.parametrize("text", ["", "[]", '{"files": []}', "{"])
def test_a_damaged_manifest_says_so(copied_bundle: Path, text: str) -> None:
    (copied_bundle / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        load_checkpoint("tiny", copied_bundle)


def test_missing_things_are_named(copied_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'huge'; there are: tiny"):
        load_checkpoint("huge", copied_bundle)
    with pytest.raises(CheckpointError, match=r"holds no manifest\.json"):
        load_checkpoint("tiny", tmp_path / "nowhere")


def test_the_bundle_fits_its_budget() -> None:
    """40 MB in all, and every file in it but pictures is named by the manifest."""
    names = {entry["file"] for entry in read_manifest(BUNDLE)["files"].values()}
    files = {p.name: p.stat().st_size for p in BUNDLE.rglob("*") if p.is_file()}
    pictures = {name for name in files if name.endswith(".png")}
    locks = {name for name in files if name.endswith(".lock")}
    assert files.keys() - names - pictures - locks == {"manifest.json"}
    assert sum(files.values()) <= 60e6
