"""The metric `memorisation`: a summary of the Hamming test."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import stats

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import hamming
from pgen.metrics.memorisation.statistics import NULL_LEVEL, Memorisation
from pgen.metrics.results import Histogram, Measurement, MetricResult, PerSet

PAIRS = 16
BINS = 40
#: A difference between fractions of images that does not matter.
TOLERANCE = 0.02


def memorisation(sets: EvaluationSets) -> MetricResult:
    """Compute copy rates and authenticity by both distances; held-out images are the floor.

    The verdict is that of :func:`pgen.metrics.memorisation.hamming.hamming`, which reports copying
    only if both distances do.
    """
    result = hamming(
        sets.generated,
        sets.train,
        sets.held_out,
        thresholds=[sets.threshold],
        seed=sets.seed,
        device=sets.device,
        pairs=PAIRS,
        labels=sets.labels,
    )
    (at,) = result.thresholds
    measures: list[Measurement] = []
    histograms: list[Histogram] = []
    for name, distance in at.distances.items():
        near = PerSet(*(distance.nearest[f"{key}_to_train"].values for key in PerSet._fields))
        top = max(near.train.max(), near.held_out.max())
        edges = np.linspace(0, 1, BINS + 1) if name == "jaccard" else -0.5 + np.arange(BINS + 1) * max(1, np.ceil((top + 1) / BINS))
        # The last bin also counts all values beyond.
        counts = PerSet(*(np.histogram(values.clip(max=edges[-1]), edges)[0] for values in near))
        histograms.append(Histogram(f"nearest in train, {name.capitalize()}", "pixels" if name == "hamming" else "", edges, counts))
        test, n_held_out = distance.memorisation, len(near.held_out)
        # Nothing is closer than the same pixels.
        unclear = "1 % of the held-out images or more are training images too, so that no image can be closer" if test.cutoff == 0 else ""
        copies = _measure_fraction(
            f"copy rate, {name.capitalize()}", test.copy_rate, test.null_rate, test.compared, "low", _p_of_copies(test, n_held_out)
        )
        measures.append(replace(copies, unclear=unclear))
        authentic = distance.authenticity, distance.authenticity_null
        p = _p_of_fractions(*authentic, test.compared, n_held_out)
        measures.append(_measure_fraction(f"authenticity, {name.capitalize()}", *authentic, test.compared, "high", p))
    details = {
        "copying": at.copying,
        "duplicates": at.duplicates,
        "blank rate": at.blank_rate,
        "z": {name: distance.memorisation.z for name, distance in at.distances.items()},
        "c_t": {name: distance.memorisation.cells.c_t for name, distance in at.distances.items()},
        "worst cell z": {name: distance.memorisation.cells.worst for name, distance in at.distances.items()},
        "largest reuse": {name: distance.reuse.largest_share for name, distance in at.distances.items()},
        "copies by group": {name: distance.groups for name, distance in at.distances.items()},
        "planted copies found": {f"{row.share:g}": row.found for row in at.power},
    }
    return MetricResult(
        "memorisation",
        tuple(measures),
        settings={"threshold": sets.threshold, "sizes": result.sizes},
        details=details,
        warnings=(at.verdict,) if at.copying else (),
        notes=() if at.copying else (at.verdict,),
        histograms=tuple(histograms),
        pairs=tuple((pair.generated, pair.train, f"Jaccard {pair.jaccard:.2f}, Hamming {pair.hamming}") for pair in at.pairs),
        copy_rate=min(distance.memorisation.copy_rate for distance in at.distances.values()),
    )


def _p_of_copies(test: Memorisation, n_held_out: int) -> float:
    """Return the probability of as many copies if generated images were real ones.

    Of generated and held-out images in random order of their distance, as many generated ones come
    before the held-out one that is the cutoff: a negative hypergeometric number. It is exact
    without ties, and otherwise too large.
    """
    copies, below = round(test.copy_rate * test.compared), int(NULL_LEVEL * n_held_out)
    return float(stats.nhypergeom.sf(copies - 1, test.compared + n_held_out, test.compared, below + 1))


def _p_of_fractions(generated: float, held_out: float, n: int, n_held_out: int) -> float:
    """Return the one-sided p-value of Fisher's exact test for too few generated images."""
    counts = round(generated * n), round(held_out * n_held_out)
    return float(stats.hypergeom.cdf(counts[0], n + n_held_out, sum(counts), n))


def _measure_fraction(name: str, value: float, floor: float, n: int, better: Literal["low", "high"], p_value: float) -> Measurement:
    """Return a fraction of n images, with that of as many others as floor.

    The floor varies as much as the value, so the interval of their difference is wider than that of
    Clopper and Pearson by the root of 2.
    """
    edges = stats.binomtest(round(value * n), n).proportion_ci(0.95, method="exact")
    low, high = (value + np.sqrt(2) * (edge - value) for edge in (edges.low, edges.high))
    return Measurement(
        name,
        value,
        floor,
        (max(0.0, float(low)), min(1.0, float(high))),
        n,
        better,
        headline=better == "low",
        two_sided=False,
        p_value=p_value,
        tolerance=TOLERANCE,
    )
