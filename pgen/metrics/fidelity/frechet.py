"""Frechet and kernel distance of physical features.

FPD and KPD of Kansal et al., Phys. Rev. D 107, 076017 (2023), arXiv:2211.10295.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, PerSet, draw_equal, measure

Floats = npt.NDArray[np.float64]

#: Maximum number of parts of a set, for the extrapolation to infinitely many images.
PARTS = 4
#: Images of each set for KPD, which compares all pairs.
KPD_LIMIT = 2000
FPD_ROUNDS = 25


def fpd(sets: EvaluationSets) -> MetricResult:
    """Compute the Frechet distance of features, at N and extrapolated to infinitely many images."""
    rng = sets.rng("fpd")
    seed = int(rng.integers(2**32))

    def frechet_at_infinity(a: Floats, b: Floats) -> float:
        # The same parts whatever the sets, so that a pair of sets has one value and not a new one
        # every time.
        return extrapolate_frechet(a, b, np.random.default_rng(seed))

    at_n = measure("FPD at N", frechet, sets.features, rng)
    at_infinity = measure("FPD", frechet_at_infinity, sets.features, rng, rounds=FPD_ROUNDS, lowest=-np.inf)
    parts = max_parts(at_n.n, sets.features.train.shape[1])
    notes = () if parts > 1 else (f"FPD: {at_n.n} images of a set are too few to extrapolate to infinitely many; it is FPD at N.",)
    return MetricResult("fpd", (at_infinity, at_n), {"parts": parts, "features": sets.features.train.shape[1]}, notes=notes)


def kpd(sets: EvaluationSets) -> MetricResult:
    """Compute the unbiased squared MMD of the features with the kernel (a.b / D + 1)^4."""
    rng = sets.rng("kpd")
    rows = draw_equal(sets.features, rng, KPD_LIMIT)
    n = len(rows.train)
    # Sets as indices into one matrix of kernels, since every round of the bootstrap needs each
    # kernel.
    features = np.concatenate(rows)
    kernel = (features @ features.T / features.shape[1] + 1) ** 4
    indices = PerSet(*np.arange(3 * n).reshape(3, n))
    distance = measure("KPD", lambda a, b: mmd(kernel, a, b), indices, rng, lowest=-np.inf)
    return MetricResult("kpd", (distance,), {"kernel": "(a.b / D + 1)^4", "features": features.shape[1], "limit": KPD_LIMIT})


def frechet(a: Floats, b: Floats) -> float:
    """Compute |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2).

    m and S are means and covariances of rows (n, D) and (m, D).
    """
    shift = a.mean(0) - b.mean(0)
    s_a, s_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    # The trace of the root of a product, from a symmetric matrix with the same eigenvalues.
    values, vectors = linalg.eigh(s_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = linalg.eigvalsh(root @ s_b @ root)
    return float(shift @ shift + np.trace(s_a) + np.trace(s_b) - 2 * np.sqrt(np.clip(inner, 0, None)).sum())


def extrapolate_frechet(a: Floats, b: Floats, rng: np.random.Generator) -> float:
    """Extrapolate :func:`frechet` to infinitely many images.

    The bias goes as 1 / n. The mean over k disjoint parts of the sets is fitted by a line in k,
    whose value at k = 0 is returned.
    """
    a, b = rng.permutation(a), rng.permutation(b)
    most = max_parts(min(len(a), len(b)), a.shape[1])
    numbers = np.arange(1, most + 1)
    # Each image is in some part, so that outliers count the same for every number of parts.
    values = [np.mean(list(map(frechet, np.array_split(a, k), np.array_split(b, k)))) for k in numbers]
    return float(np.polyfit(numbers, values, 1)[1]) if most > 1 else float(values[0])


def max_parts(n: int, size: int) -> int:
    """Return how many parts of n rows have more rows than their ``size`` features."""
    return max(1, min(PARTS, n // (size + 2)))


def mmd(kernel: Floats, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Compute the unbiased squared MMD of two sets of rows of a kernel matrix.

    Args:
        kernel: (N, N) kernels of all pairs.
        a: (n,) indices; a row may occur more than once.
        b: (m,) indices.
    """
    count_a, count_b = (np.bincount(indices, minlength=len(kernel)).astype(float) for indices in (a, b))
    diagonal = np.diag(kernel)

    def within(count: Floats) -> float:
        total = count.sum()
        return float((count @ kernel @ count - count @ diagonal) / (total * (total - 1)))

    return within(count_a) + within(count_b) - 2 * float(count_a @ kernel @ count_b) / (len(a) * len(b))
