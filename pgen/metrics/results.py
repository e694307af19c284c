"""What a metric returns: numbers, each beside its floor and with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pgen.metrics.validation import Result

#: Rounds of the bootstrap, unless a metric can afford fewer only.
ROUNDS = 100
CANNOT_BE_TOLD = "cannot be told"  #: the verdict where neither likeness nor difference is shown
WIDTH = 1.96  #: standard deviations of the bootstrap on either side of a value that make its interval of 95 %

#: From rows of a value for each image, of two sets, to how far the sets are apart.
Distance = Callable[[npt.NDArray, npt.NDArray], float]
Ints = npt.NDArray[np.int64]


class PerSet(NamedTuple):
    """One row (or number) for each image of each set."""

    generated: npt.NDArray
    train: npt.NDArray
    held_out: npt.NDArray


@dataclass(frozen=True)
class Measure(Result):
    """One number.

    Attributes:
        value: generated against held-out images.
        floor: train against held-out images, as many of them: what a perfect model has.
        interval: 95 % of the value. It is that of value - floor, by a bootstrap over the images of all three sets, put around the
            value: where it covers the floor, generated images cannot be told from real ones by this number.
        n: images of each set.
        better: whether a low or a high value is good.
        headline: whether it is one to look at first; others are details.
        two_sided: whether a value better than the floor is odd, as it is of a distance.
        unclear: why a value near the floor would not show that images are as real ones, such as too few images to learn from; empty
            where it would. A value clearly worse than the floor is worse all the same.
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
        """``as real``, ``worse`` or ``beyond`` (better than real images are, which no honest model is), or ``cannot be told``."""
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
        """Why the verdict is that it cannot be told; empty for any other."""
        if self.verdict != CANNOT_BE_TOLD:
            return ""
        return self.unclear or "the value, its floor or its interval is not a finite number"

    @property
    def _is_finite(self) -> bool:
        return bool(np.isfinite([self.value, self.floor, *self.interval]).all())

    def to_dict(self) -> dict[str, Any]:
        values = {name: value for name, value in super().to_dict().items() if name != "unclear"}
        return {**values, "verdict": self.verdict, "reason": self.reason}


@dataclass(frozen=True)
class Histogram:
    """How a quantity is distributed: ``counts`` of each set, (B,), between ``edges`` (B + 1,)."""

    name: str
    unit: str
    edges: npt.NDArray[np.float64]
    counts: PerSet


@dataclass(frozen=True)
class MetricResult:
    """What a metric finds.

    Attributes:
        metric: its name.
        measures: its numbers.
        settings: what they depend on, as plain values.
        details: more of it, as plain values.
        warnings: sentences to show before anything else. notes: sentences to show beside the numbers.
        histograms: for the report.
        per_image: (N,) a column each of the table of generated images.
        pairs: (generated, train) indices of images that should be looked at side by side, and a caption for each.
    """

    metric: str
    measures: tuple[Measure, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    per_image: Mapping[str, npt.NDArray] = field(default_factory=dict)
    pairs: tuple[tuple[int, int, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As results.json keeps it."""
        plain = {key: dict(getattr(self, key)) for key in ("settings", "details")}
        told = {key: list(getattr(self, key)) for key in ("warnings", "notes")}
        return {"measures": [measure.to_dict() for measure in self.measures], **plain, **told}


def draw(rows: PerSet, rng: np.random.Generator, limit: int | None = None) -> PerSet:
    """As many rows of each set, ``limit`` at most, drawn without replacement."""
    n = min(*map(len, rows), limit or len(rows.generated))
    return PerSet(*(each[np.sort(rng.choice(len(each), n, replace=False))] for each in rows))


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
) -> Measure:
    """``distance`` of generated and held-out rows beside that of train and held-out ones, of as many images each.

    Args:
        distance: two arrays of rows (n, ...) to a number; it is called 2 + 2 ``rounds`` times.
        limit: how many images of each set at most.
        lowest, highest: what ``distance`` cannot be beyond, such as 1 of a fraction.
        halves: resample halves without replacement, which waver about as much as the whole does, where it matters that an image drawn
            twice is its own neighbour.
        unclear: see :class:`Measure`.
    """
    generated, train, held_out = draw(rows, rng, limit)
    n = len(generated)
    value, floor = distance(generated, held_out), distance(train, held_out)

    def above(g: Ints, t: Ints, h: Ints) -> float:
        return distance(generated[g], held_out[h]) - distance(train[t], held_out[h])

    interval = interval_of(value, bootstrap(above, n, rng, rounds, halves), lowest, highest)
    return Measure(name, float(value), float(floor), interval, n, better, headline, unclear=unclear)


def bootstrap(
    above: Callable[[Ints, Ints, Ints], Any], n: int, rng: np.random.Generator, rounds: int = ROUNDS, halves: bool = False
) -> npt.NDArray[np.float64]:
    """(rounds, ...) value - floor of resampled sets: ``above`` of the indices of generated, train and held-out images, n of each, drawn
    with replacement, or of half of them drawn without."""

    def indices() -> Iterable[Ints]:
        return [rng.permutation(n)[: n // 2] for _ in range(3)] if halves else rng.integers(n, size=(3, n))

    return np.array([above(*indices()) for _ in range(rounds)])


def interval_of(value: float, above: npt.NDArray[np.float64], lowest: float = 0.0, highest: float = np.inf) -> tuple[float, float]:
    """The interval of a Measure. above: value - floor of resampled sets, whose spread counts alone: such sets are further apart than the
    sets are, by about as much on either side. lowest, highest: what no value can be beyond."""
    known = above[np.isfinite(above)]  # a resampled set may hold none of the images that a distance is of
    width = WIDTH * float(np.std(known)) if len(known) > len(above) / 2 else np.nan
    return max(lowest, float(value) - width), min(highest, float(value) + width)
