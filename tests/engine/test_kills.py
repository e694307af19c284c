"""After kills at random moments nothing is lost, and training resumes bit for bit.

benchmarks/engine_kills.py kills two hundred times.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers.kills import Victim


@pytest.mark.parametrize(("model", "times"), [("gan", 2), ("ae", 2), ("ewm", 2)])
def test_training_survives_kills_at_random_moments(model: str, times: int, tmp_path: Path) -> None:
    stream = Victim(model, tmp_path, steps=40, random=random.Random(1)).kills()
    kills = [next(stream) for _ in range(times)]
    while not any(kill.newest for kill in kills):  # on a busy machine the first kills may come before a checkpoint
        kills.append(next(stream))
