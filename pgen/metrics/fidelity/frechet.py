"""Frechet and kernel distances on physical features: FPD and KPD of Kansal et al., Phys. Rev. D 107, 076017 (2023), arXiv:2211.10295."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Measure, MetricResult, draw, measure

Floats = npt.NDArray[np.float64]

#: Into so many parts sets are divided at most, to extrapolate from the distances of parts to that of infinitely many images.
PARTS = 4
#: Images of each set for KPD: all pairs of them are looked at.
KPD_LIMIT = 2000
FPD_ROUNDS = 25


def fpd(sets: EvaluationSets) -> MetricResult:
    """Frechet distance of the features, taken for Gaussian, at N images and extrapolated to infinitely many."""
    rng = sets.rng("fpd")
    seed = int(rng.integers(2**32))

    def endless(a: Floats, b: Floats) -> float:
        # The same parts whatever the sets, so that a pair of sets has one value and not a new one every time.
        return extrapolated(a, b, np.random.default_rng(seed))

    at_n = measure("FPD at N", frechet, sets.features, rng)
    at_infinity = measure("FPD", endless, sets.features, rng, rounds=FPD_ROUNDS, lowest=-np.inf)
    parts = parts_of(at_n.n, sets.features.train.shape[1])
    notes = () if parts > 1 else (f"FPD: {at_n.n} images of a set are too few to extrapolate to infinitely many; it is FPD at N.",)
    return MetricResult("fpd", (at_infinity, at_n), {"parts": parts, "features": sets.features.train.shape[1]}, notes=notes)


def kpd(sets: EvaluationSets) -> MetricResult:
    """Unbiased squared maximum mean discrepancy of the features with the kernel (a.b / D + 1)^4."""
    rng = sets.rng("kpd")
    rows = draw(sets.features, rng, KPD_LIMIT)
    n = len(rows.train)
    # By their places in a matrix of all kernels, since each is needed in every round of the bootstrap.
    everything = np.concatenate(rows)
    kernel = (everything @ everything.T / everything.shape[1] + 1) ** 4
    found: list[Measure] = [
        measure("KPD", lambda a, b: mmd(kernel, a, b), type(rows)(*np.arange(3 * n).reshape(3, n)), rng, lowest=-np.inf),
    ]
    return MetricResult("kpd", tuple(found), {"kernel": "(a.b / D + 1)^4", "features": everything.shape[1], "limit": KPD_LIMIT})


def frechet(a: Floats, b: Floats) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) of rows (n, D) and (m, D), by their means m and covariances S."""
    shift = a.mean(0) - b.mean(0)
    s_a, s_b = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    # The trace of a product's root, from the eigenvalues of a symmetric matrix that has the same ones.
    values, vectors = linalg.eigh(s_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = linalg.eigvalsh(root @ s_b @ root)
    return float(shift @ shift + np.trace(s_a) + np.trace(s_b) - 2 * np.sqrt(np.clip(inner, 0, None)).sum())


def extrapolated(a: Floats, b: Floats, rng: np.random.Generator) -> float:
    """:func:`frechet` of infinitely many images: its bias goes as 1 / n, so the means over 1, 2, 3, ... disjoint parts of the sets are
    fitted by a line in the number of parts, and read off at 0."""
    a, b = rng.permutation(a), rng.permutation(b)
    most = parts_of(min(len(a), len(b)), a.shape[1])
    numbers = np.arange(1, most + 1)
    # All images are in some part, so that outliers count the same for every number of parts.
    values = [np.mean(list(map(frechet, np.array_split(a, k), np.array_split(b, k)))) for k in numbers]
    return float(np.polyfit(numbers, values, 1)[1]) if most > 1 else float(values[0])


def parts_of(n: int, size: int) -> int:
    """Into how many parts sets of n rows of ``size`` features can be divided: each has more rows than features."""
    return max(1, min(PARTS, n // (size + 2)))


def mmd(kernel: Floats, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Unbiased squared MMD of the rows at ``a`` (n,) and ``b`` (m,) of a matrix of kernels; a row may be there more than once."""
    count_a, count_b = (np.bincount(each, minlength=len(kernel)).astype(float) for each in (a, b))
    diagonal = np.diag(kernel)

    def within(count: Floats) -> float:
        total = count.sum()
        return float((count @ kernel @ count - count @ diagonal) / (total * (total - 1)))

    return within(count_a) + within(count_b) - 2 * float(count_a @ kernel @ count_b) / (len(a) * len(b))
