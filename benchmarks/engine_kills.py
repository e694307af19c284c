"""Claim: training that is killed at any moment resumes to the same weights, bit for bit.

Kills training of three models 200 times with SIGKILL, at random moments. In a fifth of the cases it
also truncates the newest checkpoint, as a power cut may. Any other checkpoint that is unreadable,
or differs from that of the undisturbed run at the same step, ends the script. Takes about 15
minutes:

    python benchmarks/engine_kills.py
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import record

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.kills import MODELS, Kill, Victim


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--steps", type=int, default=240, help="of a run, which is killed until it has done them")
    options = parser.parse_args()
    log: list[Kill] = []
    runs = {}
    with tempfile.TemporaryDirectory() as root:
        for number, model in enumerate(MODELS):
            place = Path(root) / model
            place.mkdir()
            victim = Victim(model, place, options.steps, random.Random(number))
            share = options.times // len(MODELS) + (number < options.times % len(MODELS))
            for _, kill in zip(range(share), victim.kills(), strict=False):
                log.append(kill)
                print(f"{len(log):4} {kill}", flush=True)
            runs[model] = victim.begun
    counts = {what: sum(kill.during == what for kill in log) for what in ("starting", "training", "writing")}
    found = {"kills": len(log), "unreadable_or_unequal": 0, "torn_after_the_kill": sum(kill.torn for kill in log), "during": counts}
    record.write("engine_kills", found | {"runs": runs, "log": [vars(kill) for kill in log]})


if __name__ == "__main__":
    main()
