"""Several metrics on the same sets, and what comes of it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.sparse import above_threshold, negative_fraction
from pgen.errors import PgenError
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import shared_images
from pgen.metrics.results import MetricResult
from pgen.metrics.validation import plain
from pgen.plugins import registry
from pgen.plugins.entry_points import NOT_A_FAULT, Entry, cause, plugin_error
from pgen.plugins.specs import MetricSpec
from pgen.utils.resources import is_out_of_memory

#: Smallest charges of lit pixels that differ by more than this factor between sets call for a threshold.
FAINT = 2.0
#: Of the |charge| of a set a negative fraction up to this is too small for all sets to have one.
NEGLIGIBLE = 0.001


@dataclass(frozen=True)
class Evaluation:
    """What was found of one generated set.

    Attributes:
        name: what it is called among others. about: where it comes from, as plain values.
        findings: by metric. skipped: by metric, why it could not be asked. seconds: by metric, how long it took.
    """

    name: str
    about: Mapping[str, Any]
    results: Mapping[str, MetricResult]
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As results.json keeps it."""
        return {
            **self.about,
            "metrics": {name: {**plain(finding.to_dict()), "seconds": self.seconds[name]} for name, finding in self.results.items()},
            "skipped": dict(self.skipped),
        }

    def unclear(self) -> dict[str, list[str]]:
        """Why verdicts cannot be told -> the headline measures of which this holds."""
        reasons: dict[str, list[str]] = {}
        for finding in self.results.values():
            for measure in finding.measures:
                if measure.headline and measure.reason:
                    reasons.setdefault(measure.reason, []).append(measure.name)
        return reasons

    def per_image(self) -> dict[str, npt.NDArray]:
        """Columns of a table with a row for each generated image."""
        return {name: values for finding in self.results.values() for name, values in finding.per_image.items()}


def select_metrics(wanted: Sequence[str]) -> dict[str, tuple[Entry, MetricSpec]]:
    """The metrics of these names, in that order; all of them without any. UserError for one that is not there."""
    found, problems = registry.metrics()
    for name in wanted:
        if name not in found:
            told = f" {' '.join(problems)}" if problems else ""
            raise PgenError(f"There is no metric called {name!r}, wanted one of {', '.join(found)}.{told}")
    return {name: found[name] for name in wanted or found}


def evaluate(
    name: str,
    about: Mapping[str, Any],
    sets: EvaluationSets,
    metrics: Mapping[str, tuple[Entry, MetricSpec]],
    *,
    strict: bool,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Evaluation:
    """Ask each of ``metrics``; ``progress(what, done, total)`` is called before it begins. What one refuses is told in
    ``skipped``, or ends it all if ``strict``."""
    results: dict[str, MetricResult] = {}
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for done, (metric, (entry, spec)) in enumerate(metrics.items()):
        progress(f"{name}: {metric}", done, len(metrics))
        began = time.monotonic()
        try:
            results[metric] = _run_metric(entry, spec, sets)
        except PgenError as error:
            if strict:
                raise
            skipped[metric] = str(error)
        seconds[metric] = round(time.monotonic() - began, 2)
    return Evaluation(name, about, results, skipped, seconds)


def _run_metric(entry: Entry, spec: MetricSpec, sets: EvaluationSets) -> MetricResult:
    module, _, attribute = spec.function.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)(sets)
    except NOT_A_FAULT:
        raise
    except BaseException as error:
        if entry.is_builtin or is_out_of_memory(error):
            raise  # a defect of pgen shows its traceback
        raise plugin_error(entry, f"metric {spec.name!r} failed: {cause(error)}") from error
    if not isinstance(found, MetricResult):
        raise plugin_error(entry, f"metric {spec.name!r} returned {type(found).__name__}, wanted a pgen.metrics.results.Finding")
    return found


def comparison_warnings(sets: EvaluationSets) -> list[str]:
    """What makes any comparison of these sets doubtful."""
    found = []
    if overlap := shared_images(sets.train, sets.held_out):
        found.append(
            f"HELD-OUT OVERLAPS TRAIN: {overlap} held-out images are training images too, so floors are too low and copying may go "
            "unseen; split the data again."
        )
    negative = {name: negative_fraction(getattr(sets, name), sets.threshold) for name in ("generated", "train", "held_out")}
    if max(negative.values()) > NEGLIGIBLE and not all(negative.values()):
        fractions = ", ".join(f"{fraction:.2%} in {name.replace('_', '-')}" for name, fraction in negative.items())
        found.append(
            f"Some of the sets hold negative charge, others none; the negative fraction of |charge| is {fractions}. Give sets of one kind, "
            "or add :negative=drop to their sources."
        )
    if differ := _different_faintest(sets):
        found.append(
            f"The faintest pixels above {sets.threshold:g} differ: {differ[0]}. Occupancy and shapes depend on them; for sets that are cut "
            f"alike pass --threshold {np.nextafter(differ[1], 0):.3g} or more."
        )
    if (smallest := min(len(sets.generated), len(sets.train), len(sets.held_out))) < 1000:
        found.append(f"Only {smallest} images of the smallest set: intervals are wide, and small differences go unseen.")
    return found


def _different_faintest(sets: EvaluationSets) -> tuple[str, float] | None:
    """The faintest pixels above the threshold in words, and the highest of them; None where they are alike in all sets."""
    faintest = {name: _faintest(getattr(sets, name), sets.threshold) for name in ("train", "held_out", "generated")}
    if max(faintest.values()) <= FAINT * min(faintest.values()):
        return None
    told = ", ".join(f"{value:.3g} {sets.unit} in {name.replace('_', '-')}" for name, value in faintest.items())
    return told, max(faintest.values())


def _faintest(images: npt.NDArray, threshold: float) -> float:
    lit = np.abs(images[above_threshold(images, threshold)])
    return float(np.quantile(lit, 0.001))
