"""Run several metrics on the same sets."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.sparse import above_threshold, negative_fraction
from pgen.errors import ConfigError, PgenError
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import count_shared_images
from pgen.metrics.results import MetricResult, PerSet
from pgen.metrics.significance import holm
from pgen.metrics.validation import to_plain
from pgen.plugins import registry
from pgen.plugins.entry_points import NOT_A_FAULT, Entry, cause, plugin_error
from pgen.plugins.specs import MetricSpec
from pgen.utils.resources import is_out_of_memory

#: Ratio of the smallest charges above threshold of two sets beyond which they need another
#: threshold.
FAINT = 2.0
#: A negative fraction of |charge| up to this is too small to expect it in every set.
NEGLIGIBLE = 0.001


@dataclass(frozen=True)
class Evaluation:
    """Results of all metrics for one generated set.

    Attributes:
        name: Name of the set.
        about: Where it comes from, as plain values.
        results: Metric name -> result.
        skipped: Metric name -> why it could not be computed.
        seconds: Metric name -> how long it took.
    """

    name: str
    about: Mapping[str, Any]
    results: Mapping[str, MetricResult]
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def copy_rate(self) -> float | None:
        """Fraction of copies of training images; None if no metric measured it."""
        return next((result.copy_rate for result in self.results.values() if result.copy_rate is not None), None)

    def adjusted_p_values(self) -> dict[tuple[str, str], float]:
        """Return (metric, measure) -> p-value of the headline measures, by Holm's method."""
        return holm({(metric, m.name): m.p_value for metric, result in self.results.items() for m in result.measures if m.headline})

    def to_dict(self) -> dict[str, Any]:
        """Return what results.json stores."""
        metrics = {name: {**to_plain(result.to_dict()), "seconds": self.seconds[name]} for name, result in self.results.items()}
        adjusted = self.adjusted_p_values()
        for name, metric in metrics.items():
            for measurement in metric["measures"]:
                measurement["p_holm"] = to_plain(adjusted.get((name, measurement["name"])))
        return {**self.about, "metrics": metrics, "skipped": dict(self.skipped)}

    def unclear(self) -> dict[str, list[str]]:
        """Return reason -> headline measurements whose verdict cannot be told for this reason."""
        reasons: dict[str, list[str]] = {}
        for result in self.results.values():
            for measurement in result.measures:
                if measurement.headline and measurement.reason:
                    reasons.setdefault(measurement.reason, []).append(measurement.name)
        return reasons

    def skipped_by_reason(self) -> dict[str, list[str]]:
        """Return reason -> metrics that could not be computed for this reason."""
        return {reason: [name for name, why in self.skipped.items() if why == reason] for reason in self.skipped.values()}

    def per_image(self) -> dict[str, npt.NDArray]:
        """Return the columns of a table with one row per generated image."""
        return {name: values for result in self.results.values() for name, values in result.per_image.items()}


def select_metrics(names: Sequence[str] = ()) -> dict[str, tuple[Entry, MetricSpec]]:
    """Look up metrics by name, in that order; all installed ones if no name is given.

    Raises:
        ConfigError: A metric is not installed.
    """
    installed, problems = registry.metrics()
    for name in names:
        if name not in installed:
            hints = f" {' '.join(problems)}" if problems else ""
            raise ConfigError(f"There is no metric called {name!r}; expected one of {', '.join(installed)}.{hints}")
    return {name: installed[name] for name in names or installed}


def evaluate(
    sets: EvaluationSets,
    metrics: Sequence[str] = (),
    *,
    name: str = "generated",
    about: Mapping[str, Any] | None = None,
    strict: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Score the generated images of ``sets`` with several metrics.

    Args:
        sets: Generated, training and held-out images.
        metrics: Names of metrics; all installed ones if empty.
        name: Name of the generated set.
        about: Where it comes from, as plain values.
        strict: Whether a metric that cannot be computed is an error; otherwise it is listed in
            ``skipped``. By default only where metrics are named.
        progress: Called as ``progress(task, done, total)`` before each metric.

    Raises:
        ConfigError: A metric is not installed.
        PgenError: A metric cannot be computed, if ``strict``.
    """
    selected = select_metrics(metrics)
    strict = bool(metrics) if strict is None else strict
    results: dict[str, MetricResult] = {}
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for done, (metric, (entry, spec)) in enumerate(selected.items()):
        if progress:
            progress(f"{name}: {metric}", done, len(selected))
        start = time.monotonic()
        try:
            results[metric] = _run_metric(entry, spec, sets)
        except PgenError as error:
            if strict:
                raise
            skipped[metric] = str(error)
        seconds[metric] = round(time.monotonic() - start, 2)
    return Evaluation(name, about or {}, results, skipped, seconds)


def _run_metric(entry: Entry, spec: MetricSpec, sets: EvaluationSets) -> MetricResult:
    module, _, attribute = spec.function.partition(":")
    try:
        result = getattr(importlib.import_module(module), attribute)(sets)
    except NOT_A_FAULT:
        raise
    except BaseException as error:
        if entry.is_builtin or is_out_of_memory(error):
            raise  # a defect of pgen shows its traceback
        raise plugin_error(entry, f"metric {spec.name!r} failed: {cause(error)}") from error
    if not isinstance(result, MetricResult):
        raise plugin_error(entry, f"metric {spec.name!r} returned {type(result).__name__}, expected a pgen.metrics.MetricResult")
    return result


def comparison_warnings(sets: EvaluationSets) -> list[str]:
    """Return what makes any comparison of these sets doubtful, one sentence each."""
    warnings = []
    if overlap := count_shared_images(sets.train, sets.held_out):
        warnings.append(
            f"HELD-OUT OVERLAPS TRAIN: {overlap} held-out images are training images too, so floors are too low and copying may go "
            "unseen; split the data again."
        )
    negative = {name: negative_fraction(getattr(sets, name), sets.threshold) for name in PerSet._fields}
    if max(negative.values()) > NEGLIGIBLE and not all(negative.values()):
        fractions = ", ".join(f"{fraction:.2%} in {name.replace('_', '-')}" for name, fraction in negative.items())
        warnings.append(
            f"Some of the sets hold negative charge, others none; the negative fraction of |charge| is {fractions}. Give sets of one kind, "
            "or add :negative=drop to their sources."
        )
    faintest = {name: _faintest_charge(getattr(sets, name), sets.threshold) for name in ("train", "held_out", "generated")}
    if max(faintest.values()) > FAINT * min(faintest.values()):
        charges = ", ".join(f"{value:.3g} {sets.unit} in {name.replace('_', '-')}" for name, value in faintest.items())
        warnings.append(
            f"The faintest pixels above {sets.threshold:g} differ: {charges}. Occupancy and shapes depend on them; to suppress all sets "
            f"alike, set the threshold to {np.nextafter(max(faintest.values()), 0):.3g} or more."
        )
    if (smallest := min(len(sets.generated), len(sets.train), len(sets.held_out))) < 1000:
        warnings.append(f"Only {smallest} images of the smallest set: intervals are wide, and small differences go unseen.")
    return warnings


def _faintest_charge(images: npt.NDArray, threshold: float) -> float:
    return float(np.quantile(np.abs(images[above_threshold(images, threshold)]), 0.001))
