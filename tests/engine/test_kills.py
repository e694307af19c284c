"""Six kills at random moments: nothing is lost, and training resumes bit for bit. See benchmarks/engine_kills.py for two hundred."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers.kills import Victim


@pytest.mark.parametrize(("model", "times"), [("gan", 2), ("ae", 2), ("ewm", 2)])
def test_killed_at_random_moments(model: str, times: int, tmp_path: Path) -> None:
    kills = Victim(model, tmp_path, steps=40, random=random.Random(1)).kills()
    found = [next(kills) for _ in range(times)]
    while not any(kill.newest for kill in found):  # on a busy machine the first ones come too soon
        found.append(next(kills))
