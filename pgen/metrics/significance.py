"""Is a value different from its floor? Permutation tests, calibrated intervals, and Holm's method.

If generated images were real ones, generated and training images could be exchanged: the test
permutes them, with held-out images as the common reference, and is exact for any distance and any
number of images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.metrics.results import LEVEL, Measurement, PerSet, draw_equal

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
#: Distances of R pairs of sets, from indices (R, n) and (R or 1, n) of images in a pool of
#: generated, training and held-out images, in this order: (R, K) for K distances at once.
PooledDistance = Callable[[Ints, Ints], Floats]
#: Distance of two sets, each given as one row of values per image.
Distance = Callable[[npt.NDArray, npt.NDArray], float]
Key = TypeVar("Key")

#: Permutations, and rounds of the bootstrap, unless a metric can only afford fewer.
PERMUTATIONS, ROUNDS = 999, 100
#: Half width of a 95 % interval in standard deviations.
WIDTH = 1.96
#: Pairs of sets in one call of a distance.
CHUNK = 32
#: Two statistics closer than this, relative to the largest, are equal up to rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Comparison:
    """K distances of generated and of training images from held-out ones.

    Attributes:
        n: Images of each set.
        value: (K,) generated against held-out images.
        floor: (K,) training against held-out images.
        p_value: (K,) of the permutation test, two-sided.
        half_width: (K,) half of the 95 % interval of value - floor.
    """

    n: int
    value: Floats
    floor: Floats
    p_value: Floats
    half_width: Floats

    def measurement(self, k: int, name: str, *, lowest: float = 0.0, highest: float = np.inf, **options: Any) -> Measurement:
        """Return distance ``k`` as a measurement, its interval within what the distance can be."""
        value, half = float(self.value[k]), float(self.half_width[k])
        interval = (max(lowest, value - half), min(highest, value + half)) if math.isfinite(half) else (math.nan, math.nan)
        return Measurement(name, value, float(self.floor[k]), interval, self.n, p_value=float(self.p_value[k]), **options)


def compare(
    distance: PooledDistance, n: int, rng: np.random.Generator, *, permutations: int = PERMUTATIONS, rounds: int = ROUNDS
) -> Comparison:
    """Test whether distances differ from their floors, and compute intervals of the differences.

    The statistic is S = d(G, H) - d(T, H) of generated, training and held-out images. Under the
    null hypothesis, G and T may be permuted; p is the fraction of permutations with |S| as large,
    counting the images as they are (Phipson and Smyth, 2010, so p is never 0). Where less than one
    permutation in a hundred has, the tail is extrapolated, so that a p-value can remain small after
    Holm's method over many measures.

    The interval S ± w inverts this test: w is the 95 % quantile of |S| over permutations, so that
    under the null hypothesis it covers 0 in 95 of 100 cases. Permutations keep H and mix G and T,
    which leaves out a part of the variance where the sets differ. It is that of a bootstrap over
    all three sets, less that of the same bootstrap of permuted sets, where distances are inflated
    alike.

    Args:
        distance: Function of indices into a pool of 3n images: G, T, H.
        n: Images of each set.
        rng: Random numbers.
        permutations: Number of permutations; 0 to compute values only.
        rounds: Rounds of the bootstrap; 0 to leave that part out.
    """
    generated, train, held_out = np.arange(3 * n, dtype=np.int64).reshape(3, 1, n)
    value, floor = distance(generated, held_out)[0], distance(train, held_out)[0]
    if not permutations:
        unknown = np.full_like(value, np.nan)
        return Comparison(n, value, floor, unknown, unknown)
    statistic = np.abs(value - floor)
    null = np.concatenate([np.abs(distance(p[:, :n], held_out) - distance(p[:, n:], held_out)) for p in _permute(2 * n, permutations, rng)])
    at_least = null >= statistic - ROUNDING * np.maximum(np.abs(value), np.abs(floor))
    undefined = np.isnan(statistic)
    p_value = (1 + at_least.sum(0)) / (1 + permutations)
    for k in np.flatnonzero(at_least.sum(0) < permutations // 100):
        p_value[k] = min(p_value[k], _extrapolate_tail(null[:, k], statistic[k]))
    p_value = np.where(undefined, np.nan, p_value)
    variance = (np.nanquantile(np.where(undefined, 0, null), 1 - LEVEL, axis=0, method="higher") / WIDTH) ** 2
    if rounds:
        variance = variance + _extra_variance(distance, n, rng, rounds)
    return Comparison(n, value, floor, p_value, np.where(undefined, np.nan, WIDTH * np.sqrt(variance)))


def measure(
    name: str,
    distance: Distance,
    rows: PerSet,
    rng: np.random.Generator,
    *,
    permutations: int = PERMUTATIONS,
    rounds: int = ROUNDS,
    limit: int | None = None,
    better: Literal["low", "high"] = "low",
    lowest: float = 0.0,
    highest: float = np.inf,
    headline: bool = True,
    unclear: str = "",
    tolerance: float = math.nan,
) -> Measurement:
    """Measure a distance of generated from held-out images, with its floor, test and interval.

    The same number of images is drawn from each set. The floor is the distance of training from
    held-out images. Test and interval are those of :func:`compare`.

    Args:
        name: Name of the measurement.
        distance: Function of two arrays of rows (n, ...) to a number; called 2 + 2
            ``permutations`` + 4 ``rounds`` times.
        rows: One row per image of each set, see :meth:`EvaluationSets.rows`.
        rng: Random numbers, see :meth:`EvaluationSets.rng`.
        permutations: Permutations of generated and training images.
        rounds: Rounds of the bootstrap. 0 for a distance in which an image drawn twice would be its
            own neighbour, or for one that takes long.
        limit: Maximum number of images of each set.
        better: Whether low or high values are good.
        lowest: Lower limit of what ``distance`` can return.
        highest: Upper limit, such as 1 for a fraction.
        headline: Whether to show it first; others are details.
        unclear: See :class:`Measurement`.
        tolerance: See :class:`Measurement`.
    """
    drawn = draw_equal(rows, rng, limit)
    pool, n = np.concatenate(drawn), len(drawn.train)

    def distances(a: Ints, b: Ints) -> npt.NDArray[np.float64]:
        return np.array([[distance(pool[i], pool[j])] for i, j in zip(a, np.broadcast_to(b, (len(a), n)), strict=True)])

    compared = compare(distances, n, rng, permutations=permutations, rounds=rounds)
    options: dict[str, Any] = {"better": better, "headline": headline, "unclear": unclear, "tolerance": tolerance}
    return compared.measurement(0, name, lowest=lowest, highest=highest, **options)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjust p-values so that 5 % is the probability of one false rejection or more.

    Holm, Scandinavian Journal of Statistics 6 (1979) 65. It holds whatever the tests depend on.
    NaN stays NaN and does not count.
    """
    tested = sorted((p, i, key) for i, (key, p) in enumerate(p_values.items()) if np.isfinite(p))
    adjusted: dict[Key, float] = dict.fromkeys(p_values, np.nan)
    largest = 0.0
    for rank, (p, _, key) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[key] = largest
    return adjusted


def _extrapolate_tail(null: Floats, statistic: float) -> float:
    """Estimate a p-value beyond what permutations (B,) resolve.

    The excess over the 90 % quantile is described by a generalised Pareto distribution, by its
    moments (Knijnenburg et al., Bioinformatics 25 (2009) i161). A tail that ends is replaced by an
    exponential one, which gives larger p-values.
    """
    ordered = np.sort(null)
    start = ordered[int(0.9 * len(ordered))]
    excess = ordered[ordered > start] - start
    if len(excess) < 10 or not statistic > start:
        return 1.0
    mean, variance = excess.mean(), excess.var()
    shape = max(0.0, 0.5 * (1 - mean**2 / variance)) if variance > 0 else 0.0
    return float(len(excess) / len(null) * stats.genpareto.sf(statistic - start, shape, scale=mean * (1 - shape)))


def _extra_variance(distance: PooledDistance, n: int, rng: np.random.Generator, rounds: int) -> Floats:
    """Return the variance (K,) of S that differences between the sets add."""
    of_sets, of_permuted = [], []
    for permuted in _permute(2 * n, rounds, rng):
        count = len(permuted)
        g, t, h = rng.integers(n, size=(3, count, n))
        h += 2 * n
        of_sets.append(distance(g, h) - distance(t + n, h))
        g, t = (np.take_along_axis(permuted, indices, 1) for indices in (g, t + n))
        of_permuted.append(distance(g, h) - distance(t, h))
    with warnings.catch_warnings():
        # A resampled set may hold none of the images that a distance is defined for.
        warnings.simplefilter("ignore", RuntimeWarning)
        actual, null = (np.nanvar(np.concatenate(values), axis=0) for values in (of_sets, of_permuted))
    return np.nan_to_num(np.maximum(0.0, actual - null))


def _permute(n: int, count: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield ``count`` permutations of n indices, as (R, n) with R up to CHUNK."""
    for start in range(0, count, CHUNK):
        yield rng.permuted(np.tile(np.arange(n, dtype=np.int64), (min(CHUNK, count - start), 1)), axis=1)
