"""The command line with a damaged manifest, checkpoint or record: exit code 2 and one sentence."""

import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli import run
from test_faults import as_device, as_fifo, is_one_sentence

from mldemo.store.manifest import manifest_update

__all__ = ["run"]


def entry(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: change(manifest["files"]["tiny"])


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "null entry": (lambda m: m["files"].update(tiny=None), "'tiny' must be an object, got None"),
    "text entry": (lambda m: m["files"].update(tiny="x"), "'tiny' must be an object, got 'x'"),
    "null files": (lambda m: m.update(files=None), "files of it must be an object, got None"),
    "no files": (lambda m: m.pop("files"), "it has no files"),
    "no size": (entry(lambda e: e.pop("size")), "'tiny' has no size"),
    "text size": (entry(lambda e: e.update(size="1")), "size of the file 'tiny' must be"),
    "huge size": (entry(lambda e: e.update(size=2**60)), "size of the file 'tiny' must be"),
    "null hash": (entry(lambda e: e.update(sha256=None)), "sha256 of the file 'tiny' must be"),
    "no kind": (entry(lambda e: e.pop("kind")), "'tiny' has no kind"),
    "a path": (entry(lambda e: e.update(file="/etc/passwd")), "must be a plain file name"),
    "dots": (entry(lambda e: e.update(file="..")), "must be a plain file name"),
    "null prior": (entry(lambda e: e.update(priors=[None])), "priors of the file 'tiny' must be"),
    "no priors": (entry(lambda e: e.pop("priors")), "'tiny' has no priors"),
    "a level": (entry(lambda e: e.update(levels=[16])), "levels of the file 'tiny' must be"),
    "no such default": (lambda m: m.update(default="x"), "it has no file 'x'"),
    "no default": (lambda m: m.pop("default"), "it has no default"),
    "list default": (lambda m: m.update(default=[]), "default of it must be the name of a file"),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_damaged_manifest(run, copied_bundle: Path, tmp_path: Path, kind: str) -> None:
    path = copied_bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change, words = MANIFESTS[kind]
    change(manifest)
    path.write_text(json.dumps(manifest))
    for command in (("sample", "--out", tmp_path / "a.png"), ("verify",)):
        answer = run(*command, "--checkpoints", copied_bundle)
        assert is_one_sentence(answer, path, "is damaged", words)


@pytest.mark.parametrize("kind", ["nested", "fifo", "device", "huge"])
def test_a_manifest_that_is_none(run, copied_bundle: Path, tmp_path: Path, kind: str) -> None:
    path = copied_bundle / "manifest.json"
    words = "not a regular file"
    if kind == "nested":
        path.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
        words = "nested too deeply"
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)
        words = "more than"
    else:
        (as_fifo if kind == "fifo" else as_device)(path)
    answer = run("sample", "--checkpoints", copied_bundle, "--out", tmp_path / "a.png")
    assert is_one_sentence(answer, path, words)


@pytest.mark.parametrize("replace", [as_fifo, as_device])
def test_a_checkpoint_that_is_no_file(
    run, copied_bundle: Path, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    replace(copied_bundle / "tiny.safetensors")
    answer = run("sample", "--checkpoints", copied_bundle, "--out", tmp_path / "a.png")
    assert is_one_sentence(answer, copied_bundle / "tiny.safetensors", "not a regular file")


def network(**options: Any) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["network"].update(options)


RECORDS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "null network": (lambda r: r.update(network=None), "network of its record must be"),
    "no network": (lambda r: r.pop("network"), "its record has no network"),
    "unknown network": (network(kind="magic"), "got 'magic'"),
    "null width": (network(width=None), "network of its record must be"),
    "text width": (network(width="8"), "tiny does not fit its own record"),
    "NaN width": (network(width=float("nan")), "NaN is not JSON"),
    "huge width": (network(width=10**6), "numbers from 1 to 4096"),
    "large width": (network(width=4096), "tiny does not fit its own record"),
    "no width": (network(width=0), "numbers from 1 to 4096"),
    "unknown option": (network(surprise=1), "surprise"),
    "null prior": (lambda r: r.update(priors=[None]), "priors of its record must be"),
    "unknown prior": (lambda r: r["priors"][0].update(name="pink"), "got 'pink'"),
    "null exponent": (lambda r: r["priors"][0].update(exponent=None), "does not fit"),
    "null schedule": (lambda r: r.update(schedule=None), "schedule of its record must be"),
    "text schedule": (lambda r: r.update(schedule={"beta_min": "x"}), "does not fit"),
    "null levels": (lambda r: r.update(levels=None), "levels of its record must be"),
}


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of a checkpoint; the manifest vouches for the new file."""
    path = folder / "tiny.safetensors"
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    record = json.loads(header["__metadata__"]["mldemo"])
    change(record)
    save_file(load_file(path), path, {"mldemo": json.dumps(record)})
    raw = path.read_bytes()
    with manifest_update(folder) as manifest:
        facts = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        manifest["files"]["tiny"].update(facts)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_bad_record(run, copied_bundle: Path, tmp_path: Path, kind: str) -> None:
    """Memory stays where it was: the record is compared with the tensors before it is built."""
    change, words = RECORDS[kind]
    rewrite(copied_bundle, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words_in = ("sample", "--checkpoints", copied_bundle, "--checkpoint", "tiny", "--steps", 1)
    answer = run(*words_in, "--count", 1, "--out", tmp_path / "a.png")
    assert is_one_sentence(answer, "tiny", words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


def test_statistics_of_another_shape(run, copied_bundle: Path, tmp_path: Path) -> None:
    path = copied_bundle / "tiny.safetensors"
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    save_file(load_file(path) | {"data.power": torch.ones(3)}, path, header["__metadata__"])
    rewrite(copied_bundle, lambda record: None)
    answer = run("sample", "--checkpoints", copied_bundle, "--out", tmp_path / "a.png")
    assert is_one_sentence(answer, "tiny", "data.power must hold")
