"""Run cases: ``python -m tests.helpers.hostile_run VALID_FILES PLACE FIRST TIMES``.

It prints the faults, then a line of JSON: how many cases there were of each kind, how many were
refused and how many failed. It is a process of its own, which has imported everything and done
nothing else, so that its forks start at once and are safe.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

from tests.helpers import warm
from tests.helpers.hostile import KINDS, run_case


def main() -> None:
    for library in warm.LIBRARIES:
        importlib.import_module(library)
    valid_files, place, first, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (place / "within").mkdir(parents=True)
    counts: dict[str, Counter[str]] = {"kinds": Counter(), "refused": Counter()}
    failed = 0
    for number in range(first, first + times):
        case = KINDS[number % len(KINDS)](random.Random(number))
        code, fault = run_case(case, valid_files, place / "within" / "case")
        counts["kinds"][case.name] += 1
        counts["refused"][case.name] += code == 2
        if fault:
            failed += 1
            print(f"--- seed {number}: {fault}", flush=True)
    print(json.dumps({"cases": times, "failed": failed, **counts}))


if __name__ == "__main__":
    main()
