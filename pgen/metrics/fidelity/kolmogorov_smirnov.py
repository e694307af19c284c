"""Mean and sliced Kolmogorov-Smirnov distance of features.

Grossi, Letizia and Torre, arXiv:2409.16336, find both as powerful as kernel tests at a fraction of
their cost. There they are multiplied by the root of n m / (n + m), which changes no test.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgen.metrics.fidelity.marginals import TOLERANCES
from pgen.metrics.fidelity.pooled_distances import marginal_distances
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, draw_equal
from pgen.metrics.significance import Ints, PooledDistance, compare

Floats = npt.NDArray[np.float64]

#: Random directions of sliced KS.
SLICES = 64
#: Maximum number of images of each set.
LIMIT = 2000


def ks(sets: EvaluationSets) -> MetricResult:
    """Compute the mean of the KS distances of all features, and of random projections of them."""
    rng = sets.rng("ks")
    drawn = draw_equal(sets.features, rng, LIMIT)
    n, size = drawn.train.shape
    distance = mean_and_sliced_ks(np.concatenate(drawn), draw_directions(size, SLICES, rng))
    compared = compare(distance, n, rng, permutations=sets.permutations)
    measures = tuple(
        compared.measurement(k, name, highest=1.0, tolerance=TOLERANCES["KS"], headline=k == 0)
        for k, name in enumerate(("mean KS", "sliced KS"))
    )
    return MetricResult("ks", measures, {"features": size, "slices": SLICES, "limit": LIMIT})


def draw_directions(size: int, number: int, rng: np.random.Generator) -> Floats:
    """Return random unit vectors (``size``, ``number``), one per column."""
    directions = rng.standard_normal((size, number))
    return directions / np.linalg.norm(directions, axis=0)


def mean_and_sliced_ks(features: Floats, directions: Floats) -> PooledDistance:
    """Return a function that computes mean and sliced KS, to (R, 2).

    Args:
        features: (N, D) of all images of the pool.
        directions: (D, S) unit vectors to project them on.
    """
    size = features.shape[1]
    marginals = marginal_distances(np.concatenate([features, features @ directions], 1))

    def distance(a: Ints, b: Ints) -> Floats:
        of_columns = marginals(a, b).reshape(len(a), 3, -1)[:, 1]
        return np.stack([of_columns[:, :size].mean(1), of_columns[:, size:].mean(1)], 1)

    return distance
