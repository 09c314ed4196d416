"""The classifier: what it is fed, that it learns, that its file is what was measured."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mldemo.data.sets import IdxFolder
from mldemo.metrics import classifier
from mldemo.metrics.classifier import Classifier, Fit, accuracy, find_classifier, load_classifier
from mldemo.space.spectral import bandwidth, frequencies, resample, to_modes
from mldemo.store.checkpoints import parse
from mldemo.store.manifest import BUNDLE, CheckpointError, manifest_entry, read_verified


class Fixed:
    """A generator that "draws" one shift, and a coin."""

    def __init__(self, shift: tuple[float, float], coin: float) -> None:
        self.shift, self.coin = shift, coin

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        assert low == -high
        return np.stack([np.full(shape[1:], s) for s in self.shift])

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.coin)


def smooth(count: int = 3) -> torch.Tensor:
    """Fields of H_32."""
    generator = torch.Generator().manual_seed(0)
    return resample(torch.randn(count, 1, 32, 32, generator=generator), 32)


def test_augmentation_shifts_exactly() -> None:
    """By whole grid points it is a roll; twice by half a point is once by a whole."""
    x = smooth()
    moved = classifier.augment(to_modes(x), Fixed((2 / 32, -1 / 32), 0.9))
    torch.testing.assert_close(moved, x.roll((2, -1), (-2, -1)), atol=1e-5, rtol=0)
    half = classifier.augment(to_modes(x), Fixed((0.5 / 32, 0), 0.9))
    whole = classifier.augment(to_modes(half), Fixed((0.5 / 32, 0), 0.9))
    torch.testing.assert_close(whole, x.roll(1, -2), atol=1e-5, rtol=0)


def test_augmentation_limits_about_half_of_them_to_the_band_of_16() -> None:
    x = smooth(400)
    before = to_modes(x).abs()
    after = to_modes(classifier.augment(to_modes(x), np.random.default_rng(0))).abs()
    k1, k2 = frequencies(32)
    high = torch.maximum(k1.abs(), k2) > bandwidth(16)
    torch.testing.assert_close(after[..., ~high], before[..., ~high], atol=1e-5, rtol=1e-4)
    limited = after[..., high].amax(-1).squeeze(1) < 1e-5
    assert 160 < int(limited.sum()) < 240
    kept = ~limited
    torch.testing.assert_close(
        after[kept][..., high], before[kept][..., high], atol=1e-5, rtol=1e-4
    )


def test_features_lie_before_the_last_relu() -> None:
    """Logits from features; fields of other levels are brought to 32; batches do not matter."""
    torch.manual_seed(0)
    network = Classifier(classes=4, width=4).eval()
    x = smooth(7)
    features = network.features_of(x, batch=3)
    assert features.shape == (7, classifier.FEATURES) and features.dtype == torch.float64
    assert (features < 0).any()
    logits = functional.linear(features.float().relu(), network.head.weight, network.head.bias)
    torch.testing.assert_close(logits, network(x), atol=1e-5, rtol=1e-5)
    coarse = resample(x, 16)
    again = network.features_of(resample(coarse, 32))
    torch.testing.assert_close(network.features_of(coarse), again, atol=1e-5, rtol=1e-5)


def test_convolutions_see_a_torus() -> None:
    """A shift by 8 of 32 points shifts the last feature maps by 1 of 4, with no edge."""
    torch.manual_seed(0)
    maps = Classifier(width=4).eval().body[:-2]
    x = smooth(2)
    there = maps(x.roll((8, -8), (-2, -1)))
    torch.testing.assert_close(there, maps(x).roll((1, -1), (-2, -1)), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def fitted(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, Path]:
    """A classifier of the drawn strokes, trained for seconds, and the folder it was saved in."""
    folder = tmp_path_factory.mktemp("classifier")
    fit = Fit(IdxFolder(idx_folder), epochs=6, width=4)
    losses = [epoch.loss for epoch in fit]
    assert losses[-1] < losses[0] / 3
    fit.save(folder)
    return fit, folder


def test_it_learns_and_the_file_holds_what_was_measured(fitted: tuple[Fit, Path]) -> None:
    """Four kinds of strokes that it never saw; chance is 25 %. Accuracy by a plain count."""
    fit, folder = fitted
    name = classifier.classifier_name(fit.data.name)
    network, record = load_classifier(name, folder)
    fields, labels = classifier.load_labelled(fit.data, "test")
    for limit in (32, 16):
        guess = network(resample(resample(fields, limit), 32)).argmax(1)
        share = sum(int(a) == int(b) for a, b in zip(guess, labels, strict=True)) / len(labels)
        assert share == record["accuracy"][str(limit)] >= 0.85
        assert accuracy(network, resample(fields, limit), labels) == share
    assert record["classes"] == 4 and record["tested_on"] == 60
    entry = manifest_entry(name, folder)
    assert entry["kind"] == "classifier" and entry["accuracy"] == record["accuracy"]


def test_equal_seeds_give_equal_weights(idx_folder: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        fit = Fit(IdxFolder(idx_folder), epochs=1, width=1, seed=seed)
        list(fit)
        weights.append(fit.network.head.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_two_halves_share_nothing(idx_folder: Path) -> None:
    """Neither images nor first weights; together they are the training part."""
    data = IdxFolder(idx_folder)
    one, two = (Fit(data, half=half) for half in (1, 2))
    together = torch.empty(880, 1, 32, 32)
    together[::2], together[1::2] = one.fields, two.fields
    torch.testing.assert_close(together, data.fields("train", 32))
    assert not torch.equal(one.network.head.weight, two.network.head.weight)
    assert (one.record["seed"], two.record["seed"]) == (0, 1)
    assert one.record["trained_on"] == 440
    with pytest.raises(ValueError, match="half must be 1 or 2, got 0"):
        Fit(data, half=0)


def test_bad_options_and_labels_are_refused(idx_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs must be from 1 to 1000, got 0"):
        Fit(IdxFolder(idx_folder), epochs=0)
    with pytest.raises(ValueError, match="width must be from 1 to 64, got 65"):
        Fit(IdxFolder(idx_folder), width=65)
    folder = Path(shutil.copytree(idx_folder, tmp_path / "idx"))
    shutil.copy(folder / "t10k-labels-idx1-ubyte", folder / "train-labels-idx1-ubyte")
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"holds 960 train images, but labels \(60,\)"):
        Fit(IdxFolder(folder))
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="has no labels of its train part"):
        Fit(IdxFolder(folder))


def test_only_classifiers_are_loaded_as_such(fitted: tuple[Fit, Path], tmp_path: Path) -> None:
    """Other files are refused, and so is one whose record does not fit its tensors."""
    with pytest.raises(CheckpointError, match="it is of kind 'fields', not a classifier"):
        load_classifier("digits-generated", BUNDLE)
    fit, folder = fitted
    name = classifier.classifier_name(fit.data.name)
    tensors, record = parse(read_verified(name, folder)[0], name)
    for change in ({"classes": 5}, {"width": None}):
        metadata = {"mldemo": json.dumps(record | change)}
        classifier.write_file(tmp_path, "wrong", "classifier", tensors, metadata, {})
        with pytest.raises(CheckpointError, match="wrong does not fit its own record"):
            load_classifier("wrong", tmp_path)


def test_the_classifiers_of_the_data_come_first(fitted: tuple[Fit, Path]) -> None:
    """Then MNIST's from the bundle, as a fixed map, each for its half."""
    fit, folder = fitted
    own = classifier.classifier_name(fit.data.name)
    assert find_classifier(fit.data.name, folder) == (folder, own)
    assert find_classifier(fit.data.name, folder, 2) == (BUNDLE, "mnist-classifier-2")
    assert find_classifier("pebbles", folder) == (BUNDLE, "mnist-classifier")
    assert classifier.classifier_name("pebbles", 2) == "pebbles-classifier-2"
    with pytest.raises(ValueError, match="half must be 1 or 2, got 3"):
        find_classifier("mnist", folder, 3)


@pytest.mark.parametrize("name", ["mnist-classifier", "mnist-classifier-2"])
def test_the_shipped_classifiers(name: str) -> None:
    """Small, 98 % by their records on both kinds of input; and they are sure of most generated
    digits of the bundle, and call them the same when they are band-limited to H_16."""
    network, record = load_classifier(name)
    assert min(record["accuracy"].values()) >= 0.98 and record["tested_on"] == 5000
    assert record["trained_on"] == 27_500 and record["half"] == (2 if name.endswith("2") else 1)
    assert manifest_entry(name)["size"] <= 1e6
    digits = parse(read_verified("digits-generated")[0], "digits")[0]["fields"]
    chance = network(digits).softmax(1)
    assert set(chance.argmax(1).tolist()) == set(range(10))
    assert (chance.amax(1) > 0.9).double().mean() > 0.5
    limited = network(resample(resample(digits, 16), 32)).argmax(1)
    assert (limited == chance.argmax(1)).double().mean() > 0.85
