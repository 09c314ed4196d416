"""Metrics that compare samples of generated fields with data; fields are not rescaled."""

from mldemo.metrics.distances import (
    band_powers,
    moment_distance,
    nearest_distances,
    riesz_mmd,
    sliced_wasserstein,
    spectrum_error,
    wasserstein_1d,
)
from mldemo.metrics.features import coverage, frechet_distance, vendi_score

__all__ = [
    "band_powers",
    "coverage",
    "frechet_distance",
    "moment_distance",
    "nearest_distances",
    "riesz_mmd",
    "sliced_wasserstein",
    "spectrum_error",
    "vendi_score",
    "wasserstein_1d",
]
