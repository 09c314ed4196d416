"""Evaluation: floors, like with like, records that are kept, the manifest."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import idx_bytes, strokes
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
from mldemo.store.manifest import read_manifest

QUICK = {"steps": 2, "count": 60}


@pytest.fixture(scope="module")
def strokes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More strokes: 1,200 training images, so that 100 are held out, and 60 test images."""
    folder = tmp_path_factory.mktemp("data") / "strokes"
    folder.mkdir()
    for part, count, seed in (("train", 1200, 10), ("t10k", 60, 11)):
        images, labels = strokes(count, seed)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


@pytest.fixture(scope="module")
def data(strokes_folder: Path) -> IdxFolder:
    return IdxFolder(strokes_folder)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, data: IdxFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, which was trained on "strokes", and two classifiers of the strokes."""
    folder = tmp_path_factory.mktemp("evaluated") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    for half in (1, 2):
        fit = Fit(data, epochs=3, width=4, half=half)
        list(fit)
        fit.save(folder)
    return folder


@pytest.fixture(scope="module")
def reference(bundle: Path, data: IdxFolder) -> Reference:
    return Reference(data, bundle)


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


def test_the_floor_is_of_unseen_images(reference: Reference, data: IdxFolder) -> None:
    """Mean and spread are those of the five draws, by hand. All of them are training images:
    memorising is seen, distance 0."""
    level, draws = reference.level(32), reference.draws(40)
    assert len(draws) == 5
    fids = [
        metrics.frechet_distance(level.unseen_features[0][i], level.test_features[0])
        for i in draws
    ]
    found = reference.evaluate(data.fields("validation", 32)[draws[0]])
    assert found["metrics"]["fid"] == pytest.approx(fids[0], rel=1e-3)
    assert found["floor"]["fid"] == pytest.approx(np.mean(fids), rel=1e-6)
    assert found["floor_sd"]["fid"] == pytest.approx(np.std(fids, ddof=1), rel=1e-6)
    assert 0 < found["floor_sd"]["fid"] < found["floor"]["fid"]
    assert found["fid_ratio"] == found["metrics"]["fid"] / found["floor"]["fid"]
    assert found["nearest"]["ratio"] == pytest.approx(0, abs=1e-3)


def test_draws_have_the_classes_of_the_test_part(reference: Reference, data: IdxFolder) -> None:
    """To one image, without repetition, and no two are the same."""
    labels, test = data.labels("validation"), data.labels("test")
    assert labels is not None and test is not None
    draws = reference.draws(30)
    for draw in draws:
        assert len(draw.unique()) == 30
        counts = np.bincount(labels[draw], minlength=4)
        assert (np.abs(counts - np.bincount(test, minlength=4) / 2) < 1).all()
    assert len({tuple(sorted(draw.tolist())) for draw in draws}) == 5


def test_unseen_means_unseen(reference: Reference, data: IdxFolder) -> None:
    """The floor is of the validation part; the classifiers trained on halves of the other."""
    torch.testing.assert_close(reference.unseen, data.fields("validation", 32))
    assert len(reference.training) == 1200
    for half in (1, 2):
        own = Fit(data, 1, half=half)
        torch.testing.assert_close(own.fields, data.fields("train", 32)[half - 1 :: 2])


def test_what_is_chosen_is_chosen_on_the_validation_part(bundle: Path, data: IdxFolder) -> None:
    """Half of it stands for the test data, the other half gives the floor."""
    choosing = Reference(data, bundle, "validation")
    held = data.fields("validation")
    torch.testing.assert_close(choosing.test, held[::2])
    torch.testing.assert_close(choosing.unseen, data.fields("validation", 32)[1::2])
    assert choosing.described["part"] == "validation" and choosing.described["test"] == 50
    torch.testing.assert_close(choosing.training, data.fields("train", 32))
    with pytest.raises(ValueError, match="compared with test or validation, got 'train'"):
        Reference(data, bundle, "train")


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_test_images_are_at_no_distance_from_themselves(
    reference: Reference, data: IdxFolder, resolution: int
) -> None:
    """On every level and under both maps: data are restricted like samples."""
    found = reference.evaluate(data.fields("test", resolution))
    for name in ("fid", "fid_second", "sliced_wasserstein"):
        assert found["metrics"][name] == pytest.approx(0, abs=1e-4)
        assert found["floor"][name] > 0.01
    assert found["metrics"]["precision"] == found["metrics"]["recall"] == 1
    assert found["nearest"]["ratio"] == pytest.approx(1, rel=1e-3)
    assert all(abs(row["decibel"] or 0) < 0.01 for row in found["spectrum"])


def test_a_level_by_hand(reference: Reference, data: IdxFolder) -> None:
    """At 16: both restricted to H_16, then brought to 32."""
    chosen, features = reference.draws(60)[0], reference.classifiers[1].features_of
    unseen, test = (resample(data.fields(p, 16), 32) for p in ("validation", "test"))
    expected = metrics.frechet_distance(features(unseen[chosen]), features(test))
    found = reference.floor(16, 60)[0]["fid_second"]
    assert found == pytest.approx(expected, rel=1e-3)
    wide = reference.floor(32, 60)[0]["fid_second"]
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


def test_fields_are_not_scaled_one_by_one(reference: Reference, data: IdxFolder) -> None:
    """Twice the contrast is another data set for every metric that has a scale."""
    found = reference.evaluate(2 * data.fields("test", 32))
    for name in ("fid", "energy_distance", "sliced_wasserstein", "paper_sw"):
        assert found["metrics"][name] > 3 * found["floor"][name], name
    assert [row["decibel"] for row in found["spectrum"][:3]] == pytest.approx([6.02] * 3, abs=0.1)


def test_dropped_kinds_cost_recall_and_not_precision(
    reference: Reference, data: IdxFolder
) -> None:
    """Ten test images six times each: all in the data's support, which they do not cover."""
    few = data.fields("test", 32)[:10].repeat(6, 1, 1, 1)
    found = reference.evaluate(few)
    assert found["metrics"]["precision"] == 1
    assert found["metrics"]["recall"] < 0.5 < found["floor"]["recall"]


def test_too_many_samples_have_no_floor(reference: Reference) -> None:
    with pytest.raises(ValueError, match=r"at most about \d+, for the floor is drawn .* got 101"):
        reference.evaluate(torch.randn(101, 1, 16, 16))


def test_another_data_sets_classifiers_are_said_to_be_that(idx_folder: Path) -> None:
    described = Reference.of(str(idx_folder)).described
    assert described["features"] == "fixed map of other data"
    assert described["classifiers"] == ["mnist-classifier", "mnist-classifier-2"]


def test_a_record_is_the_pipelines_samples_measured(bundle: Path, reference: Reference) -> None:
    """60 samples are more than one chunk; progress counts up to them."""
    *counts, record = zoo.evaluate("tiny", Settings(16, **QUICK), reference, folder=bundle)
    assert counts == [50, 60]
    request = Settings(16, **QUICK).request(checkpoint="tiny")
    fields = prepare(request, folder=bundle).result().x0
    assert record["metrics"] == pytest.approx(reference.evaluate(fields)["metrics"], rel=1e-3)
    entry = read_manifest(bundle)["files"]["tiny"]
    assert record["sha256"] == entry["sha256"] and record["trained_on"] == "strokes"
    assert record["features"] == "own" and len(record["classifier_accuracy"]) == 2
    assert record["fid_ratio"] == record["metrics"]["fid"] / record["floor"]["fid"]


WORDS = ("--checkpoint", "tiny", "--resolution", "8,16:40", "--steps", 2, "--count", 30)


def test_records_are_kept_while_they_are_current(
    run, bundle: Path, strokes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run samples nothing; other settings are added; another file replaces."""
    folder, out = shutil.copytree(bundle, tmp_path / "bundle"), tmp_path / "zoo.json"
    words = (*WORDS, "--data", strokes_folder, "--checkpoints", folder, "--json", out)
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
    code, text, _ = run(*words, "--sampler", "heun")
    other = [json.loads(line) for line in text.splitlines()]
    assert len(json.loads(out.read_text())["evaluations"]) == 6
    for before, now in zip(first, other, strict=True):
        assert (before["sampler"], now["sampler"]) == (Request.sampler, "heun")
        assert before["metrics"] != now["metrics"]

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
    assert len(rows) == 6, "the older file's records stayed"
    assert rows[0]["sha256"] == digest != first[0]["sha256"]
    assert rows[0]["metrics"] != first[0]["metrics"]


def test_all_takes_the_checkpoints_of_the_data(
    run, bundle: Path, strokes_folder: Path, tmp_path: Path
) -> None:
    """A folder of the right name is held against; of another name, it says so and goes on."""
    other = shutil.copytree(strokes_folder, tmp_path / "other")
    words = ("--all", "--resolution", 16, "--steps", 1, "--count", 8, "--checkpoints", bundle)
    code, text, said = run(*words, "--data", other, "--data", strokes_folder, "--table")
    assert code == 0 and "no checkpoint here was trained on other" in said
    assert "60 test images of strokes" in text and "| `tiny` | bessel | 1.25 |" in text


def test_all_takes_also_the_weight_that_the_manifest_proposes(
    run, bundle: Path, strokes_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = read_manifest(folder)
    manifest["files"]["tiny"]["guidance"] = 1.5
    (folder / "manifest.json").write_text(json.dumps(manifest))
    words = ("--all", "--resolution", 16, "--steps", 1, "--count", 8, "--checkpoints", folder)
    kept = ("--json", tmp_path / "records.json")
    code, measured, _ = run(*words, *kept, "--data", strokes_folder)
    weights = [json.loads(line)["guidance"] for line in measured.splitlines()]
    assert code == 0 and weights == [1, 1.25, 1.5]
    assert run(*words, *kept)[1] == measured


def test_kept_records_are_shown_without_data(
    run, bundle: Path, strokes_folder: Path, tmp_path: Path
) -> None:
    """Those that were asked for; none of a checkpoint that is another file by now."""
    folder, out = shutil.copytree(bundle, tmp_path / "bundle"), tmp_path / "records.json"
    there = ("--checkpoints", folder, "--json", out)
    words = (*WORDS, "--guidance", 1, "--guidance", 1.5, *there)
    measured = run(*words, "--data", strokes_folder)[1]
    assert len(measured.splitlines()) == 4
    assert run(*words)[1] == measured
    assert run(*words, "--table")[1] == run(*words, "--data", strokes_folder, "--table")[1]
    few = run(*WORDS, "--guidance", 1.5, *there)[1].splitlines()
    assert few == [row for row in measured.splitlines() if json.loads(row)["guidance"] == 1.5]
    code, text, said = run(*WORDS, "--guidance", 1, "--prior", "fno", *there)
    assert code == 2 and not text and "there is no record of this; name the --data" in said
    manifest = read_manifest(folder)
    manifest["files"]["tiny"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(*words)[0] == 2


def test_figures_enter_the_manifest_and_nothing_else_changes(
    run, bundle: Path, strokes_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    before = read_manifest(folder)
    words = (*WORDS, "--data", strokes_folder, "--checkpoints", folder, "--record")
    code, text, _ = run(*words)
    assert code == 0
    rows, after = [json.loads(line) for line in text.splitlines()], read_manifest(folder)
    written = after["files"]["tiny"].pop("metrics").pop("bessel")
    assert after == before
    assert written.keys() == {f"resolution {n}, guidance 1.25, 2 steps of adams" for n in (8, 16)}
    figures, row = written["resolution 16, guidance 1.25, 2 steps of adams"], rows[1]
    assert figures["fid"] == pytest.approx(row["metrics"]["fid"], rel=1e-3)
    assert figures["fid_floor"] == pytest.approx(row["floor"]["fid"], rel=1e-3)
    assert figures["fid_second_floor_sd"] == pytest.approx(row["floor_sd"]["fid_second"], rel=1e-3)
    assert figures["nearest_ratio"] == pytest.approx(row["nearest"]["ratio"], rel=1e-3)
    assert figures["count"] == 40 and "precision" in figures
    zoo.write_metrics(folder, [rows[1] | {"features": "fixed map of other data"}])
    again = read_manifest(folder)["files"]["tiny"]["metrics"]["bessel"]
    shown = again["resolution 16, guidance 1.25, 2 steps of adams"]
    assert "fid" not in shown and "recall" not in shown
    assert shown["energy_distance_floor"] == figures["energy_distance_floor"]
    rows[0]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="record of tiny is of another file"):
        zoo.write_metrics(folder, rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--checkpoint", "tiny", "--all"), "one of the two"),
        ((), "one of the two"),
        (("--checkpoint", "huge"), "no checkpoint is called 'huge'"),
        (("--checkpoint", "strokes-classifier"), "not a checkpoint"),
        (
            ("--checkpoint", "tiny", "--prior", "fno", "--count", 60),
            "was trained with bessel, not with fno",
        ),
        (("--checkpoint", "tiny", "--resolution", "5"), "from 8 to 256, got 5"),
        (("--checkpoint", "tiny", "--resolution", "16x"), "must look like 32 or 16,128:300"),
        (("--checkpoint", "tiny", "--resolution", "16:7"), "from 8 to 4096 to evaluate, got 7"),
        (("--checkpoint", "tiny", "--resolution", "256", "--steps", 999), "pixel evaluations"),
        (("--checkpoint", "tiny", "--count", "1"), "not a whole number from 8 to 4096"),
        (("--checkpoint", "tiny", "--count", "301"), "at most about"),
        (("--checkpoint", "tiny", "--json", "/nowhere/a.json"), "does not exist: '/nowhere'"),
    ],
)
def test_bad_options_get_one_sentence(
    run, bundle: Path, strokes_folder: Path, words: tuple, sentence: str
) -> None:
    code, text, said = run(*words, "--data", strokes_folder, "--checkpoints", bundle)
    assert code == 2 and not text
    assert sentence in said and said.count("\n") == 1
