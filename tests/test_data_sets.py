"""The data sets: names, parts, what is found where, and that one class is enough to add one."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.cli import main
from mldemo.data import sets
from mldemo.data.materials import Material
from mldemo.data.sets import DataSet, FashionMnist, IdxFolder, Mnist, open_data, split
from mldemo.metrics.classifier import Fit
from mldemo.space.priors import Bessel
from mldemo.store.manifest import manifest_entry
from mldemo.store.publish import model_card


def test_the_split() -> None:
    """Of 60,000 a fixed 5,000; the parts are disjoint, sorted and all there is."""
    train, validation = split(60_000)
    assert len(train) == 55_000 and len(validation) == 5_000
    assert validation[:5].tolist() == [3, 9, 20, 32, 49]
    order = np.random.Generator(np.random.Philox(key=[2303, 4772])).permutation(60_000)
    np.testing.assert_array_equal(validation, np.sort(order[:5000]))
    for count in (60_000, 960, 11, 0):
        train, validation = split(count)
        assert len(validation) == count // 12
        np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), range(count))
        assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()


def test_parts_of_a_folder(idx_folder: Path) -> None:
    """880 and 80 of the 960 images of train-*, 60 of t10k-*; labels go with their images."""
    data, plain = IdxFolder(idx_folder), Whole(idx_folder)
    assert [data.count(part) for part in sets.PARTS] == [880, 80, 60]
    everything, labels = plain.fields(resolution=16), plain.labels("train")
    assert labels is not None
    for part, chosen in zip(("train", "validation"), split(960), strict=True):
        assert torch.equal(data.fields(part, 16), everything[chosen])
        own = data.labels(part)
        assert own is not None and torch.equal(own, labels[chosen])
    assert torch.equal(data.fields("train", 16, first=3), data.fields("train", 16)[:3])
    with pytest.raises(ValueError, match="one of train, validation, test, got 't10k'"):
        data.fields("t10k")


class Whole(IdxFolder):
    """Without a split."""

    def _chosen(self, part: str, array: np.ndarray) -> np.ndarray:
        return array


def test_folders_are_known_by_what_they_are_called(
    idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the data sets and torchvision call them; by name from here or the shared place."""
    kinds = {"mnist": Mnist, "MNIST/raw": Mnist, "FashionMNIST": FashionMnist, "own": IdxFolder}
    for name, kind in kinds.items():
        shutil.copytree(idx_folder, tmp_path / name)
        data = open_data(tmp_path / name)
        assert type(data) is kind and data.count("test") == 60
        assert data.name == (kind.name if kind is not IdxFolder else "own")
    assert Mnist.described() == "MNIST (Y. LeCun, C. Cortes, C. Burges), CC BY-SA 3.0"
    assert FashionMnist.described() == "Fashion-MNIST (Zalando SE), MIT"
    monkeypatch.setattr(sets, "SHARED", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    (found,) = [open_data("mnist")]
    assert isinstance(found, Mnist) and found.folder == Path("mnist")
    monkeypatch.chdir(tmp_path / "own")
    with pytest.raises(ValueError, match=r"MNIST is not in mnist nor in .*none/mnist: name its"):
        open_data("mnist")
    monkeypatch.setattr(sets, "SHARED", tmp_path)
    assert open_data("mnist").count("test") == 60


def test_the_material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts share no sample; a folder of that name is reached by its path."""
    data = open_data("material")
    parts = [set(samples) for samples in sets.TwoPhaseMaterial.samples.values()]
    assert [data.count(part) for part in sets.PARTS] == [7000, 5000, 5000]
    assert len(set.union(*parts)) == 17_000
    start = sets.TwoPhaseMaterial.samples["validation"].start
    assert torch.equal(data.fields(first=3), Material().fields([0, 1, 2]))
    assert torch.equal(data.fields("validation", 16, 1), Material().fields([start], 16))
    assert data.labels("test") is None
    monkeypatch.chdir(tmp_path)
    for missing in (Path("material"), "./material", tmp_path / "none"):
        with pytest.raises(ValueError, match=r"data folder '.*' does not exist"):
            open_data(missing)
    (tmp_path / "material").mkdir()
    with pytest.raises(ValueError, match="material holds no train-images-idx3-ubyte"):
        open_data("./material").fields()


@pytest.mark.parametrize("name", ["mnist", "Two Words", "../x", ""])
def test_a_name_is_plain_and_used_once(name: str) -> None:
    with pytest.raises(ValueError, match="needs a plain name of its own"):
        type("Other", (DataSet,), {"name": name})


def test_one_class_is_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train`, `classifier`, `evaluate` and the model card know it by its name."""
    monkeypatch.setattr(DataSet, "known", dict(DataSet.known))

    class Clouds(DataSet):
        """Smooth random functions of two kinds, light and dark."""

        name, title, credit, licence = "clouds", "Clouds", "drawn in a test", "CC0"
        finest = 32

        def count(self, part: str) -> int:
            return {"train": 120, "validation": 60, "test": 60}[part]

        def fields(
            self, part: str = "train", resolution: int | None = None, first: int | None = None
        ) -> torch.Tensor:
            start = 1000 * sets.PARTS.index(part)
            indices = range(start, start + self.count(part))[:first]
            light = self.labels(part)[: len(indices), None, None, None]
            return 0.1 * Bessel().draw(5, indices, resolution or 32) + light - 0.5

        def labels(self, part: str) -> torch.Tensor:
            return torch.arange(self.count(part)) // 2 % 2

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["mldemo", *map(str, words)])
        main()
        return capsys.readouterr().out

    there = ("--checkpoints", tmp_path)
    run("train", "--data", "clouds", "--levels", "8:2,16:2", "--batch", 4, "--out", tmp_path)
    assert manifest_entry("clouds-bessel-16", tmp_path)["data"] == "clouds"
    for half in (1, 2):
        words = ("--half", half, "--epochs", 60, "--width", 4)
        fit = json.loads(run("classifier", "--data", "clouds", *words, *there))
        assert fit["accuracy"]["32"] == 1
    words = ("--resolution", 16, "--steps", 1, "--count", 20)
    row, *_ = map(
        json.loads, run("evaluate", "--all", "--data", "clouds", *words, *there).splitlines()
    )
    assert row["checkpoint"] == "clouds-bessel-16" and row["features"] == "own"
    entry = manifest_entry("clouds-bessel-16", tmp_path)
    card = model_card({"default": "x", "files": {"x": entry}}, "a/b")
    assert "- Clouds (drawn in a test), CC0" in card
    assert isinstance(open_data("clouds"), Clouds) and Fit(Clouds(), 1).classes == 2
