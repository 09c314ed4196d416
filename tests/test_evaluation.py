"""Evaluation: floors, like with like, records that are kept, the table, the manifest."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mldemo import metrics
from mldemo.cli import main
from mldemo.data.sets import IdxFolder
from mldemo.metrics import zoo
from mldemo.metrics.classifier import Fit
from mldemo.metrics.evaluation import Reference, common_level
from mldemo.metrics.settings import Settings
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.space.spectral import multiplicity, resample, to_modes
from mldemo.store.checkpoints import BUNDLE, read_manifest

QUICK = {"steps": 2, "count": 60}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, which was trained on "strokes", and a classifier of the strokes."""
    folder = tmp_path_factory.mktemp("evaluated") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    fit = Fit(IdxFolder(idx_folder), epochs=6, width=4)
    list(fit)
    fit.save(folder)
    return folder


@pytest.fixture(scope="module")
def reference(bundle: Path, idx_folder: Path) -> Reference:
    return Reference.of(str(idx_folder), bundle)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`python -m mldemo evaluate …` in this process: (exit code, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mldemo", "evaluate", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return call


def test_all_training_images_are_their_own_floor(reference: Reference, idx_folder: Path) -> None:
    """Every metric equals its floor, the ratio is 1, and memorising is seen: distance 0."""
    found = reference.evaluate(IdxFolder(idx_folder).fields("train"))
    assert found["fid_ratio"] == pytest.approx(1, rel=1e-3)
    assert found["metrics"] == pytest.approx(found["floor"], rel=1e-3)
    assert found["nearest"]["ratio"] == pytest.approx(0, abs=1e-3)
    assert len(found["floor_fids"]) == 1


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_test_images_are_at_no_distance_from_themselves(
    reference: Reference, idx_folder: Path, resolution: int
) -> None:
    """On every level: data are restricted like samples. The floor is the mean of four sets."""
    test = IdxFolder(idx_folder).fields("test", resolution)
    found = reference.evaluate(test)
    assert found["metrics"]["fid"] == pytest.approx(0, abs=1e-4)
    assert found["metrics"]["sliced_wasserstein"] == pytest.approx(0, abs=1e-4)
    assert found["metrics"]["precision"] == found["metrics"]["recall"] == 1
    assert found["nearest"]["ratio"] == pytest.approx(1, rel=1e-3)
    assert all(abs(row["decibel"] or 0) < 0.01 for row in found["spectrum"])
    assert len(found["floor_fids"]) == 4
    assert found["floor"]["fid"] == pytest.approx(sum(found["floor_fids"]) / 4)
    assert found["floor"]["fid"] > 0.01


def test_the_floor_by_hand(reference: Reference, idx_folder: Path) -> None:
    """At 16: both restricted to H_16, then brought to 32; first of the four sets."""
    data = IdxFolder(idx_folder)
    train, test = (resample(data.fields(part, 16), 32) for part in ("train", "test"))
    features = reference.classifier.features_of
    expected = metrics.frechet_distance(features(train[:60]), features(test))
    found = reference.evaluate(IdxFolder(idx_folder).fields("test", 16))
    assert found["floor_fids"][0] == pytest.approx(expected, rel=1e-3)
    wide = metrics.frechet_distance(
        features(IdxFolder(idx_folder).fields("train", 32)[:60]),
        features(IdxFolder(idx_folder).fields("test", 32)),
    )
    assert abs(wide / expected - 1) > 1e-2, "the restriction makes no difference here"


def test_common_level_is_restriction_then_prolongation() -> None:
    x = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    there = to_modes(common_level(x, 16))
    whole = resample(x, 32)
    banded = torch.where(
        (multiplicity(32) > 0) & (to_modes(resample(resample(whole, 16), 32)).abs()[0, 0] > 1e-7),
        to_modes(whole),
        torch.zeros((), dtype=torch.complex64),
    )
    torch.testing.assert_close(there, banded, atol=1e-6, rtol=0)
    torch.testing.assert_close(common_level(x, 32), whole)


def test_fields_are_not_scaled_one_by_one(reference: Reference, idx_folder: Path) -> None:
    """Twice the contrast is another data set for every metric that has a scale."""
    found = reference.evaluate(2 * IdxFolder(idx_folder).fields("test", 32))
    for name in ("fid", "energy_distance", "sliced_wasserstein", "paper_sw"):
        assert found["metrics"][name] > 3 * found["floor"][name], name
    assert [row["decibel"] for row in found["spectrum"][:3]] == pytest.approx([6.02] * 3, abs=0.1)


def test_dropped_kinds_cost_recall_and_not_precision(
    reference: Reference, idx_folder: Path
) -> None:
    """Ten test images six times each: all in the data's support, which they do not cover."""
    few = IdxFolder(idx_folder).fields("test", 32)[:10].repeat(6, 1, 1, 1)
    found = reference.evaluate(few)
    assert found["metrics"]["precision"] == 1
    assert found["metrics"]["recall"] < 0.5 < found["floor"]["recall"]


def test_too_many_samples_have_no_floor(reference: Reference) -> None:
    with pytest.raises(ValueError, match="at most the 275 training images of the floor, got 301"):
        reference.evaluate(torch.randn(301, 1, 16, 16))


def test_another_data_sets_classifier_is_said_to_be_one(idx_folder: Path) -> None:
    assert Reference.of(str(idx_folder)).described["features"] == "fixed map of other data"


def test_a_record_is_the_pipelines_samples_measured(bundle: Path, reference: Reference) -> None:
    """60 samples are more than one chunk; progress counts up to them."""
    *counts, record = zoo.evaluate("tiny", Settings(16, **QUICK), reference, folder=bundle)
    assert counts == [50, 60]
    request = Request(resolution=16, seed=0, checkpoint="tiny", **QUICK)
    fields = prepare(request, folder=bundle).result().x0
    assert record["metrics"] == pytest.approx(reference.evaluate(fields)["metrics"], rel=1e-3)
    entry = read_manifest(bundle)["files"]["tiny"]
    assert record["sha256"] == entry["sha256"] and record["trained_on"] == "strokes"
    assert record["features"] == "own" and record["classifier_accuracy"].keys() == {"16", "32"}
    assert record["fid_ratio"] == record["metrics"]["fid"] / record["floor"]["fid"]


WORDS = ("--checkpoint", "tiny", "--resolution", "8,16:40", "--steps", 2, "--count", 30)


def test_records_are_kept_while_they_are_current(
    run, bundle: Path, idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run samples nothing; other settings are added; another file replaces."""
    folder, out = shutil.copytree(bundle, tmp_path / "bundle"), tmp_path / "zoo.json"
    words = (*WORDS, "--data", idx_folder, "--checkpoints", folder, "--json", out)
    code, text, said = run(*words)
    assert code == 0, said
    first = [json.loads(line) for line in text.splitlines()]
    assert [(r["resolution"], r["count"]) for r in first] == [(8, 30), (16, 40)]
    assert json.loads(out.read_text())["evaluations"] == first

    def never(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    with monkeypatch.context() as patch:
        patch.setattr(zoo, "prepare", never)
        again = run(*words)
        assert [json.loads(line) for line in again[1].splitlines()] == first
    assert run(*words, "--seed", 1)[0] == 0
    assert len(json.loads(out.read_text())["evaluations"]) == 4

    path, manifest = folder / "tiny.safetensors", read_manifest(folder)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["network.project.bias"] += 1
    save_file(tensors, path, metadata)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["files"]["tiny"] |= {"size": path.stat().st_size, "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, text, _ = run(*words)
    rows = json.loads(out.read_text())["evaluations"]
    assert len(rows) == 4, "the older file's records stayed"
    assert rows[0]["sha256"] == digest != first[0]["sha256"]
    assert rows[0]["metrics"] != first[0]["metrics"]


def test_all_takes_the_checkpoints_of_the_data(
    run, bundle: Path, idx_folder: Path, tmp_path: Path
) -> None:
    """A folder of the right name is held against; of another name, it says so and goes on."""
    strokes = tmp_path / "strokes"
    shutil.copytree(idx_folder, strokes)
    words = ("--all", "--resolution", 16, "--steps", 1, "--count", 8, "--checkpoints", bundle)
    code, text, said = run(*words, "--data", idx_folder, "--data", strokes, "--table")
    assert code == 0 and f"no checkpoint here was trained on {idx_folder.name}" in said
    assert "| `tiny` | bessel | strokes |" in text


def _row(name: str, resolution: int, ratio: float, count: int = 1000) -> dict:
    row = {"checkpoint": name, "prior": "bessel", "data": "d", "resolution": resolution}
    return row | {"fid_ratio": ratio, "count": count, "levels": [[16, 10], [32, 10]]}


def test_the_table() -> None:
    rows = [_row("a", 16, 2.04), _row("a", 64, 3.96), _row("b", 32, 7.0, 300)]
    lines = zoo.table(rows).splitlines()
    assert lines[:4] == [
        "| checkpoint | prior | data | 16 | 32 | 64 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `a` | bessel | d | 2.0 |  | *4.0* |",
        "| `b` | bessel | d |  | 7.0 (300) |  |",
    ]


def test_figures_enter_the_manifest_and_nothing_else_changes(
    run, bundle: Path, idx_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    before = read_manifest(folder)
    words = (*WORDS, "--data", idx_folder, "--checkpoints", folder, "--record")
    code, text, _ = run(*words)
    assert code == 0
    rows, after = [json.loads(line) for line in text.splitlines()], read_manifest(folder)
    written = after["files"]["tiny"].pop("metrics").pop("bessel")
    assert after == before
    assert written.keys() == {"resolution 8", "resolution 16"}
    assert written["resolution 16"]["fid"] == pytest.approx(rows[1]["metrics"]["fid"], rel=1e-3)
    assert written["resolution 16"]["count"] == 40
    rows[0]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="record of tiny is of another file"):
        zoo.write_metrics(folder, rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--checkpoint", "tiny", "--all"), "one of the two"),
        ((), "one of the two"),
        (("--checkpoint", "huge"), "no checkpoint is called 'huge'"),
        (("--checkpoint", "idx0-classifier"), "not a checkpoint"),
        (
            ("--checkpoint", "tiny", "--prior", "fno", "--count", 60),
            "was trained with bessel, not with fno",
        ),
        (("--checkpoint", "tiny", "--resolution", "5"), "from 8 to 256, got 5"),
        (("--checkpoint", "tiny", "--resolution", "16x"), "must look like 32 or 16,128:300"),
        (("--checkpoint", "tiny", "--resolution", "16:7"), "from 8 to 4096 to evaluate, got 7"),
        (("--checkpoint", "tiny", "--resolution", "256", "--steps", 999), "pixel evaluations"),
        (("--checkpoint", "tiny", "--count", "1"), "not a whole number from 8 to 4096"),
        (("--checkpoint", "tiny", "--count", "301"), "at most the 275 training images"),
        (("--checkpoint", "tiny", "--classifier", "tiny"), "no classifier tiny is there"),
        (("--checkpoint", "tiny", "--json", "/nowhere/a.json"), "does not exist: '/nowhere'"),
    ],
)
def test_bad_wishes_get_one_sentence(
    run, bundle: Path, idx_folder: Path, words: tuple, sentence: str
) -> None:
    code, text, said = run(*words, "--data", idx_folder, "--checkpoints", bundle)
    assert code == 2 and not text
    assert sentence in said and said.count("\n") == 1


def test_a_file_that_holds_no_records_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    shutil.copy(BUNDLE / "manifest.json", path)
    with pytest.raises(ValueError, match=r"manifest\.json holds no evaluations"):
        zoo.Records(path)
