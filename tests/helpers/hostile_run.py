"""``python -m tests.helpers.hostile_run SOUND PLACE FIRST TIMES``: tries cases one after the other; prints what went wrong with any, then a
line of JSON with how many there were of each kind, were refused, and failed.

A process of its own, which has loaded all that pgen needs and done nothing yet, so that its forks are sound and start at once.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

from tests.helpers import warm
from tests.helpers.hostile import KINDS, attempt


def main() -> None:
    for library in warm.LIBRARIES:
        importlib.import_module(library)
    sound, place, first, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (place / "within").mkdir(parents=True)
    counts: dict[str, Counter[str]] = {"kinds": Counter(), "refused": Counter()}
    failed = 0
    for number in range(first, first + times):
        case = KINDS[number % len(KINDS)](random.Random(number))
        code, wrong = attempt(case, sound, place / "within" / "case")
        counts["kinds"][case.name] += 1
        counts["refused"][case.name] += code == 2
        if wrong:
            failed += 1
            print(f"--- seed {number}: {wrong}", flush=True)
    print(json.dumps({"cases": times, "failed": failed, **counts}))


if __name__ == "__main__":
    main()
