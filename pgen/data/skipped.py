"""Events of a source that gave no image: which, why, and how many are too many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import ChoiceNeeded, ConfigError, listed

#: Default limit. A file with more odd events is probably not what it was taken for.
MAX_SKIPPED = "10%"


@dataclass(frozen=True, eq=False)
class Skipped:
    """K skipped events, in the order of the file.

    Attributes:
        before: (K,) number of images of the set that come before each event.
        reasons: (K,) why, for people: "plane 1 twice".
        odd: (K,) whether the event counts against the limit. One that only lacks the requested
            plane does not.
        advice: What to do if too many are odd.
    """

    before: npt.NDArray[np.int64]
    reasons: npt.NDArray[np.str_]
    odd: npt.NDArray[np.bool_]
    advice: str = ""

    @classmethod
    def from_reasons(cls, reasons: npt.NDArray[np.str_], odd: npt.NDArray[np.bool_], advice: str = "") -> Skipped:
        """Take the skipped ones of all events (E,) of a file: those whose reason is not empty."""
        index = np.flatnonzero(reasons != "")
        return cls(np.cumsum(reasons == "")[index], reasons[index], odd[index], advice)

    @classmethod
    def concatenate(cls, parts: Sequence[Skipped], counts: Sequence[int]) -> Skipped:
        """Concatenate those of sets with ``counts`` images."""
        starts = np.cumsum([0, *counts])
        return cls(
            np.concatenate([start + part.before for start, part in zip(starts, parts, strict=False)]),
            np.concatenate([part.reasons for part in parts]),
            np.concatenate([part.odd for part in parts]),
            next((part.advice for part in parts if part.advice), ""),
        )

    def add(self, reasons: npt.NDArray[np.str_]) -> Skipped:
        """Add images of the set, (N,), as odd events: those whose reason is not empty."""
        remaining, index = np.cumsum([0, *(reasons == "")]), np.flatnonzero(reasons != "")
        before = np.concatenate([remaining[self.before], remaining[index]])
        order = np.argsort(np.concatenate([self.before - 0.5, index]), kind="stable")
        odd = np.concatenate([self.odd, np.ones(len(index), bool)])
        return Skipped(before[order], np.concatenate([self.reasons, reasons[index]])[order], odd[order], self.advice)

    def within(self, start: int, stop: int, count: int) -> Skipped:
        """Return those among the images from ``start`` to ``stop`` of ``count``."""
        inside = (self.before > start) & (self.before < stop)
        inside |= ((self.before == 0) & (start == 0)) | ((self.before == count) & (stop == count))
        return Skipped(self.before[inside] - start, self.reasons[inside], self.odd[inside], self.advice)

    def __len__(self) -> int:
        return len(self.before)

    def __str__(self) -> str:
        """Format for people: "3 events skipped (plane 1 twice: 2, plane 0 missing: 1)"."""
        reasons = listed((f"{reason}: {count:,}" for reason, count in self.count_by_reason().items()), 4)
        return f"{len(self):,} event{'s' * (len(self) != 1)} skipped ({reasons})"

    def count_by_reason(self) -> dict[str, int]:
        """Return the number of events for each reason, the most frequent first."""
        return dict(Counter(self.reasons.tolist()).most_common())


#: What a set has that was not read from a file of events.
NONE_SKIPPED = Skipped(np.zeros(0, np.int64), np.zeros(0, "U1"), np.zeros(0, bool))


def refuse_too_many(skipped: Skipped, images: int, max_skipped: str | None, name: str) -> None:
    """Refuse a source in which too many events are odd.

    Args:
        skipped: The skipped events.
        images: Number of images that the source gave.
        max_skipped: Limit: a number of events, or a fraction of all, as "0.1" or "10%".
        name: What the user typed.

    Raises:
        ChoiceNeeded: If more events are odd than the limit allows.
    """
    events, odd = images + len(skipped), int(skipped.odd.sum())
    limit = max_skipped or MAX_SKIPPED
    if odd <= _parse_limit(limit, events, name):
        return
    reasons = Counter(skipped.reasons[skipped.odd].tolist()).most_common()
    causes = listed((f"{reason}: {count:,}" for reason, count in reasons), 4)
    advice = f"{skipped.advice}, or skip" if skipped.advice else "skip"
    raise ChoiceNeeded(
        f"{name}: {odd:,} of {events:,} events are odd ({causes}), more than max_skipped={limit} allows; {advice} them by "
        f"max_skipped={odd}."
    )


def _parse_limit(text: str, events: int, name: str) -> int:
    match = re.fullmatch(r"(\d+)|(\d*\.\d+|\d+\.)|(\d+(?:\.\d*)?)%", text, re.ASCII)
    if match is None:
        raise ConfigError(f"{name}: max_skipped={text} cannot be read; give a number of events as 5, or a fraction of them as 0.1 or 10%.")
    if match[1]:
        return int(match[1])
    fraction = float(match[2]) if match[2] else float(match[3]) / 100
    return int(fraction * events + 1e-9)
