"""``python -m tests.cli.hostile_run SOUND PLACE SEED TIMES``: tries cases one after the other, and prints what went wrong with any.

A process of its own, which has loaded all that pgen needs and done nothing yet, so that its forks are sound and start at once.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pgen.cli.app
import pgen.engine.deploy
import pgen.engine.loop
import pgen.engine.sample  # noqa: F401
from tests.cli.hostile import KINDS, attempt


def main() -> None:
    sound, place, seed, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (place / "within").mkdir(parents=True)
    counts: Counter[str] = Counter()
    failed = 0
    for number in range(seed, seed + times):
        case = KINDS[number % len(KINDS)](random.Random(number))
        wrong = attempt(case, sound, place / "within" / "case")
        counts[case.name.split()[0]] += 1
        if wrong:
            failed += 1
            print(f"--- seed {number}: {wrong}", flush=True)
    print(f"{times} cases, {failed} failed: {dict(counts)}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
