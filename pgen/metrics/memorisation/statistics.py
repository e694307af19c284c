"""Statistical tests for copies, given nearest-neighbour distances to the training images.

A Z is a Mann-Whitney Z of generated against held-out images: about N(0, 1) for a perfect model,
negative if generated images lie closer to train. It is C_T of Meehan, Chaudhuri, Dasgupta, "A
non-parametric test to detect data-copying in generative models", arXiv:2004.05675.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.metrics.validation import Result

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: An image closer to train than this quantile of the null counts as a copy.
NULL_LEVEL = 0.01
#: A Z below it is evidence: its probability by chance is about one in a thousand.
SIGNIFICANT = -3.0
#: A stratum needs as many images of either set for its Z to be nearly normal.
_STRATUM = 10


@dataclass(frozen=True)
class Stratum(Result):
    """One stratum of image space.

    Attributes:
        generated: Number of generated images in it.
        held_out: Number of held-out images.
        z: Their Z.
    """

    generated: int
    held_out: int
    z: float


@dataclass(frozen=True)
class Stratified(Result):
    """Generated against held-out images within strata.

    Only strata with 10 images of both sets count.

    Attributes:
        z: Combined Z (van Elteren); NaN if no stratum counts.
        c_t: Mean Z of the strata, weighted by their generated images (Meehan et al.).
        worst: The most negative Z of a stratum, which shows copying in one corner of image space.
        coverage: Fraction of the generated images in these strata.
        strata: The strata.
    """

    z: float
    c_t: float
    worst: float
    coverage: float
    strata: tuple[Stratum, ...]


_NO_STRATA = Stratified(np.nan, np.nan, np.nan, 0.0, ())


@dataclass(frozen=True)
class Memorisation(Result):
    """Test results for one distance.

    If a set has no images, all numbers except ``compared`` are NaN.

    Attributes:
        compared: Number of generated images.
        cutoff: 1 % quantile of the null: at most 1 % of held-out images are strictly closer to
            train.
        copy_rate: Fraction of generated images strictly closer to train than ``cutoff``.
        copy_interval: Its 95 % Clopper-Pearson interval.
        null_rate: The same fraction of held-out images: 1 %, or less if distances tie.
        copy_rate_matched: Copy rate with the cutoff of held-out images of similar occupancy. A
            global cutoff is set by dim images, which are close to everything, and misses copies of
            bright ones.
        copy_z: Z of ``copy_rate_matched``.
        z: Global Z.
        matched: Z within strata of occupancy.
        cells: Z within k-means strata of image space.
        copying: Whether ``copy_z`` is significant: more images than by chance are as close to train
            as hardly any unseen image of similar occupancy is.
        closer: Whether ``matched.z`` or ``cells.worst`` (corrected for the number of strata) is
            significant: the bulk lies closer to train, as smooth images do without being copies.
            ``z`` does not count, since a model that draws too many dim images has a negative ``z``.
    """

    compared: int
    cutoff: float
    copy_rate: float
    copy_interval: tuple[float, float]
    null_rate: float
    copy_rate_matched: float
    copy_z: float
    z: float
    matched: Stratified
    cells: Stratified
    copying: bool
    closer: bool


@dataclass(frozen=True)
class Reuse(Result):
    """How often generated images have the same nearest training image.

    Attributes:
        largest_share: Fraction of the generated images with the most frequent one.
        effective_number: Inverse Simpson number of nearest training images.
    """

    largest_share: float
    effective_number: float


def memorisation(generated: Floats, held_out: Floats, *, n_pixels: tuple[Ints, Ints], strata: tuple[Ints, Ints]) -> Memorisation:
    """Test distances of generated images to their nearest training image for copies.

    Args:
        generated: (n,) distances.
        held_out: (m,) distances.
        n_pixels: Pixels above threshold of the generated (n,) and the held-out (m,) images.
        strata: Stratum of image space of the generated (n,) and the held-out (m,) images.
    """
    if not min(len(generated), len(held_out)):
        return Memorisation(
            compared=len(generated),
            cutoff=np.nan,
            copy_rate=np.nan,
            copy_interval=(np.nan, np.nan),
            null_rate=np.nan,
            copy_rate_matched=np.nan,
            copy_z=np.nan,
            z=np.nan,
            matched=_NO_STRATA,
            cells=_NO_STRATA,
            copying=False,
            closer=False,
        )
    # Strictly closer than an order statistic: the fraction of the null below cannot exceed 1 %,
    # however many distances tie.
    cutoff = np.sort(held_out)[int(NULL_LEVEL * len(held_out))]
    copies = int((generated < cutoff).sum())

    bins = occupancy_bins(*n_pixels)
    copy_rate_matched, copy_z = matched_copies(generated, held_out, bins)
    matched, by_stratum = compare_within(generated, held_out, bins), compare_within(generated, held_out, strata)
    # Bonferroni: with k strata, one is this low by chance k times as often.
    worst = float(stats.norm.ppf(min(0.5, stats.norm.cdf(by_stratum.worst) * len(by_stratum.strata))))
    return Memorisation(
        compared=len(generated),
        cutoff=float(cutoff),
        copy_rate=copies / len(generated),
        copy_interval=clopper_pearson(copies, len(generated)),
        null_rate=float((held_out < cutoff).mean()),
        copy_rate_matched=copy_rate_matched,
        copy_z=copy_z,
        z=mann_whitney_z(generated, held_out),
        matched=matched,
        cells=by_stratum,
        copying=copy_z < SIGNIFICANT,
        closer=any(z < SIGNIFICANT for z in (matched.z, worst)),
    )


def clopper_pearson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % Clopper-Pearson interval of a fraction ``count`` / n; NaN if n = 0."""
    if not n:
        return np.nan, np.nan
    interval = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def matched_copies(generated: Floats, held_out: Floats, strata: tuple[Ints, Ints]) -> tuple[float, float]:
    """Compute the fraction of generated distances below the cutoff of their stratum, and its Z.

    The cutoff is the 1 % quantile of held-out distances.

    If generated distances are distributed like the m held-out ones, the number of n that is below
    the k-th smallest is beta-binomial(n, k, m + 1 - k), whatever the distribution; ties only make
    it smaller. So mean and variance of Z are exact even if the cutoff is the smallest of a few.
    Negative Z: more copies than expected. Both are NaN if no generated image shares a stratum with
    a held-out one.
    """
    labels, other = strata
    copies = compared = 0
    expected = variance = 0.0
    for label in np.unique(labels[labels >= 0]):
        a, b = generated[labels == label], np.sort(held_out[other == label])
        if not len(b):
            continue
        k = max(1, int(NULL_LEVEL * (len(b) + 1)))
        below = stats.betabinom(len(a), k, len(b) + 1 - k)
        copies, compared = copies + int((a < b[k - 1]).sum()), compared + len(a)
        expected, variance = expected + float(below.mean()), variance + float(below.var())
    return (copies / compared, (expected - copies) / variance**0.5) if compared else (np.nan, np.nan)


def mann_whitney_z(a: npt.NDArray, b: npt.NDArray) -> float:
    """Compute Z of the Mann-Whitney U of ``a`` (n,) against ``b`` (m,), corrected for ties.

    It is negative if ``a`` is smaller, 0 if all tie.
    """
    deviation, variance = _mann_whitney(a, b)
    return deviation / variance**0.5 if variance > 0 else 0.0


def compare_within(generated: npt.NDArray, held_out: npt.NDArray, strata: tuple[Ints, Ints]) -> Stratified:
    """Compare values (n,) and (m,) within strata, given by number for each value.

    Values with a negative number are left out.
    """
    labels, other = strata
    results: list[Stratum] = []
    deviation = variance = 0.0
    for label in np.unique(labels[labels >= 0]):
        a, b = generated[labels == label], held_out[other == label]
        if min(len(a), len(b)) < _STRATUM:
            continue
        results.append(Stratum(len(a), len(b), mann_whitney_z(a, b)))
        weight = 1 / (len(a) + len(b) + 1)
        moments = _mann_whitney(a, b)
        deviation, variance = deviation + weight * moments[0], variance + weight**2 * moments[1]
    if not results:
        return _NO_STRATA
    sizes, scores = np.array([stratum.generated for stratum in results]), np.array([stratum.z for stratum in results])
    return Stratified(
        z=deviation / variance**0.5 if variance > 0 else 0.0,
        c_t=float(np.average(scores, weights=sizes)),
        worst=float(scores.min()),
        coverage=float(sizes.sum() / len(generated)),
        strata=tuple(results),
    )


def occupancy_bins(generated: Ints, held_out: Ints) -> tuple[Ints, Ints]:
    """Bin images by their pixels above threshold.

    There are up to 20 bins, each with at least 100 held-out images, so that it has a 1 % quantile.
    Images with more pixels than all held-out ones belong to the last bin: more pixels can differ,
    so one that is as close is all the more a copy. Images with fewer pixels are close to
    everything, and are not compared.

    Args:
        generated: (n,) pixels above threshold.
        held_out: (m,) the same.

    Returns:
        Bin numbers (n,) and (m,); -1 for images that are not compared.
    """
    count = int(np.clip(len(held_out) // 100, 1, 20))
    edges = np.unique(np.quantile(held_out, np.linspace(0, 1, count + 1)))

    def bins(n_pixels: Ints) -> Ints:
        return np.where(n_pixels >= edges[0], np.searchsorted(edges[1:-1], n_pixels, side="right"), -1)

    return bins(generated), bins(held_out)


def authenticity(distance: Floats, neighbour_distance: Floats) -> float:
    """Compute AuthPct, the fraction of authentic images.

    An image is authentic if it is farther from its nearest training image than that is from the
    rest of train.

    Alaa et al., "How faithful is your synthetic data?", arXiv:2102.08921. NaN for no images.

    Args:
        distance: (n,) from each image to its nearest training image.
        neighbour_distance: (n,) from that training image to the nearest other one.
    """
    return float((neighbour_distance < distance).mean()) if len(distance) else np.nan


def reuse(index: Ints) -> Reuse:
    """Compute the reuse of training images from the index (n,) of each image's nearest one.

    NaN for no images.
    """
    if not len(index):
        return Reuse(np.nan, np.nan)
    fraction = np.unique(index, return_counts=True)[1] / len(index)
    return Reuse(float(fraction.max()), float(1 / (fraction**2).sum()))


def _mann_whitney(a: npt.NDArray, b: npt.NDArray) -> tuple[float, float]:
    """Return U - E[U] and Var[U] under the hypothesis that the sets do not differ."""
    n, m = len(a), len(b)
    ranks = stats.rankdata(np.concatenate([a, b]))
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    deviation = ranks[:n].sum() - n * (n + m + 1) / 2
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    return float(deviation), float(variance)
