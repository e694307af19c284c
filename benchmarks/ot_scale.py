"""Time per sample and memory of an assignment, against the number of targets, up to a million.

    python benchmarks/ot_scale.py

D = 64, B = 256, all three costs. Memory is the peak of the process beyond what it has with the
targets loaded. Each number of targets has its own process, since a peak never goes down. Writes
results/ot_scale.json and .png.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import matplotlib
import torch

import record
from pgen.ot import COSTS, Targets, assign

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIZE, SAMPLES, ROUNDS = 64, 256, 5
COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def peak() -> int:
    """Return the peak memory in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(count: int) -> dict[str, object]:
    random = torch.Generator().manual_seed(0)
    x, psi = torch.rand(SAMPLES, SIZE, generator=random), torch.rand(count, generator=random)
    small = torch.rand(1000, SIZE, generator=random)
    for cost in COSTS:
        assign(x, Targets(small), psi[:1000], cost)  # compiled
    targets = torch.empty(count, SIZE)
    targets.uniform_(generator=random)
    before, microseconds = peak(), {}
    prepared = Targets(targets)
    for cost in COSTS:
        assign(x, prepared, psi, cost)
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            assign(x, prepared, psi, cost)
            times.append(time.perf_counter() - began)
        microseconds[cost] = round(1e6 * statistics.median(times) / SAMPLES, 1)
    return {"targets": count, "microseconds_a_sample": microseconds, "mebibytes_beyond_targets": round((peak() - before) / 2**20, 1)}


def draw(rows: list[dict[str, object]]) -> None:
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    counts = [row["targets"] for row in rows]
    for cost in COSTS:
        axes.plot(counts, [row["microseconds_a_sample"][cost] for row in rows], marker="o", label=cost)  # type: ignore[index]
    axes.set(
        xscale="log", yscale="log", xlabel="targets", ylabel="time a sample [µs]", title=f"Exact assignment, D = {SIZE}, B = {SAMPLES}"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(record.RESULTS / "ot_scale.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="Measure this one number of targets and print it.")
    given = parser.parse_args()
    if given.count:
        print(json.dumps(measure(given.count)))
        return
    rows = []
    for count in COUNTS:
        done = subprocess.run([sys.executable, __file__, "--count", str(count)], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    about = {"what": "one assignment of 256 samples to N targets of dimension 64", "dimension": SIZE, "samples": SAMPLES, "results": rows}
    record.write("ot_scale", about, "numba")
    draw(rows)


if __name__ == "__main__":
    main()
