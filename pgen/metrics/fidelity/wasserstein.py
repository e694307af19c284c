"""Distances in pixel space: exact Wasserstein, sliced Wasserstein and energy distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from pgen.data.images import FloatArray
from pgen.metrics.features.observables import robust_scales
from pgen.metrics.fidelity.pooled_distances import marginal_distances, mmd
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, PerSet, draw_equal
from pgen.metrics.significance import compare, measure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Images of each set, since all pairs are compared.
W1_LIMIT, PAIRS_LIMIT = 1000, 2000
#: The optimal matching takes long.
W1_PERMUTATIONS = 99
#: Directions of sliced Wasserstein, and images of each set.
SLICES, SLICED_LIMIT = 128, 5000
#: Differences that do not matter: of sliced W1 as a fraction of the spread of a projection, of the
#: others as a fraction of the mean distance of two real images.
SLICED_TOLERANCE, ENERGY_TOLERANCE, W1_TOLERANCE = 0.02, 0.002, 0.05


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
    spread = float(distances[2 * n :, 2 * n :].sum() / (n * (n - 1)))  # mean distance of held-out images
    drawn = np.concatenate(draw_equal(projected, rng, SLICED_LIMIT))
    of_directions = marginal_distances(drawn)

    def sliced_w1(a: Ints, b: Ints) -> Floats:
        return of_directions(a, b)[:, :SLICES].mean(1, keepdims=True)

    scale = float(robust_scales(projected.held_out).mean())
    measures = (
        measure(
            "W1",
            lambda a, b: exact_w1(distances, a, b),
            indices,
            rng,
            permutations=min(W1_PERMUTATIONS, sets.permutations),
            rounds=0,
            limit=W1_LIMIT,
            tolerance=W1_TOLERANCE * spread,
        ),
        compare(sliced_w1, len(drawn) // 3, rng, permutations=sets.permutations).measurement(
            0, "sliced W1", tolerance=SLICED_TOLERANCE * scale
        ),
        compare(mmd(-distances), n, rng, permutations=sets.permutations).measurement(
            0, "energy distance", lowest=-np.inf, tolerance=ENERGY_TOLERANCE * spread
        ),
    )
    lower = [measurement.name for measurement in measures if measurement.verdict == "beyond"]
    warnings = [f"{name} of generated images lies under that of real ones: they are likely too dim or too smooth." for name in lower]
    return MetricResult("wasserstein", measures, {"slices": SLICES, "W1 permutations": W1_PERMUTATIONS}, warnings=tuple(warnings))


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
