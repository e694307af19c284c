"""One sentence for each generated set: what is as in real images, what is not, and by how much."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pgen.metrics.results import LEVEL, Measurement, MetricResult
from pgen.metrics.runner import Evaluation

#: Theme -> names of quantities, as they begin. What is in none is a theme of its own.
THEMES = {
    "charge": ("total", "brightest", "largest pixel", "mean lit pixel", "pixel charge", "net charge", "negative fraction"),
    "occupancy": ("lit pixels", "blank images"),
    "position": ("centroid", "row spread", "column spread"),
    "tracks": ("track", "charge off the axis", "charge along", "charge across", "dQ/dx"),
    "clusters": ("clusters", "single-pixel clusters", "tracks", "vertices", "filled neighbourhoods", "empty columns"),
    "texture": ("power spectrum", "charge correlation"),
}
#: Differences that a sentence names.
MOST = 3


def summarise(evaluation: Evaluation) -> str:
    """Return one sentence about a generated set.

    Only differences count that are significant after Holm's method over all headline measures and
    beyond the tolerance.
    """
    if not evaluation.results:
        return "could not be evaluated."
    parts = [*_describe_themes(evaluation), *_describe_classifiers(evaluation), *_describe_copies(evaluation)]
    return "; ".join(parts) + "." if parts else "no measure to summarise."


def _describe_themes(evaluation: Evaluation) -> Iterable[str]:
    adjusted = evaluation.adjusted_p_values()
    by_theme: dict[str, list[Measurement]] = {}
    different: list[Measurement] = []
    for metric in ("physics", "profiles"):
        for m in _headlines(evaluation.results.get(metric)):
            if theme := _theme(m.name):
                by_theme.setdefault(theme, []).append(m)
                if m.verdict in ("worse", "beyond") and adjusted[metric, m.name] <= LEVEL:
                    different.append(m)
    as_real = [theme for theme, of_theme in by_theme.items() if all(m.verdict == "as real" for m in of_theme)]
    differs = [theme for theme, of_theme in by_theme.items() if any(m in different for m in of_theme)]
    unclear = [theme for theme in by_theme if theme not in as_real and theme not in differs]
    if as_real:
        yield f"{_join(as_real)} as real"
    if unclear:
        measures = [m for theme in unclear for m in by_theme[theme]]
        needed = max(m.images_needed or 0 for m in measures)
        more = f" (about {needed:,} would do)" if needed else ""
        yield f"{_join(unclear)} cannot be told with {measures[0].n:,} images{more}"
    different.sort(key=lambda m: -abs(m.value - m.floor) / m.tolerance)
    means = _means(evaluation)
    if worse := [_describe(m, means) for m in different if m.verdict == "worse"]:
        yield f"{_join(differs)} different: {_join(worse[:MOST])}"
    if closer := [_quantity(m) for m in different if m.verdict == "beyond"]:
        yield f"closer to held-out images than training images are in {_join(closer[:MOST])}"


def _describe_classifiers(evaluation: Evaluation) -> Iterable[str]:
    for m in _headlines(evaluation.results.get("c2st")):
        who = {"CNN AUC": "a CNN", "trees AUC": "trees on the quantities"}.get(m.name, m.name)
        are = "tell" if who.startswith("trees") else "tells"
        if m.verdict == "worse":
            yield f"{who} {are} them at AUC {m.value:.2f}"
        elif m.verdict == "as real":
            yield f"{who} cannot tell them (AUC {m.value:.2f})"
        else:
            yield f"whether {who} {are} them is open (AUC {m.value:.2f})"


def _describe_copies(evaluation: Evaluation) -> Iterable[str]:
    result = evaluation.results.get("memorisation")
    if result is not None and "copying" in result.details:
        yield f"copies of training images found ({result.copy_rate:.1%})" if result.details["copying"] else "no copies found"


def _describe(m: Measurement, means: Mapping[str, Mapping[str, float | None]]) -> str:
    """Name a difference by the ratio of the means, where that says something."""
    name = _quantity(m)
    of_sets = means.get(name, {})
    generated, real = of_sets.get("generated"), of_sets.get("held_out")
    if generated is not None and real and generated / real > 0 and abs(generated / real - 1) > 0.05:
        return f"{name} {generated / real:.2g} times the real mean"
    return f"{name} (distance {m.value:.2g}, real {m.floor:.2g})"


def _quantity(m: Measurement) -> str:
    return m.name.removesuffix(" W1")


def _theme(name: str) -> str:
    quantity = re.sub(r"^plane \d+: ", "", name).removesuffix(" W1")
    if quantity in ("mean W1", "mean", "whole charges"):  # a summary, and what has a warning of its own
        return ""
    matches = [(len(begin), theme) for theme, begins in THEMES.items() for begin in begins if quantity.startswith(begin)]
    return max(matches)[1] if matches else quantity


def _headlines(result: MetricResult | None) -> list[Measurement]:
    return [m for m in result.measures if m.headline] if result is not None else []


def _means(evaluation: Evaluation) -> Mapping[str, Mapping[str, float | None]]:
    return evaluation.results["physics"].details.get("mean", {}) if "physics" in evaluation.results else {}


def _join(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
