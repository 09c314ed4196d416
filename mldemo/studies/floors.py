"""What would a perfect sampler score?

`evaluate` sets beside every figure its floor: unseen real images in place of the samples, with the
class numbers of the test part. A sampler that is told no class cannot have those: its classes fall
as those of the training data do. Here unseen images replace the samples in both ways,

- *as in the test part*: class c has its share of the test part, rounded; the floor;
- *at random*: the classes of as many training images, drawn independently; a perfect sampler,

and within a class without replacement. What the second adds to the first is due to class numbers
alone, and no network can learn it away.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mldemo.data.sets import DataSet, FashionMnist, Mnist, open_data
from mldemo.metrics.draws import matched_draws
from mldemo.metrics.evaluation import Reference
from mldemo.space.streams import Stream, generator
from mldemo.studies.judged import FewMedia
from mldemo.studies.study import Cells, Record, Study, read_record, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

QUICK = "a few media"
KINDS = ("as in the test part", "at random")
METRICS = ("fid", "fid_second", "energy_distance")
COLUMNS = ("FID", "FID, second judge", "energy distance")
CELLS = ((Mnist.name, 16, 2000), (Mnist.name, 32, 2000), (Mnist.name, 32, 1000))
CELLS += ((FashionMnist.name, 16, 2000), (FashionMnist.name, 32, 2000))


class FewClasses(FewMedia):
    """The data of a quick run: a few media, in three classes."""

    def labels(self, part: str) -> Tensor:
        """One class after another."""
        return torch.arange(self.count(part)) % 3


class Floors(Study):
    """Scores of unseen real images: classes as in the test part, and at random."""

    name: ClassVar[str] = "floors"
    question: ClassVar[str] = "What would a perfect sampler score?"
    link: ClassVar[str] = "tab=watch&n=32&count=16&steps=20"
    seeds: ClassVar[tuple[int, ...]] = tuple(range(1, 11))

    def inputs(self, quick: bool) -> Record:
        """Triples of data, level and number of samples."""
        return {"cells": [(QUICK, 16, 30)] if quick else CELLS}

    def cells(self, quick: bool) -> Cells:
        """A cell per data set, level and number, each with a draw of both kinds per seed."""
        for source, level, count in self.inputs(quick)["cells"]:
            yield (
                f"{source}, {level}, {count}",
                lambda s=source, n=level, m=count: self._scores(_reference(s), n, m),
            )

    def _scores(self, reference: Reference, limit: int, count: int) -> Record:
        level = reference.level(limit)
        out: Record = {kind: {metric: [] for metric in METRICS} for kind in KINDS}
        for seed in self.seeds:
            classes = (reference.test_labels, random_classes(reference.data, count, seed))
            for kind, like in zip(KINDS, classes, strict=True):
                (chosen,) = matched_draws(reference.unseen_labels, like, count, 1, seed)
                features = tuple(f[chosen] for f in level.unseen_features)
                found = reference.compare(level.unseen[chosen], features, level)
                for metric in METRICS:
                    out[kind][metric].append(found[metric])
        return out

    def conclusion(self, record: Record) -> str:
        """Both scores, in the metric that the table has for the data."""
        rows, said, more = self.rows(record), [], 0
        for floor, row in zip(rows[::2], rows[1::2], strict=True):
            key, digits = ("FID", 2) if row["data"] == Mnist.name else ("energy distance", 5)
            bars = [f"{r[key]:.{digits}f} ± {r[f'{key}, sd']:.{digits}f}" for r in (row, floor)]
            said.append(
                f"{row['data']} at {row['level']}², {row['samples']:,} images: {key} {bars[0]}, "
                f"floor {bars[1]}"
            )
            more += row[key] > floor[key]
        return (
            "A perfect sampler that is told no class has random class numbers, and scores more "
            f"than the floor in {more} of {len(said)} cases. {'; '.join(said)}."
        )

    def rows(self, record: Record) -> list[Record]:
        """A row per data set, level, number of samples and kind of draw."""
        out = []
        for name, cell in values(record).items():
            source, level, count = name.split(", ")
            for kind in KINDS:
                row: Record = {"data": source, "level": int(level), "samples": int(count)}
                row["classes"] = kind
                for metric, column in zip(METRICS, COLUMNS, strict=True):
                    row[column], row[f"{column}, sd"] = spread(cell[kind][metric])
                out.append(row)
        return out

    def figure(self, record: Record) -> "Figure":
        """FID and energy distance of both kinds of draws, a line per data set and number."""
        from mldemo.studies.figures import line, panels

        figure = panels("FID", "energy distance", x="level N", log="x")
        lines: dict[str, list[Record]] = {}
        for row in self.rows(record):
            key = f"{row['data']}, {row['samples']:,}, classes {row['classes']}"
            lines.setdefault(key, []).append(row)
        for name, found in lines.items():
            for panel, key in enumerate(("FID", "energy distance"), 1):
                columns = ([row[k] for row in found] for k in ("level", key, f"{key}, sd"))
                line(figure, panel, name, *columns)
        levels = sorted({row["level"] for row in self.rows(record)})
        figure.update_xaxes(tickvals=levels, ticktext=[f"{n}²" for n in levels])
        return figure


def random_classes(data: DataSet, count: int, seed: int) -> Tensor:
    """The classes (count,) of training images drawn independently, with replacement."""
    labels = data.labels("train")
    if labels is None:
        raise ValueError(f"{data.name} has no classes")
    rng = generator(Stream.FLOOR, seed, node=1)
    return labels[torch.from_numpy(rng.integers(len(labels), size=count))]


@lru_cache(maxsize=1)
def _reference(source: str) -> Reference:
    return Reference(FewClasses() if source == QUICK else open_data(source))


def perfect_scores() -> dict[tuple[str, int, int], dict[str, tuple[float, float]]]:
    """Mean and standard deviation per metric of draws with classes at random, as recorded.

    By data set, level and number of samples; empty while there is no record.
    """
    study = Floors()
    if not study.record_path.is_file():
        return {}
    return {
        (row["data"], row["level"], row["samples"]): {
            metric: (row[column], row[f"{column}, sd"])
            for metric, column in zip(METRICS, COLUMNS, strict=True)
        }
        for row in study.rows(read_record(study.record_path))
        if row["classes"] == KINDS[1]
    }
