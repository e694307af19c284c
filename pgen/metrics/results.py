"""Results of a metric: numbers with an interval, a test, and a floor, the score of real images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pgen.metrics.validation import Result

#: Level of tests, and one minus the coverage of intervals.
LEVEL = 0.05
#: Verdict if neither likeness nor difference is shown.
CANNOT_BE_TOLD = "cannot be told"
#: All verdicts, see :attr:`Measurement.verdict`.
VERDICTS = ("as real", "worse", "beyond", CANNOT_BE_TOLD)


class PerSet(NamedTuple):
    """One array per set, with one row (or number) per image.

    Attributes:
        generated: (N, ...).
        train: (N, ...).
        held_out: (N, ...).
    """

    generated: npt.NDArray
    train: npt.NDArray
    held_out: npt.NDArray


@dataclass(frozen=True)
class Measurement(Result):
    """One number of a metric.

    Attributes:
        name: What is measured.
        value: Generated against held-out images.
        floor: Training against as many held-out images: the score of a perfect model.
        interval: 95 % interval of value - floor, drawn around the value.
        n: Images of each set.
        better: Whether low or high values are good.
        headline: Whether to show it first; others are details.
        two_sided: Whether a value better than the floor is suspicious, as for a distance.
        unclear: Why a value near the floor would not show that images are as real ones, such as too
            few images to learn from; empty if it would. A value clearly worse than the floor is
            worse all the same.
        p_value: Probability of a value at least as far from the floor if generated images were real
            ones. NaN if no test was made; then the interval decides.
        tolerance: Largest difference between value and floor that does not matter. NaN if none is
            stated; then no value is called as real.
    """

    name: str
    value: float
    floor: float
    interval: tuple[float, float]
    n: int
    better: Literal["low", "high"] = "low"
    headline: bool = True
    two_sided: bool = True
    unclear: str = ""
    p_value: float = math.nan
    tolerance: float = math.nan

    @property
    def verdict(self) -> str:
        """``as real``, ``worse``, ``beyond`` (better than real images) or ``cannot be told``.

        An image set is as real if the interval lies within the tolerance of the floor, whether or
        not a difference is significant. It is worse or beyond if the difference is significant.
        """
        if not self._is_finite:
            return CANNOT_BE_TOLD
        if self._is_within_tolerance and not self.unclear:
            return "as real"
        if self._is_significant and (self.value > self.floor) == (self.better == "low"):
            return "worse"
        return "beyond" if self._is_significant and self.two_sided and not self.unclear else CANNOT_BE_TOLD

    @property
    def reason(self) -> str:
        """Why the verdict is ``cannot be told``; empty for any other."""
        if self.verdict != CANNOT_BE_TOLD:
            return ""
        if not self._is_finite:
            return self.unclear or "the value, its floor or its interval is not a finite number"
        if self.unclear:
            return self.unclear
        if math.isnan(self.tolerance):
            return "no tolerance is stated, within which images would count as real"
        return "the interval is wider than the tolerance, and no difference is significant"

    @property
    def images_needed(self) -> int | None:
        """About how many images of each set would settle a verdict that cannot be told.

        So many that the interval fits into the tolerance or excludes the floor, if the difference
        stays what it is and the interval shrinks with the root of the number. None where more
        images would not help.
        """
        if self.verdict != CANNOT_BE_TOLD or self.unclear or not self._is_finite or not self.tolerance > 0:
            return None
        difference = abs(self.value - self.floor)
        half = max(abs(end - self.value) for end in self.interval)
        needed = self.n * (half / max(self.tolerance - difference, difference)) ** 2
        return max(self.n + 1, math.ceil(float(f"{needed:.1e}")))

    @property
    def _is_significant(self) -> bool:
        if math.isnan(self.p_value):
            return not self.interval[0] <= self.floor <= self.interval[1]
        return self.p_value <= LEVEL

    @property
    def _is_within_tolerance(self) -> bool:
        low, high = (end - self.floor for end in self.interval)
        if self.two_sided:
            return max(-low, high) <= self.tolerance
        return (high if self.better == "low" else -low) <= self.tolerance

    @property
    def _is_finite(self) -> bool:
        return bool(np.isfinite([self.value, self.floor, *self.interval]).all())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict as JSON can hold them."""
        values = {name: value for name, value in super().to_dict().items() if name != "unclear"}
        return {**values, "verdict": self.verdict, "reason": self.reason, "images_needed": self.images_needed}


@dataclass(frozen=True)
class Histogram:
    """Distribution of a quantity.

    Attributes:
        name: The quantity.
        unit: Its unit; empty if it has none.
        edges: (B + 1,) bin edges.
        counts: (B,) of each set.
        is_charge: Whether the quantity is a charge, whose counts range over orders of magnitude.
    """

    name: str
    unit: str
    edges: npt.NDArray[np.float64]
    counts: PerSet
    is_charge: bool = False


@dataclass(frozen=True)
class Profile:
    """A curve per set, such as the mean charge along a track or a power spectrum.

    Attributes:
        name: What it is.
        x_label: What the horizontal axis is, with its unit.
        y_label: What the vertical axis is, with its unit.
        x: (B,) positions.
        means: (B,) mean over the images of each set.
        errors: (B,) standard error of each mean.
    """

    name: str
    x_label: str
    y_label: str
    x: npt.NDArray[np.float64]
    means: PerSet
    errors: PerSet


@dataclass(frozen=True)
class Highlight:
    """Generated images that a metric singles out, to look at.

    Attributes:
        title: Why these, as the heading of a figure.
        indices: (k,) of generated images.
        captions: (k,) one line each.
        saliency: (k, C, H, W) how much each pixel counts, positive where it speaks for a generated
            image; None if the metric does not know.
    """

    title: str
    indices: tuple[int, ...]
    captions: tuple[str, ...]
    saliency: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MetricResult:
    """Result of one metric.

    Attributes:
        metric: Its name.
        measures: Its numbers.
        settings: What they depend on, as plain values.
        details: More results, as plain values.
        warnings: Sentences to show before anything else.
        notes: Sentences to show next to the numbers.
        histograms: Figures of the report.
        per_image: name -> (N,) columns of the table of generated images.
        pairs: (generated, train) indices of images to compare by eye, and a caption for each.
        profiles: Curves of the report.
        highlights: Generated images to look at.
        copy_rate: Fraction of the generated images that are copies of training images; None for a
            metric that does not measure it.
    """

    metric: str
    measures: tuple[Measurement, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    per_image: Mapping[str, npt.NDArray] = field(default_factory=dict)
    pairs: tuple[tuple[int, int, str], ...] = ()
    profiles: tuple[Profile, ...] = ()
    highlights: tuple[Highlight, ...] = ()
    copy_rate: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what results.json stores."""
        values = {key: dict(getattr(self, key)) for key in ("settings", "details")}
        messages = {key: list(getattr(self, key)) for key in ("warnings", "notes")}
        return {"measures": [measurement.to_dict() for measurement in self.measures], **values, **messages}


def draw_equal(rows: PerSet, rng: np.random.Generator, limit: int | None = None) -> PerSet:
    """Draw the same number of rows from each set without replacement, at most ``limit``."""
    n = min(*map(len, rows), limit or len(rows.generated))
    return PerSet(*(values[np.sort(rng.choice(len(values), n, replace=False))] for values in rows))
