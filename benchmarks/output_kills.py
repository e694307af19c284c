"""Claim: a command killed at any moment leaves each output absent, unchanged or complete.

Kills every command that writes with SIGKILL, at random moments, with new and with existing outputs.
After each kill, the outputs are read and compared with those of an undisturbed run, other files
next to them are checked, and the command is run again, after which nothing unfinished may be left.
Any error ends the script. Takes about ten minutes:

    python benchmarks/output_kills.py
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import record

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.output_kills import COMMANDS, Kill, Victim, make_inputs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=6, help="kills of a command on new outputs, and on existing ones")
    parser.add_argument("--images", type=int, default=4000)
    options = parser.parse_args()
    log: list[Kill] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_inputs(root, options.images, ["ae", "gan"])
        for number, command in enumerate(COMMANDS):
            for existing in (True,) if command.appends else (False, True):
                victim = Victim(command, existing, root, random.Random(2 * number + existing))
                times = options.each * (2 if command.appends else 1)
                for kill in victim.kills():
                    if kill.during != "ended":
                        log.append(kill)
                        print(json.dumps(vars(kill)), flush=True)
                        times -= 1
                    if times == 0:
                        break
    counts = {key: Counter(getattr(kill, key) for kill in log) for key in ("during", "left")}
    record.write("output_kills", {"kills": len(log), "half_or_lost": 0, **counts, "log": [vars(kill) for kill in log]}, "h5py", "filelock")


if __name__ == "__main__":
    main()
