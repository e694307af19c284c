"""Marginal distributions of physical quantities, compared by W1, KS and separation power."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.data.sparse import above_threshold
from pgen.metrics.features.observables import RELATIVE_SCALE_FLOOR, Floats, scale_floors, scales
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Distance, Histogram, Measurement, MetricResult, PerSet, measure

BINS = 30  #: for separation power and the histograms of the report
SPECTRUM_BINS = 64


def physics(sets: EvaluationSets) -> MetricResult:
    """Compare the distributions of physical quantities and pixel charge, and the blank fraction.

    W1 is in standard deviations of held-out images, see
    :func:`pgen.metrics.features.observables.scales`.
    """
    measures: list[Measurement] = []
    histograms: list[Histogram] = []
    means: dict[str, dict[str, float | None]] = {}
    per_image: dict[str, npt.NDArray] = {}
    rng = sets.rng("physics")

    def add(name: str, unit: str, rows: PerSet, distances: Mapping[str, Distance], edges: Floats, counts: PerSet) -> None:
        measures.extend(
            measure(f"{name} {kind}", distance, rows, rng, headline=kind == "W1", highest=np.inf if kind == "W1" else 1.0)
            for kind, distance in distances.items()
        )
        histograms.append(Histogram(name, unit.replace("charge", sets.unit), edges, counts))

    values, units = sets.quantities, sets.quantity_units
    channels = values.train.shape[1]
    scale = scales(values.held_out, scale_floors(units))
    for channel in range(channels):
        prefix = f"plane {channel}: " if channels > 1 else ""
        for k, (name, unit) in enumerate(units.items()):
            rows = PerSet(*(of_set[:, channel, k] for of_set in values))
            edges = _bin_edges(rows)
            counts = PerSet(*(_histogram(of_set, edges) for of_set in rows))
            add(prefix + name, unit, rows, _sample_distances(scale[channel, k], edges), edges, counts)
            means[prefix + name] = {key: _mean(of_set) for key, of_set in rows._asdict().items()}
            per_image[prefix + name] = rows.generated
        spectrum, edges = _spectrum(sets, channel)
        total = PerSet(*(of_set.sum(0) for of_set in spectrum))
        add(f"{prefix}pixel charge", "charge", spectrum, _histogram_distances(spectrum.held_out, edges), edges, total)
    blank = PerSet(*((of_set[..., 1] == 0).all(1).astype(float) for of_set in values))
    measures.append(measure("blank images", lambda a, b: float(abs(a.mean() - b.mean())), blank, rng, highest=1.0))
    # A summary of the others, from the same images for all quantities.
    joint = PerSet(*((of_set / scale).reshape(len(of_set), -1) for of_set in values))

    def mean_distance(a: Floats, b: Floats) -> float:
        return float(np.nanmean([w1(_defined(x), _defined(y)) for x, y in zip(a.T, b.T, strict=True)]))

    mean_w1 = measure("mean W1", mean_distance, joint, rng)
    return MetricResult(
        "physics",
        (mean_w1, *measures),
        {"threshold": sets.threshold, "bins": BINS},
        {"mean": means},
        histograms=tuple(histograms),
        per_image=per_image,
    )


def _sample_distances(scale: float, edges: Floats) -> dict[str, Distance]:
    """Return the distances of samples (n,), without values that are NaN."""
    return {
        "W1": lambda a, b: w1(_defined(a), _defined(b)) / scale,
        "KS": lambda a, b: ks(_defined(a), _defined(b)),
        "separation": lambda a, b: separation(_histogram(a, edges), _histogram(b, edges)),
    }


def _histogram_distances(held_out: npt.NDArray, edges: Floats) -> dict[str, Distance]:
    """Return the distances of the summed histograms (n, B) of n images."""
    widths = np.diff(edges)
    scale = max(_histogram_std(held_out.sum(0), edges), RELATIVE_SCALE_FLOOR * float(np.abs(edges).max())) or 1.0
    return {
        "W1": lambda a, b: float((np.abs(_cdf(a) - _cdf(b)) * widths).sum()) / scale,
        "KS": lambda a, b: float(np.abs(_cdf(a) - _cdf(b)).max()),
        "separation": lambda a, b: separation(a.sum(0), b.sum(0)),
    }


def w1(a: Floats, b: Floats) -> float:
    """Compute the 1-D Wasserstein distance of two samples (n,) and (m,); NaN if one is empty."""
    return float(stats.wasserstein_distance(a, b)) if len(a) and len(b) else np.nan


def ks(a: Floats, b: Floats) -> float:
    """Compute the two-sample Kolmogorov-Smirnov statistic; NaN if a sample is empty."""
    if not len(a) or not len(b):
        return np.nan
    # The number of scipy.stats.ks_2samp, in 4 to 55 % of its time, which matters in a bootstrap.
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max())


def separation(a: npt.NDArray, b: npt.NDArray) -> float:
    """Compute the separation power of two histograms (B,), half the sum of (p - q)^2 / (p + q).

    It is 0 for equal and 1 for disjoint histograms (CaloChallenge, arXiv:2410.21611).
    """
    p, q = (counts / max(1, counts.sum()) for counts in (a, b))
    both = p + q
    return float(0.5 * np.sum((p - q) ** 2 / np.where(both > 0, both, 1)))


def _mean(values: Floats) -> float | None:
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else None


def _defined(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _bin_edges(rows: PerSet) -> Floats:
    """Return bins between the 0.1 % and 99.9 % quantiles of real images.

    The outermost bins also count all values beyond.
    """
    real = _defined(np.concatenate([rows.train, rows.held_out]))
    low, high = np.quantile(real, [0.001, 0.999]) if len(real) else (0.0, 1.0)
    return _equal_bins(real, float(low), float(high), BINS)


def _equal_bins(values: npt.NDArray, low: float, high: float, most: int) -> Floats:
    """Return at most ``most`` equal bins from ``low`` to ``high``.

    For integer values, each has the same number of integers.
    """
    span = high - low if high > low else 1.0
    if not np.array_equal(values, np.rint(values)):
        return np.linspace(low, low + span, most + 1)
    first = np.floor(low)
    width = np.ceil((np.ceil(span) + 1) / most)
    return np.asarray(first - 0.5 + width * np.arange(np.ceil((high - first + 1) / width) + 1), np.float64)


def _histogram(values: Floats, edges: Floats) -> npt.NDArray:
    return np.histogram(_defined(values).clip(edges[0], edges[-1]), edges)[0]


def _spectrum(sets: EvaluationSets, channel: int) -> tuple[PerSet, Floats]:
    """Return the charge histogram (N, B) of each image's pixels in one channel, and its edges."""
    pixels = sets.held_out[:, channel]
    charge = pixels[above_threshold(pixels, sets.threshold)]
    low, top = (float(charge.min()), float(np.quantile(charge, 0.999))) if charge.size else (sets.threshold, sets.threshold + 1)
    edges = _equal_bins(charge, float(np.quantile(charge, 0.001)) if low < 0 else low, top, SPECTRUM_BINS)
    bins = len(edges) - 1

    def counts(images: npt.NDArray) -> npt.NDArray:
        image, row, column = np.nonzero(above_threshold(images[:, channel], sets.threshold))
        bin_index = np.clip(np.searchsorted(edges, images[image, channel, row, column]) - 1, 0, bins - 1)
        return np.bincount(image * bins + bin_index, minlength=len(images) * bins).reshape(len(images), bins)

    return sets.rows(counts), edges


def _cdf(counts: npt.NDArray) -> Floats:
    total = counts.sum(0)
    return np.cumsum(total) / max(1, total.sum())


def _histogram_std(counts: npt.NDArray, edges: Floats) -> float:
    """Return the standard deviation of a histogram (B,)."""
    middle = (edges[1:] + edges[:-1]) / 2
    mean = np.average(middle, weights=counts) if counts.sum() else 0.0
    return float(np.sqrt(np.average((middle - mean) ** 2, weights=counts))) if counts.sum() else 0.0
