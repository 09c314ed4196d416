"""Samples held against test data, and against the floor: training data in their place.

Everything but the spectrum is compared on level 32, restricted to H_min(N, 32) first: samples of
level N, test data and training data go through the same two maps, so like is compared with like.
The floor of a metric is its value for as many training images as there are samples, averaged over
disjoint sets of them.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.data.sets import open_data
from mldemo.metrics.classifier import LEVEL, find_classifier, load_classifier
from mldemo.metrics.distances import (
    moment_distance,
    nearest_distances,
    riesz_mmd,
    sliced_wasserstein,
    spectrum_error,
)
from mldemo.metrics.features import coverage, frechet_distance, vendi_score, whitening
from mldemo.pipeline import pixels
from mldemo.space.spectral import resample
from mldemo.store.checkpoints import BUNDLE, manifest_entry

TESTED = 1000  # of the test part
FLOOR_IMAGES, FLOOR_SETS = 7000, 7  # at most so many training images, in so many sets


def common_level(fields: Tensor, limit: int) -> Tensor:
    """Fields restricted to H_limit (if finer) and brought to level 32."""
    return torch.cat([resample(resample(part, limit), LEVEL) for part in fields.split(1000)])


@dataclass(frozen=True)
class Level:
    """Data as samples of one level meet them: on level 32, band-limited to H_limit.

    `whiten` is the matrix (d, d) that gives the features of the training images behind the floor
    unit covariance; `held_out` are the distances of test data to the nearest training data.
    """

    limit: int
    test: Tensor
    train: Tensor
    test_features: Tensor
    floor_features: Tensor
    whiten: Tensor
    held_out: Tensor


class Reference:
    """A data set to hold samples against, seen through a classifier's features.

    `train` holds fields on level 32, `test` on level 64 (the first 1,000 are used). The
    classifier is, unless named, that of the data set; where there is none, another one serves as
    a fixed feature map, and `described` says whose it is. `folder` is searched before the bundle.
    """

    def __init__(
        self,
        name: str,
        train: Tensor,
        test: Tensor,
        folder: Path = BUNDLE,
        classifier: str | None = None,
    ) -> None:
        self.name, self.train, self.test = name, train, test[:TESTED]
        folder, classifier = find_classifier(name, folder, classifier)
        self.classifier, record = load_classifier(classifier, folder)
        digest = hashlib.sha256(pixels(self.test).numpy().tobytes()).hexdigest()
        self.described = {
            "data": name,
            "data_sha256": digest,
            "train": len(self.train),
            "test": len(self.test),
            "classifier": classifier,
            "classifier_sha256": manifest_entry(classifier, folder)["sha256"],
            "classifier_data": record["data"],
            "classifier_accuracy": record["accuracy"],
            "features": "own" if record["data"] == name else "fixed map of other data",
        }
        self.level = lru_cache(maxsize=2)(self._level)
        self.floor = lru_cache(maxsize=8)(self._floor)

    @classmethod
    def of(cls, source: str, folder: Path = BUNDLE, classifier: str | None = None) -> "Reference":
        """What `--data` means, by name or folder."""
        data = open_data(source)
        train, test = data.fields("train", LEVEL), data.fields("test", first=TESTED)
        return cls(data.name, train, test, folder, classifier)

    def _level(self, limit: int) -> Level:
        test, train = common_level(self.test, limit), common_level(self.train, limit)
        seen = self.classifier.features_of(test)
        floor = self.classifier.features_of(train[:FLOOR_IMAGES])
        held_out = nearest_distances(test, train)
        return Level(limit, test, train, seen, floor, whitening(floor), held_out)

    def compare(self, fields: Tensor, features: Tensor, level: Level) -> dict[str, float]:
        """Every metric that has a floor, of fields on the common level and their features."""
        ours, theirs = features, level.test_features
        return {
            "fid": frechet_distance(ours, theirs),
            "fid_whitened": frechet_distance(ours @ level.whiten, theirs @ level.whiten),
            "precision": coverage(ours, theirs),
            "recall": coverage(theirs, ours),
            "energy_distance": riesz_mmd(fields, level.test),
            "sliced_wasserstein": sliced_wasserstein(fields, level.test),
            "paper_sw": moment_distance(fields, level.test),
            "vendi_features": vendi_score(ours),
            "vendi_fields": vendi_score(fields),
        }

    def check_count(self, count: int) -> None:
        """Raise `ValueError` if there are fewer training images, so that there is no floor."""
        have = len(self.train[:FLOOR_IMAGES])
        if count > have:
            raise ValueError(
                f"count must be at most the {have} training images of the floor, got {count}"
            )

    def _floor(self, limit: int, count: int) -> tuple[dict[str, float], list[float]]:
        """The mean of each metric over disjoint sets of training images, and the FID of each."""
        self.check_count(count)
        level = self.level(limit)
        sets = min(len(level.floor_features) // count, FLOOR_SETS)
        parts = zip(level.train.split(count), level.floor_features.split(count), strict=False)
        rows = [self.compare(*part, level) for part in islice(parts, sets)]
        mean = {name: sum(row[name] for row in rows) / sets for name in rows[0]}
        return mean, [row["fid"] for row in rows]

    def evaluate(self, fields: Tensor) -> dict[str, Any]:
        """All metrics of fields (B, 1, N, N), with their floors and the FID in units of its.

        `nearest` holds median distances to the nearest training image, of the samples and of the
        held-out test images: a ratio far below 1 means that training images are reproduced.
        """
        resolution = fields.shape[-1]
        level = self.level(min(resolution, LEVEL))
        floor, fids = self.floor(level.limit, len(fields))
        common = common_level(fields, level.limit)
        metrics = self.compare(common, self.classifier.features_of(common), level)
        generated = float(nearest_distances(common, level.train).median())
        held_out = float(level.held_out.median())
        nearest = {"generated": generated, "held_out": held_out, "ratio": generated / held_out}
        return {
            "fid_ratio": metrics["fid"] / floor["fid"],
            "metrics": metrics,
            "floor": floor,
            "floor_fids": fids,
            "nearest": nearest,
            "spectrum": spectrum_error(fields, resample(self.test, resolution)),
        }
