"""Results of a metric: numbers with a bootstrap interval and a floor, the score of real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pgen.metrics.validation import Result

#: Rounds of the bootstrap, unless a metric can only afford fewer.
ROUNDS = 100
#: Verdict if neither likeness nor difference is shown.
CANNOT_BE_TOLD = "cannot be told"
#: Half width of a 95 % interval in standard deviations.
WIDTH = 1.96

#: Distance of two sets, each given as one row of values per image.
Distance = Callable[[npt.NDArray, npt.NDArray], float]
Ints = npt.NDArray[np.int64]


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
        interval: 95 % interval of value - floor, from a bootstrap over the images of all three
            sets, centred on the value. If it covers the floor, this number does not distinguish
            generated from real images.
        n: Images of each set.
        better: Whether low or high values are good.
        headline: Whether to show it first; others are details.
        two_sided: Whether a value better than the floor is suspicious, as for a distance.
        unclear: Why a value near the floor would not show that images are as real ones, such as too
            few images to learn from; empty if it would. A value clearly worse than the floor is
            worse all the same.
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

    @property
    def verdict(self) -> str:
        """``as real``, ``worse``, ``beyond`` (better than real images) or ``cannot be told``."""
        if not self._is_finite:
            return CANNOT_BE_TOLD
        low, high = self.interval
        if not low <= self.floor <= high and (self.value > self.floor) == (self.better == "low"):
            return "worse"
        if self.unclear:
            return CANNOT_BE_TOLD
        return "beyond" if self.two_sided and not low <= self.floor <= high else "as real"

    @property
    def reason(self) -> str:
        """Why the verdict is ``cannot be told``; empty for any other."""
        if self.verdict != CANNOT_BE_TOLD:
            return ""
        return self.unclear or "the value, its floor or its interval is not a finite number"

    @property
    def _is_finite(self) -> bool:
        return bool(np.isfinite([self.value, self.floor, *self.interval]).all())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict as JSON can hold them."""
        values = {name: value for name, value in super().to_dict().items() if name != "unclear"}
        return {**values, "verdict": self.verdict, "reason": self.reason}


@dataclass(frozen=True)
class Histogram:
    """Distribution of a quantity.

    Attributes:
        name: The quantity.
        unit: Its unit; empty if it has none.
        edges: (B + 1,) bin edges.
        counts: (B,) of each set.
    """

    name: str
    unit: str
    edges: npt.NDArray[np.float64]
    counts: PerSet


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


def measure(
    name: str,
    distance: Distance,
    rows: PerSet,
    rng: np.random.Generator,
    *,
    rounds: int = ROUNDS,
    limit: int | None = None,
    better: Literal["low", "high"] = "low",
    lowest: float = 0.0,
    highest: float = np.inf,
    headline: bool = True,
    halves: bool = False,
    unclear: str = "",
) -> Measurement:
    """Measure a distance of generated from held-out images, with its floor and interval.

    The same number of images is drawn from each set. The floor is the distance of training from
    held-out images.

    Args:
        name: Name of the measurement.
        distance: Function of two arrays of rows (n, ...) to a number; called 2 + 2 ``rounds``
            times.
        rows: One row per image of each set, see :meth:`EvaluationSets.rows`.
        rng: Random numbers, see :meth:`EvaluationSets.rng`.
        rounds: Rounds of the bootstrap.
        limit: Maximum number of images of each set.
        better: Whether low or high values are good.
        lowest: Lower limit of what ``distance`` can return.
        highest: Upper limit, such as 1 for a fraction.
        headline: Whether to show it first; others are details.
        halves: Resample halves without replacement, which vary about as much as the whole, for
            distances in which an image drawn twice would be its own neighbour.
        unclear: See :class:`Measurement`.
    """
    generated, train, held_out = draw_equal(rows, rng, limit)
    n = len(generated)
    value, floor = distance(generated, held_out), distance(train, held_out)

    def excess(g: Ints, t: Ints, h: Ints) -> float:
        return distance(generated[g], held_out[h]) - distance(train[t], held_out[h])

    interval = interval_around(value, bootstrap(excess, n, rng, rounds, halves), lowest, highest)
    return Measurement(name, float(value), float(floor), interval, n, better, headline, unclear=unclear)


def bootstrap(
    excess: Callable[[Ints, Ints, Ints], Any], n: int, rng: np.random.Generator, rounds: int = ROUNDS, halves: bool = False
) -> npt.NDArray[np.float64]:
    """Compute value - floor of resampled sets.

    Args:
        excess: value - floor of the images at three arrays of indices: generated, train, held-out.
        n: Images of each set.
        rng: Random numbers.
        rounds: How often to resample.
        halves: Draw half of the images without replacement, in place of n with replacement.

    Returns:
        (rounds, ...) what ``excess`` returned.
    """

    def indices() -> Iterable[Ints]:
        return [rng.permutation(n)[: n // 2] for _ in range(3)] if halves else rng.integers(n, size=(3, n))

    return np.array([excess(*indices()) for _ in range(rounds)])


def interval_around(value: float, excess: npt.NDArray[np.float64], lowest: float = 0.0, highest: float = np.inf) -> tuple[float, float]:
    """Compute the interval of a :class:`Measurement`.

    Only the spread of ``excess`` counts: resampled sets are further apart than the sets themselves,
    by about as much in the value as in the floor.

    Args:
        value: The centre.
        excess: (rounds,) value - floor of resampled sets, see :func:`bootstrap`.
        lowest: Lower limit of any value.
        highest: Upper limit of any value.
    """
    finite = excess[np.isfinite(excess)]  # a resampled set may hold none of the images that a distance is defined for
    width = WIDTH * float(np.std(finite)) if len(finite) > len(excess) / 2 else np.nan
    return max(lowest, float(value) - width), min(highest, float(value) + width)
