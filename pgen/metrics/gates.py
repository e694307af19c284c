"""Gates of automatic jobs: conditions on measures that must not hold, as "c2st.CNN AUC > 0.9"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgen.errors import ConfigError, format_list, option
from pgen.metrics.results import VERDICTS, Measurement, MetricResult
from pgen.metrics.runner import Evaluation, select_metrics

_OPERATORS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_EXPRESSION = re.compile(
    r"\s*(?P<metric>[^.\s]+)\s*\.\s*(?P<measure>[^<>=\s][^<>=]*?)\s*"
    r"(?:(?P<operator><=|>=|<|>)|\bis\b(?P<negated>\s+not\b)?)(?P<limit>[^<>=]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Gate:
    """A condition on one measure of a metric.

    Attributes:
        text: The condition as it was written.
        metric: Name of the metric.
        measure: Name of the measure, in any case and with ``_`` or spaces.
        holds: Whether it holds for a measurement.
    """

    text: str
    metric: str
    measure: str
    holds: Callable[[Measurement], bool]

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read METRIC.MEASURE, then < <= > >= and a number, or "is" or "is not" and a verdict.

        Example:
            "c2st.cnn_auc > 0.9", "physics.mean W1 is worse", "fpd.FPD is not as real"

        Raises:
            ConfigError: It is no such condition, or the metric is not installed.
        """
        name = option("fail_if", text)
        match = _EXPRESSION.fullmatch(text)
        if not match:
            raise ConfigError(
                f'{name}: no condition; expected METRIC.MEASURE and a limit, as in "c2st.CNN AUC > 0.9" or "fpd.FPD is worse".'
            )
        select_metrics([match["metric"]])
        limit = match["limit"].strip()
        holds = _compare(match["operator"], limit, name) if match["operator"] else _has_verdict(limit, bool(match["negated"]), name)
        return cls(text, match["metric"], match["measure"].strip(), holds)

    def find(self, result: MetricResult) -> Measurement:
        """Return the measurement of a result that the condition is about.

        Raises:
            ConfigError: The metric has no such measure.
        """
        for measurement in result.measures:
            if _normalise(measurement.name) == _normalise(self.measure):
                return measurement
        names = format_list((measurement.name for measurement in result.measures), 20)
        raise ConfigError(f"{option('fail_if', self.text)}: {self.metric} has no measure {self.measure!r}; expected one of {names}.")


def check_gates(gates: Sequence[Gate], evaluations: Sequence[Evaluation]) -> list[str]:
    """Return one sentence for each condition that holds, or cannot be checked, of each set.

    Raises:
        ConfigError: A metric has no such measure.
    """
    failures = []
    for evaluation in evaluations:
        for gate in gates:
            name = option("fail_if", gate.text)
            if (result := evaluation.results.get(gate.metric)) is None:
                failures.append(f"{evaluation.name}: {name} cannot be checked. {evaluation.skipped.get(gate.metric, '')}".strip())
                continue
            measurement = gate.find(result)
            score = f"{evaluation.name}: {gate.metric}, {measurement.name} is {measurement.value:.6g} ({measurement.verdict})"
            if not math.isfinite(measurement.value):
                failures.append(f"{score}, so {name} cannot be checked.")
            elif gate.holds(measurement):
                failures.append(f"{score}, which meets {name}.")
    return failures


def _compare(sign: str, limit: str, name: str) -> Callable[[Measurement], bool]:
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{name}: {limit!r} is no number; expected one, such as 0.9.")
    return lambda measurement: _OPERATORS[sign](measurement.value, number)


def _has_verdict(limit: str, negated: bool, name: str) -> Callable[[Measurement], bool]:
    verdict = _normalise(limit)
    if verdict not in VERDICTS:
        raise ConfigError(f"{name}: {limit!r} is no verdict; expected one of {', '.join(VERDICTS)}.")
    return lambda measurement: (measurement.verdict == verdict) != negated


def _normalise(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())
