"""Times of a flow: about those at which noise lets targets be told apart."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pgen.models.flow.time_schedule import TimeSchedule

COUNTS, SIZES = st.integers(1, 10**9), st.integers(1, 10**5)


@given(COUNTS, SIZES, st.integers(1, 200))
def test_times_of_steps_rise_from_noise_to_targets(count: int, size: int, steps: int) -> None:
    times = TimeSchedule.from_targets(count, size).step_bounds(steps)
    assert len(times) == steps + 1 and (times[0], times[-1]) == (0, 1)
    assert all(a < b for a, b in itertools.pairwise(times))


@given(COUNTS, SIZES)
def test_half_of_them_are_before_noise_lets_targets_be_told_apart(count: int, size: int) -> None:
    times = TimeSchedule.from_targets(count, size)
    middle = float(times(torch.tensor([0.5], dtype=torch.float64)))
    noise = (1 - middle) / middle  # over targets
    assert noise == pytest.approx(times.shift)
    if times.shift > 1:
        assert size / 2 * math.log1p(noise**-2) == pytest.approx(math.log(max(2, count)), rel=1e-4)


def test_few_numbers_leave_them_even() -> None:
    assert TimeSchedule.from_targets(400, 2).step_bounds(4) == [0, 0.25, 0.5, 0.75, 1]
