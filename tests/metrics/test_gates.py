"""Conditions on measures for automatic jobs: what is read, what is refused, and when one holds."""

from __future__ import annotations

import math
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgen.errors import ConfigError
from pgen.metrics.gates import Gate, check_gates
from pgen.metrics.results import Measurement, MetricResult
from pgen.metrics.runner import Evaluation

AUC = Measurement("CNN AUC", 0.93, 0.5, (0.9, 0.96), 100, p_value=0.01, tolerance=0.02)
COPIES = Measurement("copy rate, Jaccard", 0.01, 0.01, (0.0, 0.02), 100, p_value=0.5, tolerance=0.02)
NAN = Measurement("FPD", math.nan, 0.0, (math.nan, math.nan), 100)
RESULTS = {name: MetricResult(name, (m,)) for name, m in (("c2st", AUC), ("memorisation", COPIES), ("fpd", NAN))}
FLOW = Evaluation("flow", {}, RESULTS, skipped={"closure": "There are no labels."})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("c2st.CNN AUC > 0.9", True),
        ("c2st.cnn_auc>0.9", True),
        (" c2st . cnn  auc  >=  93e-2 ", True),
        ("c2st.CNN AUC > 0.93", False),
        ("c2st.CNN AUC < 0.93", False),
        ("c2st.CNN AUC <= +.93", True),
        ("c2st.CNN AUC is worse", True),
        ("c2st.CNN AUC is not as real", True),
        ("c2st.CNN AUC IS not worse", False),
        ("memorisation.copy_rate,_jaccard > -1", True),
        ("memorisation.copy rate, Jaccard is as_real", True),
        ("memorisation.copy rate, Jaccard is cannot be told", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    failures = check_gates([Gate.parse(text)], [FLOW])
    assert bool(failures) == holds
    assert not holds or (failures[0].startswith("flow: ") and text in failures[0])


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["<", "<=", ">", ">="]))
def test_numbers_compare_as_in_python(limit: float, sign: str) -> None:
    expected = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign](AUC.value, limit)
    assert Gate.parse(f"c2st.CNN AUC {sign} {limit!r}").holds(AUC) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no condition"),
        ("CNN AUC > 0.9", "no condition"),
        ("c2st. > 0.9", "no condition"),
        ("c2st.CNN AUC", "no condition"),
        ("c2st.CNN AUC = 0.9", "no condition"),
        ("c2st.CNN AUC > 0.9 > 0.8", "no condition"),
        ("c2st.CNN AUC >", "no condition"),
        ("c2st.CNN AUC > high", "'high' is no number"),
        ("c2st.CNN AUC > nan", "'nan' is no number"),
        ("c2st.CNN AUC is bad", "'bad' is no verdict; expected one of as real, worse"),
        ("c3st.CNN AUC > 0.9", "There is no metric called 'c3st'"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Gate.parse(text)


def test_what_cannot_be_checked_does_not_pass() -> None:
    (skipped,) = check_gates([Gate.parse("closure.pdg accuracy < 0.5")], [FLOW])
    assert "cannot be checked. There are no labels." in skipped
    (undefined,) = check_gates([Gate.parse("fpd.FPD > 5")], [FLOW])
    assert "FPD is nan" in undefined and "cannot be checked" in undefined
    with pytest.raises(ConfigError, match=re.escape("c2st has no measure 'KS'; expected one of CNN AUC.")):
        check_gates([Gate.parse("c2st.KS > 5")], [FLOW])


def test_every_set_is_checked() -> None:
    good = Evaluation("good", {}, {"c2st": MetricResult("c2st", (Measurement("CNN AUC", 0.5, 0.5, (0.4, 0.6), 100),))})
    gates = [Gate.parse("c2st.cnn auc > 0.9"), Gate.parse("c2st.cnn auc < 0.4")]
    assert [failure.split(":")[0] for failure in check_gates(gates, [good, FLOW])] == ["flow"]
