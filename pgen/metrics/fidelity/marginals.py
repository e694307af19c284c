"""Marginal distributions of physical quantities, compared by W1, KS and separation power."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pgen.data.sparse import above_threshold
from pgen.metrics.features.observables import RELATIVE_SCALE_FLOOR, SHAPES, Floats, robust_scales, scale_floors
from pgen.metrics.fidelity.pooled_distances import count, histogram_distances, marginal_distances
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Histogram, Measurement, MetricResult, PerSet, draw_equal
from pgen.metrics.significance import Comparison, Ints, compare

BINS = 30  #: for separation power and the histograms of the report
SPECTRUM_BINS = 64
#: Differences that do not matter: a shift of a tenth of a standard deviation, and what it does to
#: the other distances of a Gaussian. For blank images, a fraction of all images.
TOLERANCES = {"W1": 0.1, "KS": 0.04, "separation": 0.0025}
BLANK_TOLERANCE = 0.01


def physics(sets: EvaluationSets) -> MetricResult:
    """Compare the distributions of physical quantities and pixel charge, and the blank fraction.

    W1 is in units of the spread of held-out images, see
    :func:`pgen.metrics.features.observables.robust_scales`. Mean W1 is that of FEATURES,
    without the shapes, which are undefined for many images.
    """
    units, channels = sets.quantity_units, sets.train.shape[1]
    all_values = sets.quantities
    names = [f"{_prefix(channel, channels)}{name}" for channel in range(channels) for name in units]
    # (N, K), the quantities of one channel after the other.
    values = PerSet(*(of_set.reshape(len(of_set), -1) for of_set in all_values))
    scale = robust_scales(all_values.held_out, scale_floors(units)).ravel()
    edges = [bin_edges(values.held_out[:, k]) for k in range(len(names))]
    spectra = [_spectrum(sets, channel) for channel in range(channels)]
    blank = PerSet(*((of_set[..., 1] == 0).all(1).astype(float) for of_set in all_values))

    # One draw and the same permutations for all, so that mean W1 is that of the others.
    rng = sets.rng("physics")
    drawn = draw_equal(PerSet(*(np.arange(len(of_set)) for of_set in values)), rng)

    def pool(rows: PerSet) -> npt.NDArray:
        return np.concatenate([of_set[indices] for of_set, indices in zip(rows, drawn, strict=True)])

    marginals = marginal_distances(pool(values), edges)
    pixels = [histogram_distances(pool(spectrum), spectrum_edges) for spectrum, spectrum_edges in spectra]
    pixel_scale = [_spectrum_scale(spectrum.held_out, spectrum_edges) for spectrum, spectrum_edges in spectra]
    is_blank = pool(blank)
    is_feature = np.tile(np.arange(len(units)) < len(units) - len(SHAPES), channels)

    def distances(a: Ints, b: Ints) -> Floats:
        of_quantities = marginals(a, b).reshape(len(a), 3, -1)
        of_quantities[:, 0] /= scale
        of_pixels = np.stack([distance(a, b) for distance in pixels], 2)
        of_pixels[:, 0] /= pixel_scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no quantity is defined for any image of a set
            mean = np.nanmean(of_quantities[:, 0, is_feature], 1)
        blanks = np.abs(count(a, len(is_blank)) @ is_blank / a.shape[1] - count(b, len(is_blank)) @ is_blank / b.shape[1])
        joined = np.concatenate([of_quantities, of_pixels], 2)
        return np.concatenate([mean[:, None], blanks[:, None], joined.reshape(len(a), -1)], 1)

    compared = compare(distances, len(drawn.train), rng, permutations=sets.permutations)
    measured = [*names, *(f"{_prefix(channel, channels)}pixel charge" for channel in range(channels))]
    measures = measure_marginals(compared, measured, tuple(TOLERANCES), first=2)
    blanks = compared.measurement(1, "blank images", highest=1.0, tolerance=BLANK_TOLERANCE)
    mean_w1 = compared.measurement(0, "mean W1", tolerance=TOLERANCES["W1"])

    def histogram(name: str, unit: str, histogram_edges: Floats, counts: PerSet) -> Histogram:
        return Histogram(name, unit.replace("charge", sets.unit), histogram_edges, counts, is_charge="charge" in unit)

    histograms = [
        histogram(name, unit, edges[k], PerSet(*(count_bins(of_set[:, k], edges[k]) for of_set in values)))
        for k, (name, unit) in enumerate(zip(names, list(units.values()) * channels, strict=True))
    ]
    histograms += [
        histogram(name, "charge", spectrum_edges, PerSet(*(of_set.sum(0) for of_set in spectrum)))
        for name, (spectrum, spectrum_edges) in zip(measured[len(names) :], spectra, strict=True)
    ]
    means = compute_means(values, names)
    of_fractions = [_warn_of_fractions(name, of_sets) for name, of_sets in means.items() if name.endswith("whole charges")]
    return MetricResult(
        "physics",
        (mean_w1, *measures, blanks),
        {"threshold": sets.threshold, "bins": BINS},
        {"mean": means},
        warnings=tuple(filter(None, of_fractions)),
        histograms=tuple(histograms),
        per_image={name: values.generated[:, k] for k, name in enumerate(names)},
    )


def _warn_of_fractions(name: str, means: Mapping[str, float | None]) -> str:
    """Return a warning if real charges are whole numbers and generated ones are not."""
    generated, held_out = means["generated"], means["held_out"]
    if generated is None or held_out is None or held_out < 0.99 or generated > 0.9:
        return ""
    return (
        f"{name}: {held_out:.0%} of the real pixels above threshold hold a whole number, and {generated:.0%} of the generated ones, which "
        "tells them apart at once. Round generated charge before you use it (numpy.rint) where that matters."
    )


def measure_marginals(compared: Comparison, names: Sequence[str], kinds: Sequence[str], *, first: int = 0) -> list[Measurement]:
    """Return the measurements of each quantity in turn.

    Args:
        compared: Distances of one kind after the other, each of all quantities.
        names: Names of the quantities.
        kinds: Kinds of distance, keys of TOLERANCES.
        first: Index of the first of these distances.
    """
    return [
        compared.measurement(
            first + k * len(names) + i,
            f"{name} {kind}",
            headline=kind == "W1",
            highest=math.inf if kind == "W1" else 1.0,
            tolerance=TOLERANCES[kind],
        )
        for i, name in enumerate(names)
        for k, kind in enumerate(kinds)
    ]


def compute_means(values: PerSet, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return name -> set -> mean of the columns of (N, K); None where no image has a value."""
    return {name: {key: _mean(of_set[:, k]) for key, of_set in values._asdict().items()} for k, name in enumerate(names)}


def _mean(values: Floats) -> float | None:
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else None


def _defined(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _prefix(channel: int, channels: int) -> str:
    return f"plane {channel}: " if channels > 1 else ""


def bin_edges(real: Floats) -> Floats:
    """Return bins between the 0.1 % and 99.9 % quantiles of real images.

    The outermost bins also count all values beyond.
    """
    real = _defined(real)
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


def count_bins(values: Floats, edges: Floats) -> npt.NDArray:
    """Count the values (n,) in each bin; those beyond belong to the outermost bins."""
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


def _spectrum_scale(held_out: npt.NDArray, edges: Floats) -> float:
    """Return the scale of pixel charge: half of the central 68 % of the histograms (N, B)."""
    middle, counts = (edges[1:] + edges[:-1]) / 2, held_out.sum(0)
    cdf = np.cumsum(counts) / max(1, counts.sum())
    low, high = (middle[min(int(np.searchsorted(cdf, q)), len(middle) - 1)] for q in (0.16, 0.84))
    return max((high - low) / 2, RELATIVE_SCALE_FLOOR * float(np.abs(edges).max())) or 1.0
