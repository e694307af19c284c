"""Distributions of physical quantities, one by one: Wasserstein distance, Kolmogorov-Smirnov statistic and separation power."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.data.sparse import above_threshold
from pgen.metrics.features.observables import RELATIVE_LEAST, Floats, least_scales, scales
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Distance, Histogram, Measure, MetricResult, PerSet, measure

BINS = 30  #: of separation power and of the report's histograms
SPECTRUM_BINS = 64


def physics(sets: EvaluationSets) -> MetricResult:
    """W1 (in standard deviations of held-out images, with a floor: :func:`pgen.metrics.features.observables.scales`), KS and separation power of
    every quantity of an image, of the charge of pixels above the threshold, and of the fraction of blank images."""
    measures: list[Measure] = []
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

    found, units = sets.quantities, sets.quantity_units
    channels = found.train.shape[1]
    scale = scales(found.held_out, least_scales(units))
    for channel in range(channels):
        prefix = f"plane {channel}: " if channels > 1 else ""
        for k, (name, unit) in enumerate(units.items()):
            rows = PerSet(*(each[:, channel, k] for each in found))
            edges = _edges(rows)
            add(prefix + name, unit, rows, _of_values(scale[channel, k], edges), edges, PerSet(*(_counts(each, edges) for each in rows)))
            means[prefix + name] = {key: _mean(values) for key, values in rows._asdict().items()}
            per_image[prefix + name] = rows.generated
        spectrum, edges = _spectrum(sets, channel)
        add(
            f"{prefix}pixel charge",
            "charge",
            spectrum,
            _of_counts(spectrum.held_out, edges),
            edges,
            PerSet(*(each.sum(0) for each in spectrum)),
        )
    blank = PerSet(*((each[..., 1] == 0).all(1).astype(float) for each in found))
    measures.append(measure("blank images", lambda a, b: float(abs(a.mean() - b.mean())), blank, rng, highest=1.0))
    # First what sums up the others, of the same images at once.
    joint = PerSet(*((values / scale).reshape(len(values), -1) for values in found))

    def mean(a: Floats, b: Floats) -> float:
        return float(np.nanmean([w1(_known(x), _known(y)) for x, y in zip(a.T, b.T, strict=True)]))

    mean_w1 = measure("mean W1", mean, joint, rng)
    return MetricResult(
        "physics",
        (mean_w1, *measures),
        {"threshold": sets.threshold, "bins": BINS},
        {"mean": means},
        histograms=tuple(histograms),
        per_image=per_image,
    )


def _of_values(scale: float, edges: Floats) -> dict[str, Distance]:
    """Distances of samples (n,), in which NaN is no value."""
    return {
        "W1": lambda a, b: w1(_known(a), _known(b)) / scale,
        "KS": lambda a, b: ks(_known(a), _known(b)),
        "separation": lambda a, b: separation(_counts(a, edges), _counts(b, edges)),
    }


def _of_counts(held_out: npt.NDArray, edges: Floats) -> dict[str, Distance]:
    """Distances of what histograms (n, B) of n images count together."""
    widths = np.diff(edges)
    scale = max(_spread(held_out.sum(0), edges), RELATIVE_LEAST * float(np.abs(edges).max())) or 1.0
    return {
        "W1": lambda a, b: float((np.abs(_cdf(a) - _cdf(b)) * widths).sum()) / scale,
        "KS": lambda a, b: float(np.abs(_cdf(a) - _cdf(b)).max()),
        "separation": lambda a, b: separation(a.sum(0), b.sum(0)),
    }


def w1(a: Floats, b: Floats) -> float:
    """The 1-D Wasserstein distance of two samples, in their own unit; NaN where one is empty."""
    return float(stats.wasserstein_distance(a, b)) if len(a) and len(b) else np.nan


def ks(a: Floats, b: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov statistic; NaN where a sample is empty."""
    if not len(a) or not len(b):
        return np.nan
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max())


def separation(a: npt.NDArray, b: npt.NDArray) -> float:
    """Separation power of two histograms (B,): half the sum of (p - q)^2 / (p + q), 0 for equal and 1 for disjoint ones (CaloChallenge,
    arXiv:2410.21611)."""
    p, q = (counts / max(1, counts.sum()) for counts in (a, b))
    both = p + q
    return float(0.5 * np.sum((p - q) ** 2 / np.where(both > 0, both, 1)))


def _mean(values: Floats) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _edges(rows: PerSet) -> Floats:
    """Bins between the 0.1 % quantiles of real images; what lies beyond is in the outermost, which have no end."""
    real = _known(np.concatenate([rows.train, rows.held_out]))
    low, high = np.quantile(real, [0.001, 0.999]) if len(real) else (0.0, 1.0)
    return _bins(real, float(low), float(high), BINS)


def _bins(values: npt.NDArray, low: float, high: float, most: int) -> Floats:
    """Equal bins from ``low`` to ``high``, ``most`` at most; of values that are whole numbers as many in each."""
    span = high - low if high > low else 1.0
    if not np.array_equal(values, np.rint(values)):
        return np.linspace(low, low + span, most + 1)
    first = np.floor(low)
    width = np.ceil((np.ceil(span) + 1) / most)
    return np.asarray(first - 0.5 + width * np.arange(np.ceil((high - first + 1) / width) + 1), np.float64)


def _counts(values: Floats, edges: Floats) -> npt.NDArray:
    return np.histogram(_known(values).clip(edges[0], edges[-1]), edges)[0]


def _spectrum(sets: EvaluationSets, channel: int) -> tuple[PerSet, Floats]:
    """(N, B) how many lit pixels of each image have a charge in each bin, of one channel."""
    lit = sets.held_out[:, channel][above_threshold(sets.held_out[:, channel], sets.threshold)]
    low, top = (float(lit.min()), float(np.quantile(lit, 0.999))) if lit.size else (sets.threshold, sets.threshold + 1)
    edges = _bins(lit, float(np.quantile(lit, 0.001)) if low < 0 else low, top, SPECTRUM_BINS)
    bins = len(edges) - 1

    def counts(images: npt.NDArray) -> npt.NDArray:
        image, row, column = np.nonzero(above_threshold(images[:, channel], sets.threshold))
        flat_index = np.clip(np.searchsorted(edges, images[image, channel, row, column]) - 1, 0, bins - 1)
        return np.bincount(image * bins + flat_index, minlength=len(images) * bins).reshape(len(images), bins)

    return sets.rows(counts), edges


def _cdf(counts: npt.NDArray) -> Floats:
    total = counts.sum(0)
    return np.cumsum(total) / max(1, total.sum())


def _spread(counts: npt.NDArray, edges: Floats) -> float:
    """The standard deviation of what a histogram counts."""
    middle = (edges[1:] + edges[:-1]) / 2
    mean = np.average(middle, weights=counts) if counts.sum() else 0.0
    return float(np.sqrt(np.average((middle - mean) ** 2, weights=counts))) if counts.sum() else 0.0
