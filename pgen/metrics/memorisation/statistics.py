"""Is a generated set closer to the training set than unseen real images are? The tests, given nearest-neighbour distances.

A Z is a Mann-Whitney Z, generated against held-out: about N(0, 1) for a perfect model, negative where generated images lie closer
to train. It is C_T of Meehan, Chaudhuri, Dasgupta, "A non-parametric test to detect data-copying in generative models" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.metrics.validation import Result

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULL_LEVEL = 0.01  #: the quantile of the null below which an image counts as a copy
SIGNIFICANT = -3.0  #: a Z below it is evidence: about one chance in a thousand
_STRATUM = 10  # images of either set that a stratum needs for its Z to be near normal


@dataclass(frozen=True)
class Stratum(Result):
    """One part of image space: how many images of either set lie there, and their Z."""

    generated: int
    held_out: int
    z: float


@dataclass(frozen=True)
class Stratified(Result):
    """Generated against held-out images of the same stratum only.

    Attributes:
        z: all strata in one (van Elteren); NaN where no stratum holds 10 images of both sets.
        c_t: the strata's Z, averaged by their share of the generated images (Meehan et al.).
        worst: the most negative Z of a stratum: copying in one corner of image space shows only here.
        coverage: share of the generated images that lie in strata with 10 images of both sets.
        strata: those strata.
    """

    z: float
    c_t: float
    worst: float
    coverage: float
    strata: tuple[Stratum, ...]


@dataclass(frozen=True)
class Memorisation(Result):
    """The verdict of one distance. Where there are no images of either set, all numbers but ``compared`` are NaN.

    Attributes:
        compared: generated images.
        cutoff: the null's 1 % quantile: at most 1 % of held-out images are strictly closer to train than it.
        copy_rate: share of generated images strictly closer to train than ``cutoff``.
        copy_interval: its 95 % Clopper-Pearson interval.
        null_rate: the same share of held-out images: 1 %, or less where distances tie.
        copy_rate_matched: as ``copy_rate``, each image against the cutoff of held-out images of like occupancy: a global cutoff
            is set by dim images, which lie close to everything, and misses copies of bright ones.
        copy_z: Z of ``copy_rate_matched``.
        z: global Z.
        matched: Z against held-out images of like occupancy.
        cells: Z by cell of image space.
        copying: ``copy_z`` is significant: more images than chance has are as near to train as hardly any unseen one of like occupancy.
        closer: ``matched.z`` or ``cells.worst`` (for as many cells as there are) is significant: the bulk lies nearer to train, as
            smooth images do without being copies. ``z`` counts for neither: a model that only draws more of the easy, dim images than
            it should has a negative ``z``.
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
    """How the generated images share out their nearest training images: the largest share of one, and the inverse Simpson number."""

    largest_share: float
    effective_number: float


def memorisation(generated: Floats, held_out: Floats, *, lit: tuple[Ints, Ints], cells: tuple[Ints, Ints]) -> Memorisation:
    """Judge nearest-train distances of generated (n,) against held-out (m,) images.

    Args:
        lit: lit pixels of the generated (n,) and the held-out (m,) images.
        cells: the cell of image space that each of them lies in.
    """
    if not min(len(generated), len(held_out)):
        nothing = Stratified(np.nan, np.nan, np.nan, 0.0, ())
        return Memorisation(
            compared=len(generated),
            cutoff=np.nan,
            copy_rate=np.nan,
            copy_interval=(np.nan, np.nan),
            null_rate=np.nan,
            copy_rate_matched=np.nan,
            copy_z=np.nan,
            z=np.nan,
            matched=nothing,
            cells=nothing,
            copying=False,
            closer=False,
        )
    # Strictly closer than an order statistic: the share of the null below it cannot pass 1 % however many distances tie.
    cutoff = np.sort(held_out)[int(NULL_LEVEL * len(held_out))]
    copies = int((generated < cutoff).sum())
    interval = stats.binomtest(copies, len(generated)).proportion_ci(0.95, method="exact")

    bins = occupancy_bins(*lit)
    copy_rate_matched, copy_z = matched_copies(generated, held_out, bins)
    matched, by_cell = stratified(generated, held_out, bins), stratified(generated, held_out, cells)
    # Bonferroni: with k cells, one is this low by chance k times as often.
    worst = float(stats.norm.ppf(min(0.5, stats.norm.cdf(by_cell.worst) * len(by_cell.strata))))
    return Memorisation(
        compared=len(generated),
        cutoff=float(cutoff),
        copy_rate=copies / len(generated),
        copy_interval=(float(interval.low), float(interval.high)),
        null_rate=float((held_out < cutoff).mean()),
        copy_rate_matched=copy_rate_matched,
        copy_z=copy_z,
        z=mann_whitney_z(generated, held_out),
        matched=matched,
        cells=by_cell,
        copying=copy_z < SIGNIFICANT,
        closer=any(z < SIGNIFICANT for z in (matched.z, worst)),
    )


def matched_copies(generated: Floats, held_out: Floats, strata: tuple[Ints, Ints]) -> tuple[float, float]:
    """Share of (n,) generated distances below the 1 % cutoff of the (m,) held-out ones of their stratum, and its Z.

    Of n distances like the held-out ones, the number below the k-th smallest of those is beta-binomial(n, k, m + 1 - k), whatever
    the distribution; ties only make it smaller. So Z is exact in mean and spread even where the cutoff is the smallest of a few.
    Negative Z: more copies than that. Both are NaN where no generated image shares a stratum with a held-out one.
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
    """Z of the Mann-Whitney U of ``a`` (n,) against ``b`` (m,), corrected for ties: negative where ``a`` is smaller, 0 where all tie."""
    deviation, variance = _mann_whitney(a, b)
    return deviation / variance**0.5 if variance > 0 else 0.0


def stratified(generated: npt.NDArray, held_out: npt.NDArray, strata: tuple[Ints, Ints]) -> Stratified:
    """Compare (n,) and (m,) values within strata, given as the number of the stratum of each; a negative number is left out."""
    labels, other = strata
    found: list[Stratum] = []
    deviation = variance = 0.0
    for label in np.unique(labels[labels >= 0]):
        a, b = generated[labels == label], held_out[other == label]
        if min(len(a), len(b)) < _STRATUM:
            continue
        found.append(Stratum(len(a), len(b), mann_whitney_z(a, b)))
        weight = 1 / (len(a) + len(b) + 1)
        moments = _mann_whitney(a, b)
        deviation, variance = deviation + weight * moments[0], variance + weight**2 * moments[1]
    if not found:
        return Stratified(np.nan, np.nan, np.nan, 0.0, ())
    sizes, scores = np.array([stratum.generated for stratum in found]), np.array([stratum.z for stratum in found])
    return Stratified(
        z=deviation / variance**0.5 if variance > 0 else 0.0,
        c_t=float(np.average(scores, weights=sizes)),
        worst=float(scores.min()),
        coverage=float(sizes.sum() / len(generated)),
        strata=tuple(found),
    )


def occupancy_bins(generated: Ints, held_out: Ints) -> tuple[Ints, Ints]:
    """Strata of like lit count: up to 20 bins, of 100 held-out images or more so that each has a 1 % quantile.

    Images brighter than all held-out ones are compared with the brightest of those: the more pixels, the more may differ, so one that is as
    close as hardly any of these is a copy all the more. Dimmer ones lie close to everything, and are not compared: -1.
    """
    count = int(np.clip(len(held_out) // 100, 1, 20))
    edges = np.unique(np.quantile(held_out, np.linspace(0, 1, count + 1)))

    def bins(lit: Ints) -> Ints:
        return np.where(lit >= edges[0], np.searchsorted(edges[1:-1], lit, side="right"), -1)

    return bins(generated), bins(held_out)


def authenticity(distance: Floats, neighbour_distance: Floats) -> float:
    """AuthPct: share of images that lie farther from their nearest training image than that one does from the rest of train.

    Alaa et al., "How faithful is your synthetic data?" (2022). NaN of no images.

    Args:
        distance: (n,) from each image to its nearest training image.
        neighbour_distance: (n,) from that training image to the nearest other one.
    """
    return float((neighbour_distance < distance).mean()) if len(distance) else np.nan


def reuse(index: Ints) -> Reuse:
    """Reuse of the training images named in ``index`` (n,). NaN of no images."""
    if not len(index):
        return Reuse(np.nan, np.nan)
    share = np.unique(index, return_counts=True)[1] / len(index)
    return Reuse(float(share.max()), float(1 / (share**2).sum()))


def _mann_whitney(a: npt.NDArray, b: npt.NDArray) -> tuple[float, float]:
    """U - E[U] and Var[U] without a difference between the sets."""
    n, m = len(a), len(b)
    ranks = stats.rankdata(np.concatenate([a, b]))
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    deviation = ranks[:n].sum() - n * (n + m + 1) / 2
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    return float(deviation), float(variance)
