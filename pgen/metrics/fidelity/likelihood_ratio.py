"""NPLM: a goodness-of-fit test by a likelihood ratio that is learnt from features.

A kernel logistic regression learns f(x), the logarithm of the ratio of the densities of generated
and real images at features x (arXiv:2204.02317; for generative models arXiv:2508.02275). Its
kernels are Gaussians around a few images, Nystroem's method.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist
from scipy.special import expit

from pgen.metrics.fidelity.frechet import SHIFT
from pgen.metrics.fidelity.pooled_distances import count
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, draw_equal
from pgen.metrics.significance import Ints, PooledDistance, compare

Floats = npt.NDArray[np.float64]

#: Maximum number of images of each set.
LIMIT = 2000
#: Number of kernels, their width as a quantile of the distances of their centres, and weight of the
#: ridge penalty, see benchmarks/goodness_of_fit.py.
CENTRES, WIDTH_QUANTILE, PENALTY = 100, 0.9, 0.1
#: Steps of the fit; 10 change t by less than 0.1 %.
STEPS = 15


def nplm(sets: EvaluationSets) -> MetricResult:
    """Compute the likelihood-ratio statistic t per image, and f of each generated image.

    An image with a large f is one of a kind that is more frequent among generated images.
    """
    rng = sets.rng("nplm")
    drawn = draw_equal(sets.features, rng, LIMIT)
    n, size = drawn.train.shape
    pool = np.concatenate(drawn)
    centres = pool[rng.choice(len(pool), min(CENTRES, len(pool)), replace=False)]
    embed = kernel_embedding(centres, WIDTH_QUANTILE)
    rows = embed(pool)
    # No bootstrap: an image drawn twice would count as two that agree.
    compared = compare(likelihood_ratio(rows, PENALTY), n, rng, permutations=sets.permutations, rounds=0)
    is_generated, _, is_held_out = np.repeat(np.eye(3), n, axis=1)[:, None]
    weights = fit_log_ratios(rows, is_generated, is_held_out, PENALTY)
    settings = {"centres": len(centres), "width": WIDTH_QUANTILE, "penalty": PENALTY, "features": size, "limit": LIMIT}
    measurement = compared.measurement(0, "NPLM t per image", lowest=-np.inf, tolerance=size * SHIFT**2)
    log_ratio = (embed(sets.features.generated) @ weights)[:, 0]
    return MetricResult("nplm", (measurement,), settings, per_image={"NPLM log-ratio": log_ratio})


def kernel_embedding(centres: Floats, width_quantile: float) -> Callable[[Floats], Floats]:
    """Return a function from features (n, D) to rows (n, M) whose products approximate kernels.

    Args:
        centres: (M', D) features of some images; M is smaller if several are equal.
        width_quantile: The width of the Gaussians is this quantile of the distances of centres.
    """
    width = float(np.quantile(pdist(centres), width_quantile)) or 1.0

    def kernel(features: Floats) -> Floats:
        return np.exp(-cdist(features, centres, "sqeuclidean") / (2 * width**2))

    values, vectors = np.linalg.eigh(kernel(centres))
    is_positive = values > 1e-10 * values.max()
    root = vectors[:, is_positive] / np.sqrt(values[is_positive])
    return lambda features: kernel(features) @ root


def likelihood_ratio(rows: Floats, penalty: float) -> PooledDistance:
    """Return a function that computes t / n of two sets of n images each, to (R, 1).

    It is t = 2 (sum of f over a - sum of exp(f) - 1 over b), twice the logarithm of the extended
    likelihood ratio.

    Args:
        rows: (N, M) embedded features of the pool.
        penalty: Weight of the ridge penalty.
    """

    def distance(a: Ints, b: Ints) -> Floats:
        in_a, in_b = count(a, len(rows)), np.broadcast_to(count(b, len(rows)), (len(a), len(rows)))
        f = (rows @ fit_log_ratios(rows, in_a, in_b, penalty)).T
        return (2 * (in_a * f - in_b * np.expm1(f)).sum(1) / a.shape[1])[:, None]

    return distance


def fit_log_ratios(rows: Floats, in_a: Floats, in_b: Floats, penalty: float) -> Floats:
    """Fit logistic regressions that distinguish images of a from those of b, with a ridge penalty.

    All pairs of sets are fitted at once. Each step is that of Newton's method with an upper bound
    of the Hessian, which all pairs share, in place of the Hessian, so that no step overshoots
    (Boehning and Lindsay, Ann. Inst. Statist. Math. 40 (1988) 641).

    Args:
        rows: (N, M) embedded features of the pool.
        in_a: (R, N) 1 for images of a, 0 for others.
        in_b: (R, N) 1 for images of b.
        penalty: Weight of the penalty, half the squared length of the weights.

    Returns:
        (M, R) weights.
    """
    inverse = np.linalg.inv(rows.T @ rows / 4 + penalty * np.eye(rows.shape[1]))
    weights = np.zeros((rows.shape[1], len(in_a)))
    is_a, is_either = in_a.T, (in_a + in_b).T
    for _ in range(STEPS):
        weights += inverse @ (rows.T @ (is_a - is_either * expit(rows @ weights)) - penalty * weights)
    return weights
