"""Distances of many pairs of sets drawn from one pool of images, as permutation tests need them.

What does not depend on the sets, such as the order of the values or a matrix of kernels, is
computed once. All are of the form :data:`pgen.metrics.significance.PooledDistance`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgen.metrics.significance import PooledDistance
from pgen.utils.caches import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def marginal_distances(values: Floats, edges: list[Floats] | None = None) -> PooledDistance:
    """Return a function that computes W1, KS and separation power of K quantities.

    Args:
        values: (N, K) of all images of the pool; NaN if undefined, which leaves the image out.
        edges: Bin edges of each quantity for the separation power; values beyond belong to the
            outermost bins, and the last edge to the last bin. None for one bin, whose separation
            power is 0.

    Returns:
        A function to (R, 3 K): all W1, then all KS, then all separation powers. NaN where no image
        of a set has the quantity.
    """
    order = np.argsort(values, axis=0, kind="stable").T  # NaN last
    ordered = np.take_along_axis(values.T, order, 1)
    defined = np.count_nonzero(~np.isnan(ordered), axis=1)
    steps = np.diff(ordered, axis=1, append=np.nan)
    steps = np.where(np.isnan(steps), 0, steps)
    bins = np.zeros(ordered.shape, np.int64)
    for k, of_quantity in enumerate(edges or ()):
        bins[k] = np.clip(np.searchsorted(of_quantity, ordered[k], "right") - 1, 0, len(of_quantity) - 2)
    order, steps = np.ascontiguousarray(order), np.ascontiguousarray(steps)

    def distance(a: Ints, b: Ints) -> Floats:
        counts_a, counts_b = count(a, len(values)), count(b, len(values))
        out = np.empty((len(a), 3, len(order)))
        for r in range(len(a)):
            compare_cdfs(order, steps, bins, defined, counts_a[r], counts_b[min(r, len(b) - 1)], out[r])
        return out.reshape(len(a), -1)

    return distance


@compiled()
def compare_cdfs(order, steps, bins, defined, a, b, out):  # type: ignore[no-untyped-def]
    """Compute W1, KS and separation power (3, K) of two sets of a pool.

    Args:
        order: (K, N) images by increasing value.
        steps: (K, N) differences to the next value; 0 after the last.
        bins: (K, N) bin of each value.
        defined: (K,) number of values that are defined; they come first.
        a: (N,) how often each image is in one set.
        b: (N,) the same for the other.
        out: (3, K) result.
    """
    for k in range(order.shape[0]):
        total_a = total_b = 0.0
        for i in range(defined[k]):
            total_a += a[order[k, i]]
            total_b += b[order[k, i]]
        if total_a == 0 or total_b == 0:
            out[:, k] = np.nan
            continue
        sum_a = sum_b = before_a = before_b = w1 = ks = separation = 0.0
        for i in range(defined[k]):
            image = order[k, i]
            sum_a += a[image]
            sum_b += b[image]
            last = i + 1 == defined[k]
            difference = abs(sum_a / total_a - sum_b / total_b)
            w1 += difference * steps[k, i]
            if difference > ks and (last or steps[k, i] > 0):
                ks = difference
            if last or bins[k, i + 1] != bins[k, i]:
                p, q = (sum_a - before_a) / total_a, (sum_b - before_b) / total_b
                if p + q > 0:
                    separation += 0.5 * (p - q) ** 2 / (p + q)
                before_a, before_b = sum_a, sum_b
        out[0, k], out[1, k], out[2, k] = w1, ks, separation


def histogram_distances(histograms: npt.NDArray, edges: Floats) -> PooledDistance:
    """Return a function that computes W1, KS and separation power of summed histograms.

    Args:
        histograms: (N, B) of each image of the pool.
        edges: (B + 1,) bin edges.

    Returns:
        A function to (R, 3), W1 in the unit of the edges.
    """
    widths = np.diff(edges)

    def fractions(indices: Ints) -> Floats:
        sums = count(indices, len(histograms)) @ histograms
        return sums / np.maximum(1, sums.sum(1, keepdims=True))

    def distance(a: Ints, b: Ints) -> Floats:
        p, q = fractions(a), fractions(b)
        difference, both = np.abs(np.cumsum(p - q, 1)), p + q
        separation = 0.5 * ((p - q) ** 2 / np.where(both > 0, both, 1)).sum(1)
        return np.stack([difference @ widths, difference.max(1), separation], 1)

    return distance


def profile_distance(values: Floats, spread: Floats) -> PooledDistance:
    """Return a function that computes how far mean profiles are apart, to (R, 1).

    It is the root mean square over bins of the difference of the means, in units of the spread.

    Args:
        values: (N, B) of each image of the pool; NaN if undefined.
        spread: (B,) spread of each bin over images.
    """
    is_defined = ~np.isnan(values)
    terms = np.concatenate([np.where(is_defined, values, 0), is_defined], 1)

    def means(indices: Ints) -> Floats:
        sums, numbers = np.split(count(indices, len(values)) @ terms, 2, axis=1)
        return sums / np.where(numbers > 0, numbers, np.nan)

    def distance(a: Ints, b: Ints) -> Floats:
        apart = (means(a) - means(b)) / spread
        number = np.count_nonzero(~np.isnan(apart), 1)
        return np.sqrt(np.nansum(apart**2, 1) / np.where(number > 0, number, np.nan))[:, None]

    return distance


def mmd(kernel: Floats) -> PooledDistance:
    """Return a function that computes the unbiased squared MMD, to (R, 1).

    With minus the distances of points as the kernel it is the squared energy distance of Szekely
    and Rizzo. Pairs of an image with itself do not count, also where it was drawn twice.

    Args:
        kernel: (N, N) kernels of all pairs of the pool.
    """
    diagonal = np.diag(kernel)

    def within(counts: Floats, sums: Floats) -> Floats:
        squares = counts**2
        return ((counts * sums).sum(1) - squares @ diagonal) / (counts.sum(1) ** 2 - squares.sum(1))

    def distance(a: Ints, b: Ints) -> Floats:
        counts_a, counts_b = count(a, len(kernel)), count(b, len(kernel))
        sums_a, sums_b = counts_a @ kernel, counts_b @ kernel
        across = (counts_a * sums_b).sum(1) / (a.shape[1] * b.shape[1])
        return (within(counts_a, sums_a) + within(counts_b, sums_b) - 2 * across)[:, None]

    return distance


def count(indices: Ints, size: int) -> Floats:
    """Return how often (R, ``size``) each image is among the indices (R, n)."""
    return np.array([np.bincount(row, minlength=size) for row in indices], dtype=np.float64)
