"""Claim: hostile files run no code, cause no traceback, hang nothing and lose nothing.

Passes more than a thousand configurations, run folders, checkpoints, latent codes, weights,
programs and images to the command line, each in its own process. They are damaged at random or made
to do harm. Takes about ten minutes:

    python benchmarks/engine_hostile.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import record

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.conftest import run_pgen
from tests.helpers.hostile import make_valid_files


def pgen(*arguments: object, **options: Any) -> None:
    done = run_pgen(*arguments, **options)
    assert done.returncode == 0, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1200)
    parser.add_argument("--first", type=int, default=10_000, help="number of the first case, from which it follows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        (folder := Path(root) / "sound").mkdir()
        make_valid_files(folder, pgen)
        command = [sys.executable, "-m", "tests.helpers.hostile_run", str(folder), f"{root}/place", str(options.first), str(options.times)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    print(done.stdout)
    found = json.loads(done.stdout.splitlines()[-1])
    record.write("engine_hostile", {"first": options.first, **found})


if __name__ == "__main__":
    main()
