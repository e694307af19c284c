"""The threshold of an evaluation: |charge| at or below it is 0 in all sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A threshold and its origin.

    Attributes:
        value: |charge| at or below it is 0.
        note: A sentence that says what it is and why.
        warnings: What makes a comparison at this threshold doubtful, one sentence each.
    """

    value: float
    note: str
    warnings: tuple[str, ...] = ()


def choose_threshold(value: float | None, suppression: Mapping[str, float | None], unit: str) -> Threshold:
    """Choose the threshold of an evaluation.

    Args:
        value: The user's choice; None for the highest zero suppression of any set.
        suppression: Name of a set -> its zero suppression; None if that is not known.
        unit: Unit of charge.
    """
    suppressed = {name: threshold for name, threshold in suppression.items() if threshold is not None}
    effect = "|charge| at or below it is 0 in all sets"
    if value is not None:
        return Threshold(value, f"Threshold: {value:g} {unit}, as given; {effect}.", tuple(_contradictions(value, suppression, unit)))
    if not suppressed:
        advice = "if the model was trained with a threshold, pass the same here"
        return Threshold(0.0, f"Threshold: 0 {unit}, since the zero suppression of no set is known; {advice}.")
    highest = max(suppressed, key=lambda name: suppressed[name])
    return Threshold(suppressed[highest], f"Threshold: {suppressed[highest]:g} {unit}, the zero suppression of {highest}; {effect}.")


def _contradictions(value: float, suppression: Mapping[str, float | None], unit: str) -> list[str]:
    """Warn of each set that lacks charge above ``value`` that another set may have."""
    effective = {name: max(value, threshold or 0.0) for name, threshold in suppression.items()}
    return [
        f"The threshold of {value:g} {unit} lies below the zero suppression of {name}, {threshold:g} {unit}: other sets keep fainter "
        f"charge, by which any metric can tell them from {name}. Leave the threshold out, or set it to {max(effective.values()):g}."
        for name, threshold in effective.items()
        if threshold > min(effective.values())
    ]
