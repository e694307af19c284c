"""Events of a file that gave no image: which, why, and how many are too many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import ChoiceNeeded, PgenError, listed

#: The limit, where none is set: a file with more odd events than this is not what it was taken for.
MAX_SKIPPED = "10%"


@dataclass(frozen=True, eq=False)
class Skipped:
    """Events that were skipped, in the order of the file.

    Attributes:
        before: (K,) how many images of the set come before each of them.
        reasons: (K,) why, for people: "plane 1 twice".
        odd: (K,) whether an event is odd, which counts against the limit. One without the plane that was asked for is not.
        advice: What to do where there are too many, and why they may be.
    """

    before: npt.NDArray[np.int64]
    reasons: npt.NDArray[np.str_]
    odd: npt.NDArray[np.bool_]
    advice: str = ""

    @classmethod
    def of(cls, reasons: npt.NDArray[np.str_], odd: npt.NDArray[np.bool_], advice: str = "") -> Skipped:
        """Of all events of a file, (E,): those whose reason is not empty."""
        at = np.flatnonzero(reasons != "")
        return cls(np.cumsum(reasons == "")[at], reasons[at], odd[at], advice)

    @classmethod
    def join(cls, parts: Sequence[Skipped], counts: Sequence[int]) -> Skipped:
        """Those of sets one after the other, of so many images each."""
        starts = np.cumsum([0, *counts])
        return cls(
            np.concatenate([start + part.before for start, part in zip(starts, parts, strict=False)]),
            np.concatenate([part.reasons for part in parts]),
            np.concatenate([part.odd for part in parts]),
            next((part.advice for part in parts if part.advice), ""),
        )

    def also(self, reasons: npt.NDArray[np.str_]) -> Skipped:
        """With odd images of the set, (N,), that are skipped too: those whose reason is not empty."""
        kept, at = np.cumsum([0, *(reasons == "")]), np.flatnonzero(reasons != "")
        before = np.concatenate([kept[self.before], kept[at]])
        order = np.argsort(np.concatenate([self.before - 0.5, at]), kind="stable")
        odd = np.concatenate([self.odd, np.ones(len(at), bool)])
        return Skipped(before[order], np.concatenate([self.reasons, reasons[at]])[order], odd[order], self.advice)

    def within(self, start: int, stop: int, count: int) -> Skipped:
        """Those among the images from ``start`` to ``stop`` of ``count``."""
        inside = (self.before > start) & (self.before < stop)
        inside |= ((self.before == 0) & (start == 0)) | ((self.before == count) & (stop == count))
        return Skipped(self.before[inside] - start, self.reasons[inside], self.odd[inside], self.advice)

    def __len__(self) -> int:
        return len(self.before)

    def __str__(self) -> str:
        """For people: "3 events skipped (plane 1 twice: 2, plane 0 missing: 1)"."""
        reasons = listed((f"{reason}: {count:,}" for reason, count in self.by_reason().items()), 4)
        return f"{len(self):,} event{'s' * (len(self) != 1)} skipped ({reasons})"

    def by_reason(self) -> dict[str, int]:
        """Reason -> events, the most frequent first."""
        return dict(Counter(self.reasons.tolist()).most_common())


#: What a set without a file of events has.
NOTHING = Skipped(np.zeros(0, np.int64), np.zeros(0, "U1"), np.zeros(0, bool))


def refuse_too_many(skipped: Skipped, images: int, max_skipped: str | None, name: str) -> None:
    """ChoiceNeeded where more events are odd than ``max_skipped`` allows: a number, or a fraction of all events as 0.1 or 10%."""
    events, odd = images + len(skipped), int(skipped.odd.sum())
    text = max_skipped or MAX_SKIPPED
    if odd <= _limit(text, events, name):
        return
    reasons = Counter(skipped.reasons[skipped.odd].tolist()).most_common()
    why = listed((f"{reason}: {count:,}" for reason, count in reasons), 4)
    advice = f"{skipped.advice}, or skip" if skipped.advice else "skip"
    raise ChoiceNeeded(
        f"{name}: {odd:,} of {events:,} events are odd ({why}), more than max_skipped={text} allows; {advice} them by max_skipped={odd}."
    )


def _limit(text: str, events: int, name: str) -> int:
    match = re.fullmatch(r"(\d+)|(\d*\.\d+|\d+\.)|(\d+(?:\.\d*)?)%", text, re.ASCII)
    if match is None:
        raise PgenError(f"{name}: max_skipped={text} cannot be read; give a number of events as 5, or a fraction of them as 0.1 or 10%.")
    if match[1]:
        return int(match[1])
    fraction = float(match[2]) if match[2] else float(match[3]) / 100
    return int(fraction * events + 1e-9)
