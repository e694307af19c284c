"""How long do the make targets take on a fresh clone?

    python benchmarks/two_commands.py

Clones this repository as it is committed, runs make install, make demo and make test in the clone,
and writes results/two_commands.json.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import record


def main() -> None:
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", Path(__file__).parents[1], folder], check=True)
        for target in ("install", "demo", "test"):
            began = time.monotonic()
            subprocess.run(["make", target, "PYTHON=python3"], cwd=folder, check=True)
            seconds[f"make {target}"] = round(time.monotonic() - began)
    record.write("two_commands", {"what": "wall time, one after the other, in a fresh clone", "seconds": seconds})
    print(seconds)


if __name__ == "__main__":
    main()
