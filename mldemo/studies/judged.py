"""Shared by studies of sample quality: the judge, and the data of a quick run."""

from functools import lru_cache
from typing import ClassVar

from mldemo.data.sets import DataSet, Mnist, TwoPhaseMaterial
from mldemo.metrics.evaluation import Reference


class FewMedia(TwoPhaseMaterial):
    """A few of the random two-phase media: drawn by formula, so a quick run needs no files."""

    samples: ClassVar[dict[str, range]] = {
        part: range(drawn.start, drawn.start + 96)
        for part, drawn in TwoPhaseMaterial.samples.items()
    }


def data_of(quick: bool) -> DataSet:
    """The digits; for a quick run, a few two-phase media."""
    return FewMedia() if quick else Mnist.find()


@lru_cache(maxsize=2)
def judge(quick: bool) -> Reference:
    """The reference for samples: the test part of `data_of`."""
    return Reference(data_of(quick))
