"""Metrics of samples against test data, with a floor: the metrics of unseen real images.

Everything but the spectrum is compared on level 32, restricted to H_min(N, 32) first: samples of
level N, test data and unseen data go through the same two maps, so like is compared with like.

The floor of a metric is its mean over several draws from the validation part, each with as many
images as there are samples and with the class proportions of the test part. No classifier was
trained on the validation part, and it has the distribution of the training part. A perfect model
of the training data that is told no class gets more, as its classes fall at random (study
`floors`). (With halves of the test part, samples and floor would have different references.) FID
is biased by about 1/n + 1/m: n and m are the same for samples and floor. The draws overlap, so
their spread is smaller than that of new images.
Two classifiers, with different seeds and trained on different halves of the training part, give
two feature maps; an improvement that only one of them shows may be tuned to that map.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.data.pictures import pixels
from mldemo.data.sets import DataSet, open_data
from mldemo.metrics.classifier import LEVEL, find_classifier, load_classifier
from mldemo.metrics.distances import (
    mean_distance,
    moment_distance,
    nearest_distances,
    riesz_mmd,
    sliced_wasserstein,
    spectrum_error,
)
from mldemo.metrics.draws import matched_draws
from mldemo.metrics.features import coverage, frechet_distance, vendi_score
from mldemo.space.spectral import resample
from mldemo.store.manifest import BUNDLE, manifest_entry

TESTED = 5000  # test images, at most
DRAWS = 5  # for a floor
NEAREST = 1000  # samples, and test images, whose nearest training image is searched


def common_level(fields: Tensor, limit: int) -> Tensor:
    """Fields restricted to H_limit (if finer) and brought to level 32."""
    return torch.cat([resample(resample(part, limit), LEVEL) for part in fields.split(1000)])


@dataclass(frozen=True)
class Level:
    """The data that samples of one level are compared with, on level 32, band-limited to H_limit.

    Test and unseen images with their features under each map; `held_out` is the median distance
    from a test image to the nearest training image, `test_within` the mean distance between two
    test images.
    """

    limit: int
    test: Tensor
    unseen: Tensor
    test_features: tuple[Tensor, ...]
    unseen_features: tuple[Tensor, ...]
    held_out: float
    test_within: float


class Reference:
    """A data set to compare samples with, seen through the features of two classifiers.

    `part` "test" is for reported figures. "validation" is for making choices: then one half of
    that part replaces the test data and the other gives the floor. The classifiers are those of
    the data set; if it has none, others are used as fixed feature maps, and `described` names the
    data they were trained on. `folder` is searched before the bundle.
    """

    def __init__(self, data: DataSet, folder: Path = BUNDLE, part: str = "test") -> None:
        if part not in ("test", "validation"):
            raise ValueError(f"samples are compared with test or validation, got {part!r}")
        self.data, self.name, self.part = data, data.name, part
        found = [find_classifier(data.name, folder, half) for half in (1, 2)]
        loaded = [load_classifier(name, place) for place, name in found]
        self.classifiers = tuple(network for network, _ in loaded)
        origins = {record["data"] for _, record in loaded}
        digest = hashlib.sha256(pixels(self.test).numpy().tobytes()).hexdigest()
        self.described = {
            "data": data.name,
            "part": part,
            "data_sha256": digest,
            "test": len(self.test),
            "unseen": len(self.unseen_labels),
            "training": sum(data.count(name) for name in self.trained),
            "draws": DRAWS,
            "classifiers": [name for _, name in found],
            "classifier_sha256": [manifest_entry(name, place)["sha256"] for place, name in found],
            "classifier_data": sorted(origins),
            "classifier_accuracy": [record["accuracy"] for _, record in loaded],
            "features": "own" if origins == {data.name} else "fixed map of other data",
        }
        self.level = lru_cache(maxsize=2)(self._level)
        self.floor = lru_cache(maxsize=8)(self._floor)

    @classmethod
    def of(cls, source: str, folder: Path = BUNDLE, part: str = "test") -> "Reference":
        """The reference for a data set given by name or folder, as in `--data`."""
        return cls(open_data(source), folder, part)

    @cached_property
    def test(self) -> Tensor:
        """The images that samples are compared with, on the data's finest level."""
        if self.part == "test":
            return self.data.fields("test", first=TESTED)
        return self.data.fields("validation")[::2]

    @cached_property
    def unseen(self) -> Tensor:
        """The images from which the floor is drawn, on level 32."""
        held = self.data.fields("validation", LEVEL)
        return held if self.part == "test" else held[1::2]

    @cached_property
    def test_labels(self) -> Tensor:
        """The classes of `test`; all 0 if the data have none."""
        held = self._labels(self.part)
        return held[:TESTED] if self.part == "test" else held[::2]

    @cached_property
    def unseen_labels(self) -> Tensor:
        """The classes of `unseen`; all 0 if the data have none."""
        held = self._labels("validation")
        return held if self.part == "test" else held[1::2]

    def _labels(self, part: str) -> Tensor:
        labels = self.data.labels(part)
        return torch.zeros(self.data.count(part), dtype=torch.int64) if labels is None else labels

    @property
    def trained(self) -> tuple[str, ...]:
        """The parts that a network may have been trained on, except the part compared with."""
        return ("train", "validation") if self.part == "test" else ("train",)

    @cached_property
    def training(self) -> Tensor:
        """All images of the parts `trained`, on level 32: samples should not reproduce them."""
        return torch.cat([self.data.fields(part, LEVEL) for part in self.trained])

    def _level(self, limit: int) -> Level:
        test, unseen = common_level(self.test, limit), common_level(self.unseen, limit)
        features = [tuple(c.features_of(x) for c in self.classifiers) for x in (test, unseen)]
        distances = self.nearest(test, limit), mean_distance(test)
        return Level(limit, test, unseen, features[0], features[1], *distances)

    def nearest(self, fields: Tensor, limit: int) -> float:
        """The median distance of fields on the common level to the nearest training image."""
        x = fields[:NEAREST]
        parts = self.training.split(2000)
        each = [nearest_distances(x, common_level(part, limit)) for part in parts]
        return float(torch.stack(each).amin(0).median())

    def compare(
        self, fields: Tensor, features: tuple[Tensor, ...], level: Level
    ) -> dict[str, float]:
        """Every metric that has a floor, of fields on the common level and their features."""
        ours, theirs = features[0], level.test_features[0]
        return {
            "fid": frechet_distance(ours, theirs),
            "fid_second": frechet_distance(features[1], level.test_features[1]),
            "precision": coverage(ours, theirs),
            "recall": coverage(theirs, ours),
            "energy_distance": riesz_mmd(fields, level.test, within_y=level.test_within),
            "sliced_wasserstein": sliced_wasserstein(fields, level.test),
            "paper_sw": moment_distance(fields, level.test),
            "vendi_features": vendi_score(ours),
            "vendi_fields": vendi_score(fields),
        }

    def draws(self, count: int) -> list[Tensor]:
        """Indices of the unseen images of each draw for the floor; too large a count raises."""
        return matched_draws(self.unseen_labels, self.test_labels, count, DRAWS)

    def _floor(self, limit: int, count: int) -> list[dict[str, float]]:
        """Every metric of each draw of unseen images."""
        level = self.level(limit)
        return [
            self.compare(level.unseen[i], tuple(f[i] for f in level.unseen_features), level)
            for i in self.draws(count)
        ]

    def evaluate(self, fields: Tensor) -> dict[str, Any]:
        """All metrics of fields (B, 1, N, N), with mean and standard deviation of their floors.

        `nearest` holds median distances to the nearest training image, of samples and of test
        images: a ratio far below 1 means that training images are reproduced.
        """
        resolution = fields.shape[-1]
        limit = min(resolution, LEVEL)
        draws = self.floor(limit, len(fields))
        level, common = self.level(limit), common_level(fields, limit)
        features = tuple(c.features_of(common) for c in self.classifiers)
        metrics = self.compare(common, features, level)
        values = {name: [draw[name] for draw in draws] for name in metrics}
        floor = {name: float(np.mean(found)) for name, found in values.items()}
        generated = self.nearest(common, limit)
        return {
            "metrics": metrics,
            "floor": floor,
            "floor_sd": {name: float(np.std(found, ddof=1)) for name, found in values.items()},
            "fid_ratio": metrics["fid"] / floor["fid"],
            "nearest": {
                "generated": generated,
                "held_out": level.held_out,
                "ratio": generated / level.held_out,
            },
            "spectrum": spectrum_error(fields, resample(self.test, resolution)),
        }
