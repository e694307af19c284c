"""The |charge| at or below which all sets of an evaluation are zero-suppressed: one threshold from training to evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A threshold, where it comes from, and what contradicts it.

    Attributes:
        value: |charge| at or below it is 0.
        note: what it is and why.
        warnings: what makes a comparison at this threshold doubtful.
    """

    value: float
    note: str
    warnings: tuple[str, ...] = ()


def choose_threshold(value: float | None, known: Mapping[str, float | None], unit: str) -> Threshold:
    """Choose the threshold of an evaluation.

    Args:
        value: that of the user, which wins; None for the highest zero suppression of any set.
        known: the zero suppression of each set by its name, None where it is not known.
        unit: of charge.
    """
    cut = {name: threshold for name, threshold in known.items() if threshold is not None}
    effect = "|charge| at or below it is 0 in all sets"
    if value is not None:
        return Threshold(value, f"Threshold: {value:g} {unit} (--threshold); {effect}.", tuple(_contradictions(value, known, unit)))
    if not cut:
        way_out = "if the model was trained with --threshold, pass the same here"
        return Threshold(0.0, f"Threshold: 0 {unit}, since the zero suppression of no set is known; {way_out}.")
    highest = max(cut, key=lambda name: cut[name])
    return Threshold(cut[highest], f"Threshold: {cut[highest]:g} {unit}, the zero suppression of {highest}; {effect}.")


def _contradictions(value: float, known: Mapping[str, float | None], unit: str) -> list[str]:
    """A warning for each set that lacks charge above ``value`` which another set may have."""
    cut = {name: max(value, threshold or 0.0) for name, threshold in known.items()}
    return [
        f"--threshold {value:g} lies below the zero suppression of {name}, {threshold:g} {unit}: other sets keep fainter charge, by which "
        f"any metric can tell them from {name}. Leave --threshold out, or pass --threshold {max(cut.values()):g}."
        for name, threshold in cut.items()
        if threshold > min(cut.values())
    ]
