"""The Hamming test as one of a suite of metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import stats

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import hamming
from pgen.metrics.results import Histogram, Measure, MetricResult, PerSet

PAIRS = 16
BINS = 40


def memorisation(sets: EvaluationSets) -> MetricResult:
    """Copy rates by both distances, beside the rate of held-out images; how authentic images are; and the verdict of
    :func:`pgen.metrics.memorisation.hamming.hamming`, which needs both distances to say so before it speaks of copying."""
    result = hamming(
        sets.generated, sets.train, sets.held_out, thresholds=[sets.threshold], seed=sets.seed, device=sets.device, pairs=PAIRS
    )
    (at,) = result.thresholds
    measures: list[Measure] = []
    histograms: list[Histogram] = []
    for name, found in at.distances.items():
        near = PerSet(*(found.nearest[f"{key}_to_train"].values for key in PerSet._fields))
        top = max(near.train.max(), near.held_out.max())
        edges = np.linspace(0, 1, BINS + 1) if name == "jaccard" else -0.5 + np.arange(BINS + 1) * max(1, np.ceil((top + 1) / BINS))
        # The last bin has no end.
        counts = PerSet(*(np.histogram(each.clip(max=edges[-1]), edges)[0] for each in near))
        histograms.append(Histogram(f"nearest in train, {name.capitalize()}", "pixels" if name == "hamming" else "", edges, counts))
        memory = found.memorisation
        n = memory.compared
        # Nothing is closer than the same pixels.
        unclear = "1 % of the held-out images or more are training images too, so that no image can be closer" if memory.cutoff == 0 else ""
        copies = _share(f"copy rate, {name.capitalize()}", memory.copy_rate, memory.null_rate, n, "low")
        measures.append(replace(copies, unclear=unclear))
        measures.append(_share(f"authenticity, {name.capitalize()}", found.authenticity, found.authenticity_null, n, "high"))
    details = {
        "copying": at.copying,
        "duplicates": at.duplicates,
        "blank rate": at.blank_rate,
        "z": {name: found.memorisation.z for name, found in at.distances.items()},
        "c_t": {name: found.memorisation.cells.c_t for name, found in at.distances.items()},
        "worst cell z": {name: found.memorisation.cells.worst for name, found in at.distances.items()},
        "largest reuse": {name: found.reuse.largest_share for name, found in at.distances.items()},
        "planted copies found": {f"{row.share:g}": row.found for row in at.power},
    }
    warnings, notes = ((at.verdict,), ()) if at.copying else ((), (at.verdict,))
    pairs = tuple((pair.generated, pair.train, f"Jaccard {pair.jaccard:.2f}, Hamming {pair.hamming}") for pair in at.pairs)
    settings = {"threshold": sets.threshold, "sizes": result.sizes}
    return MetricResult("memorisation", tuple(measures), settings, details, warnings, notes, tuple(histograms), pairs=pairs)


def _share(name: str, value: float, floor: float, n: int, better: Literal["low", "high"]) -> Measure:
    """A share of n images beside that of as many others. The latter wavers as much as the former, so that the interval of their difference
    is wider than Clopper and Pearson's of one by the root of 2."""
    edges = stats.binomtest(round(value * n), n).proportion_ci(0.95, method="exact")
    low, high = (value + np.sqrt(2) * (edge - value) for edge in (edges.low, edges.high))
    return Measure(name, value, floor, (max(0.0, float(low)), min(1.0, float(high))), n, better, headline=better == "low", two_sided=False)
