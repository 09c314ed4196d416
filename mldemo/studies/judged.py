"""What studies of sample quality share: the judge, and which data a quick run is judged by."""

from functools import lru_cache

from mldemo.data.sets import Mnist, open_data
from mldemo.metrics.evaluation import Reference

QUICK = "material"  # drawn by formula: a quick run needs no files


@lru_cache(maxsize=2)
def judge(quick: bool) -> Reference:
    """The reported test digits; for a quick run, random two-phase media."""
    return Reference(open_data(QUICK) if quick else Mnist.find())


def spread(found: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 for a single value."""
    mean = sum(found) / len(found)
    square = sum((x - mean) ** 2 for x in found)
    return mean, (square / (len(found) - 1)) ** 0.5 if len(found) > 1 else 0.0
