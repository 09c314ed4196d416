"""A small classifier of fields whose penultimate layer is the feature map of FID and the like.

It works on level 32; in training, half of the fields are band-limited to H_16, so that it learns
both kinds. Convolutions are circular: a field lives on the torus.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mldemo.data.sets import DataSet
from mldemo.space.spectral import bandwidth, frequencies, resample, to_field, to_modes
from mldemo.space.streams import check_seed
from mldemo.store.checkpoints import FORMAT, parse
from mldemo.store.manifest import BUNDLE, CheckpointError, read_manifest, read_verified, write_file

LEVEL, BAND_LIMIT = 32, 16
FEATURES = 64
LARGEST_SHIFT = 2 / LEVEL  # of the torus, in each direction
KIND = "classifier"


class Classifier(nn.Module):
    """Fields (B, 1, 32, 32) to logits (B, classes), through `features` (B, 64).

    The features are taken before the last ReLU, where they are closest to Gaussian.
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        w = width
        layers: list[nn.Module] = []
        for inner, outer, stride in (
            (1, w, 1),
            (w, 2 * w, 2),
            (2 * w, 4 * w, 2),
            (4 * w, 4 * w, 2),
        ):
            layers += [
                nn.Conv2d(inner, outer, 3, stride, 1, bias=False, padding_mode="circular"),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
            ]
        side = LEVEL // 8
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * w * side**2, FEATURES))
        self.head = nn.Linear(FEATURES, classes)

    def features(self, fields: Tensor) -> Tensor:
        """The penultimate layer: (B, 1, 32, 32) -> (B, 64)."""
        return self.body(fields)

    def forward(self, fields: Tensor) -> Tensor:
        """Logits."""
        return self.head(functional.relu(self.features(fields)))

    @torch.no_grad()
    def features_of(self, fields: Tensor, batch: int = 500) -> Tensor:
        """Features of any number of fields of any resolution, float64 (B, 64), without gradient.

        Fields of another level are restricted or prolonged to 32 first.
        """
        device = next(self.parameters()).device
        parts = [
            self.features(resample(part, LEVEL).to(device)).cpu() for part in fields.split(batch)
        ]
        return torch.cat(parts).double()


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set: its number, how many there are, the mean loss."""

    number: int
    total: int
    loss: float


def load_labelled(data: DataSet, part: str) -> tuple[Tensor, Tensor]:
    """One part of a data set: fields (B, 1, 32, 32) and as many labels (B,)."""
    labels = data.labels(part)
    if labels is None:
        raise ValueError(f"{data.name} has no labels of its {part} part, which a classifier needs")
    return data.fields(part, LEVEL), labels


def augment(modes: Tensor, rng: np.random.Generator) -> Tensor:
    """Modes on level 32 to augmented fields: shifted, and with probability 1/2 limited to H_16.

    A shift by s multiplies û_k by e^{-2πi k·s}: exact, also between grid points.
    """
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (2, len(modes), 1, 1, 1))
    k1, k2 = frequencies(LEVEL)
    s1, s2 = torch.from_numpy(shift)
    angle = (-2 * torch.pi * (k1 * s1 + k2 * s2)).float()
    m = bandwidth(BAND_LIMIT)
    low = (k1.abs() <= m) & (k2 <= m)
    limited = torch.from_numpy(rng.random((len(modes), 1, 1, 1)) < 0.5)
    return to_field(modes * torch.polar((low | ~limited).float(), angle), LEVEL)


def train(
    network: Classifier,
    fields: Tensor,
    labels: Tensor,
    epochs: int,
    seed: int = 0,
    batch: int = 100,
    learning_rate: float = 3e-3,
) -> Iterator[Epoch]:
    """Train with cross-entropy, AdamW and a one-cycle learning rate; yields after each epoch."""
    rng = np.random.default_rng(check_seed(seed))
    modes = torch.cat([to_modes(resample(part, LEVEL)) for part in fields.split(1000)])
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    steps = -(-len(modes) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, epochs * steps)
    network.train()
    for number in range(1, epochs + 1):
        total = 0.0
        for chosen in torch.from_numpy(rng.permutation(len(modes))).split(batch):
            logits = network(augment(modes[chosen], rng))
            loss = functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        yield Epoch(number, epochs, total / len(modes))
    network.eval()


@torch.no_grad()
def accuracy(network: Classifier, fields: Tensor, labels: Tensor) -> float:
    """The share of fields (any resolution) that are classified correctly."""
    right = [
        network(resample(part, LEVEL)).argmax(1) == own
        for part, own in zip(fields.split(500), labels.split(500), strict=True)
    ]
    return float(torch.cat(right).double().mean())


class Fit:
    """The training of a data set's classifier, from the data to a verified file.

    There are two: each sees every other image of the training part, starting with the first
    (`half` 1) or the second (`half` 2), so they share no images and, by default, no seed
    (half - 1). Iterate over it to train; `save` then rounds the weights to half precision,
    measures the accuracy of the rounded weights on the test part, and writes both.
    """

    def __init__(
        self,
        data: DataSet,
        epochs: int = 6,
        seed: int | None = None,
        width: int = 16,
        half: int = 1,
    ) -> None:
        check_half(half)
        seed = half - 1 if seed is None else seed
        if not 1 <= epochs <= 1000:
            raise ValueError(f"epochs must be from 1 to 1000, got {epochs}")
        if not 1 <= width <= 64:
            raise ValueError(f"width must be from 1 to 64, got {width}")
        self.data, self.epochs, self.seed = data, epochs, check_seed(seed)
        fields, labels = load_labelled(data, "train")
        self.fields, self.labels, self.half = fields[half - 1 :: 2], labels[half - 1 :: 2], half
        self.classes = int(self.labels.max()) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Classifier(self.classes, width)
        self.record: dict[str, Any] = {"classes": self.classes, "width": width}
        self.record |= {"epochs": epochs, "seed": seed, "half": half}
        self.record["trained_on"] = len(self.labels)

    def __iter__(self) -> Iterator[Epoch]:
        """Train, one epoch at a time."""
        start = time.perf_counter()
        yield from train(self.network, self.fields, self.labels, self.epochs, self.seed)
        self.record["seconds"] = round(time.perf_counter() - start, 1)

    def save(self, folder: Path) -> Path:
        """Write FOLDER/DATA-classifier.safetensors (half 2: -classifier-2) and its entry."""
        network = self.network.half().float()
        fields, labels = load_labelled(self.data, "test")
        self.record["tested_on"] = len(labels)
        self.record["accuracy"] = {
            str(LEVEL): accuracy(network, fields, labels),
            str(BAND_LIMIT): accuracy(network, resample(fields, BAND_LIMIT), labels),
        }
        name = self.data.name
        summary = {"data": name, **self.record}
        state = network.state_dict().items()
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in state}
        metadata = {"mldemo": json.dumps({"format": FORMAT, **summary})}
        return write_file(
            folder, classifier_name(name, self.half), KIND, tensors, metadata, summary
        )


def check_half(half: int) -> None:
    """Raise `ValueError` unless a half is 1 or 2."""
    if half not in (1, 2):
        raise ValueError(f"half must be 1 or 2, got {half!r}")


def classifier_name(data: str, half: int = 1) -> str:
    """The name of a data set's classifier: "mnist" -> "mnist-classifier", half 2 with "-2"."""
    check_half(half)
    return f"{data}-classifier" + ("-2" if half == 2 else "")


def load_classifier(name: str, folder: Path = BUNDLE) -> tuple[Classifier, dict[str, Any]]:
    """A verified classifier, ready to use, and its record; a bad file raises `CheckpointError`."""
    raw, entry = read_verified(name, folder)
    tensors, record = parse(raw, name)
    try:
        if entry.get("kind") != KIND:
            raise ValueError(f"it is of kind {entry.get('kind')!r}, not a classifier")
        network = Classifier(record["classes"], record["width"])
        network.load_state_dict(tensors, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name} does not fit its own record: {error}") from None
    return network.eval().requires_grad_(False), record


def find_classifier(data: str, folder: Path = BUNDLE, half: int = 1) -> tuple[Path, str]:
    """The folder (the given one or the bundle) and name of a classifier for a data set.

    In order of preference: the data set's own, MNIST's, any other; all of the given half.
    """
    found: dict[str, Path] = {}
    for place in (BUNDLE, folder):
        files = read_manifest(place)["files"]
        own = {k: entry for k, entry in files.items() if entry.get("kind") == KIND}
        found |= {k: place for k, entry in own.items() if entry.get("half", 1) == half}
    wanted = [classifier_name(data, half), classifier_name("mnist", half), *sorted(found)]
    for choice in wanted:
        if choice in found:
            return found[choice], choice
    raise CheckpointError(f"no classifier of half {half} is there")
