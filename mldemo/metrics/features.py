"""Metrics of feature vectors (n, d): Fréchet distance, precision and recall, Vendi score."""

import torch
from torch import Tensor

NEIGHBOURS = 3


def check_samples(*samples: Tensor) -> None:
    """Raise `ValueError` unless all are finite, (n ≥ 2, ...), and of equal shape but for n."""
    for x in samples:
        if x.ndim < 2 or len(x) < 2 or x.shape[1:] != samples[0].shape[1:]:
            shapes = " and ".join(str(tuple(s.shape)) for s in samples)
            raise ValueError(f"samples of at least 2 points of one shape needed, got {shapes}")
        if not torch.isfinite(x).all():
            raise ValueError("a sample holds values that are not finite")


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared Wasserstein-2 distance of the Gaussians fitted to vectors (n, d) and (m, d).

    ‖a - b‖² + tr(A + B - 2 (A^½ B A^½)^½) with means a, b and unbiased covariances A, B. On
    classifier features this is the FID (arXiv 1706.08500). Biased upwards by about 1/n + 1/m:
    compare equal counts only.
    """
    check_samples(x, y)
    x, y = x.double(), y.double()
    a, b = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(y.shape[1], -1)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return float((shift + a.trace() + b.trace() - 2 * cross).clamp(min=0))


def coverage(points: Tensor, support: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """The share of points (n, d) no farther from a support point than its k-th neighbour.

    With generated points and real support this is precision, the other way round recall
    (arXiv 1904.06991, equation 1). The support needs more than k points.
    """
    check_samples(points, support)
    if not 1 <= neighbours < len(support):
        raise ValueError(f"neighbours must be from 1 to {len(support) - 1}, got {neighbours}")
    support = support.double()
    within = torch.cdist(support, support, compute_mode="donot_use_mm_for_euclid_dist")
    radii = within.kthvalue(neighbours + 1, dim=1).values  # the nearest is the point itself
    inside = torch.cdist(points.double(), support) <= radii
    return float(inside.any(1).double().mean())


def vendi_score(x: Tensor) -> float:
    """Effective number of distinct points among vectors (n, d), from 1 to min(n, d).

    exp(-Σ λ log λ) over the eigenvalues λ of K/n, K the cosine similarities (Friedman and Dieng
    2022); X̂ᵀX̂/n has the same ones. Zero vectors have no direction and raise.
    """
    check_samples(x)
    x = x.double().flatten(1)
    length = x.norm(dim=1, keepdim=True)
    if not (length > 0).all():
        raise ValueError("a zero vector has no cosine similarity")
    x = x / length
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    share = torch.linalg.eigvalsh(gram / len(x)).clamp(min=0)
    return float(torch.special.entr(share).sum().exp())
