"""Distances in pixel space: exact Wasserstein, sliced Wasserstein and energy distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from pgen.data.images import FloatArray
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, PerSet, draw_equal, measure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Images of each set, since all pairs are compared.
W1_LIMIT, W1_ROUNDS, PAIRS_LIMIT = 1000, 60, 2000
#: Directions of sliced Wasserstein, and images of each set.
SLICES, SLICED_LIMIT, SLICED_ROUNDS = 128, 5000, 50


def wasserstein(sets: EvaluationSets) -> MetricResult:
    """Compute exact W1, sliced W1 and energy distance of images, in charge units.

    Distances of images are Euclidean distances of their pixels.

    In thousands of dimensions, two samples of one distribution have almost the same exact W1; dim
    or blurred images can even have less than real ones. A value below the floor is a warning, not a
    success.
    """
    rng = sets.rng("wasserstein")
    images = draw_equal(PerSet(sets.generated, sets.train, sets.held_out), rng, PAIRS_LIMIT)
    n = len(images.train)
    pixels = np.concatenate([images_of_set.reshape(n, -1) for images_of_set in images])
    distances = pairwise_distances(pixels, sets.device)
    indices = PerSet(*np.arange(3 * n).reshape(3, n))
    directions = rng.standard_normal((pixels.shape[1], SLICES)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    projected = sets.rows(lambda chunk: chunk.reshape(len(chunk), -1) @ directions)
    measures = (
        measure("W1", lambda a, b: exact_w1(distances, a, b), indices, rng, rounds=W1_ROUNDS, limit=W1_LIMIT, halves=True),
        measure("sliced W1", sliced_w1, projected, rng, rounds=SLICED_ROUNDS, limit=SLICED_LIMIT),
        measure("energy distance", lambda a, b: energy_distance(distances, a, b), indices, rng, lowest=-np.inf),
    )
    lower = [measurement.name for measurement in measures if measurement.verdict == "beyond"]
    warnings = [f"{name} of generated images lies under that of real ones: they are likely too dim or too smooth." for name in lower]
    return MetricResult("wasserstein", measures, {"slices": SLICES, "W1 rounds": W1_ROUNDS}, warnings=tuple(warnings))


def pairwise_distances(rows: FloatArray, device: torch.device) -> Floats:
    """Return the (n, n) Euclidean distances of rows (n, D)."""
    points = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    return torch.cat([torch.cdist(block, points) for block in points.split(512)]).cpu().double().numpy()


def exact_w1(distances: Floats, a: Ints, b: Ints) -> float:
    """Return the W1 of as many points ``a`` as ``b``, indices into a matrix of distances.

    It is the mean distance of the optimal matching.
    """
    cost = distances[np.ix_(a, b)]
    return float(cost[linear_sum_assignment(cost)].mean())


def energy_distance(distances: Floats, a: Ints, b: Ints) -> float:
    """Compute the squared energy distance of Szekely and Rizzo.

    Distances of points to themselves are left out.

    Args:
        distances: (N, N) of all pairs of points.
        a: (n,) indices; a point may occur more than once.
        b: (m,) indices.
    """
    count_a, count_b = (np.bincount(indices, minlength=len(distances)).astype(float) for indices in (a, b))
    n, m = len(a), len(b)
    across = float(count_a @ distances @ count_b) / (n * m)
    return 2 * across - sum(float(c @ distances @ c) / (k * (k - 1)) for c, k in ((count_a, n), (count_b, m)))


def sliced_w1(a: FloatArray, b: FloatArray) -> float:
    """Return the mean W1 over S directions, from projections (n, S) of each set."""
    return float(np.abs(np.sort(a, 0) - np.sort(b, 0)).mean())
