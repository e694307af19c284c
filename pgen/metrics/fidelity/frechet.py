"""Frechet and kernel distance of physical features.

FPD and KPD of Kansal et al., Phys. Rev. D 107, 076017 (2023), arXiv:2211.10295.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pgen.metrics.fidelity.pooled_distances import count, mmd
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, draw_equal
from pgen.metrics.significance import Ints, PooledDistance, compare

Floats = npt.NDArray[np.float64]

#: Maximum number of parts of a set, for the extrapolation to infinitely many images.
PARTS = 4
#: Images of each set for KPD, which compares all pairs.
KPD_LIMIT = 2000
#: Largest standardised feature for KPD.
KPD_CLIP = 3.0
#: A difference of the means of all features that does not matter, in standard deviations. It makes
#: D SHIFT^2 of FPD, and about 4 SHIFT^2 of KPD.
SHIFT = 0.1


def fpd(sets: EvaluationSets) -> MetricResult:
    """Compute the Frechet distance of features, at N and extrapolated to infinitely many images."""
    rng = sets.rng("fpd")
    drawn = draw_equal(sets.features, rng)
    n, size = drawn.train.shape
    parts = max_parts(n, size)
    compared = compare(frechet_distances(np.concatenate(drawn), parts), n, rng, permutations=sets.permutations)
    tolerance = size * SHIFT**2
    at_infinity = compared.measurement(0, "FPD", lowest=-np.inf, tolerance=tolerance)
    at_n = compared.measurement(1, "FPD at N", tolerance=tolerance)
    notes = () if parts > 1 else (f"FPD: {n} images of a set are too few to extrapolate to infinitely many; it is FPD at N.",)
    return MetricResult("fpd", (at_infinity, at_n), {"parts": parts, "features": size}, notes=notes)


def kpd(sets: EvaluationSets) -> MetricResult:
    """Compute the unbiased squared MMD of the features with the kernel (a.b / D + 1)^4.

    The fourth power would let a few extreme images decide, so features are limited to three
    standard deviations.
    """
    rng = sets.rng("kpd")
    drawn = draw_equal(sets.features, rng, KPD_LIMIT)
    n, size = drawn.train.shape
    features = np.concatenate(drawn).clip(-KPD_CLIP, KPD_CLIP)
    kernel = (features @ features.T / size + 1) ** 4
    distance = compare(mmd(kernel), n, rng, permutations=sets.permutations).measurement(0, "KPD", lowest=-np.inf, tolerance=4 * SHIFT**2)
    return MetricResult("kpd", (distance,), {"kernel": "(a.b / D + 1)^4", "features": size, "limit": KPD_LIMIT, "clip": KPD_CLIP})


def frechet_distances(features: Floats, parts: int) -> PooledDistance:
    """Return a function that computes Frechet distances, to (R, 2).

    The first is for infinitely many images: the bias goes as 1 / n, so the mean over k disjoint
    parts of the sets is fitted by a line in k, whose value at k = 0 is returned. The second is that
    of the whole sets.

    Args:
        features: (N, D) of all images of the pool.
        parts: Largest k.
    """
    size = features.shape[1]
    upper = np.triu_indices(size)
    # Of each image what means and covariances are sums of.
    terms = np.concatenate([features, features[:, upper[0]] * features[:, upper[1]]], 1)
    segments = math.lcm(*range(1, parts + 1))

    def sums(indices: Ints) -> tuple[Floats, Ints]:
        """Return sums of terms (R, segments, T) and numbers of images (segments,)."""
        # Images are dealt to segments in turn, since they may be in some order; parts are unions.
        segment = np.arange(indices.shape[1]) % segments
        counts = np.concatenate([count(indices[:, segment == s], len(terms)) for s in range(segments)])
        return (counts @ terms).reshape(segments, len(indices), -1).swapaxes(0, 1), np.bincount(segment, minlength=segments).astype(
            np.int64
        )

    def moments(totals: Floats, numbers: Ints, k: int) -> tuple[Floats, Floats]:
        """Return means (R, k, D) and covariances (R, k, D, D) of k parts."""
        n = numbers.reshape(k, -1).sum(1)[:, None]
        means = totals.reshape(len(totals), k, segments // k, -1).sum(2) / n
        first, second = means[..., :size], np.empty((*means.shape[:2], size, size))
        second[..., upper[0], upper[1]] = second[..., upper[1], upper[0]] = means[..., size:]
        covariances = (second - first[..., :, None] * first[..., None, :]) * (n / (n - 1))[..., None]
        return first, covariances

    def distance(a: Ints, b: Ints) -> Floats:
        of_a, of_b = sums(a), sums(b)
        numbers = list(range(1, parts + 1))
        means = np.stack([frechet(*moments(*of_a, k), *moments(*of_b, k)).mean(1) for k in numbers])
        at_infinity = np.polyfit(numbers, means, 1)[1] if parts > 1 else means[0]
        return np.stack([at_infinity, means[0]], 1)

    return distance


def frechet(mean_a: Floats, covariance_a: Floats, mean_b: Floats, covariance_b: Floats) -> Floats:
    """Compute |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2).

    Args:
        mean_a: (..., D).
        covariance_a: (..., D, D).
        mean_b: (..., D).
        covariance_b: (..., D, D).

    Returns:
        (...) distances.
    """
    # The trace of the root of a product, from a symmetric matrix with the same eigenvalues.
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(0))[..., None, :]) @ vectors.swapaxes(-1, -2)
    inner = np.linalg.eigvalsh(root @ covariance_b @ root).clip(0)
    traces = np.trace(covariance_a + covariance_b, axis1=-2, axis2=-1)
    return ((mean_a - mean_b) ** 2).sum(-1) + traces - 2 * np.sqrt(inner).sum(-1)


def max_parts(n: int, size: int) -> int:
    """Return how many parts of n rows have more rows than their ``size`` features."""
    return max(1, min(PARTS, n // (size + 2)))
