"""A million random assignments by each CPU kernel of pgen.ot against double precision: how many differ?

    python benchmarks/ot_exact.py [--assignments 1000000]

Half of the problems are smooth, half of few integers, so that many values tie. An answer is wrong where its value in double precision is
above the least by more than a few of double precision's own roundings. Writes results/ot_exact.json.
"""

from __future__ import annotations

import argparse

import torch

import record
from pgen.ot import COSTS, Targets, assign, cpu

#: Kernel -> (dimension, share of lit pixels).
KERNELS = {"register tiles": (160, 1.0), "matrix products": (24, 1.0), "sparse": (160, 0.03)}
SAMPLES, COUNT = 500, 300


def problem(number: int, size: int, lit: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(number)
    x, y, psi = (torch.rand(*shape, generator=random) for shape in ((SAMPLES, size), (COUNT, size), (COUNT,)))
    if number % 2:
        x, y, psi = (3 * x).floor(), (3 * y).floor(), (4 * psi).floor()
    if lit < 1:
        x, y = (part * (torch.rand(part.shape, generator=random) < lit) for part in (x, y))
    return x, y, psi


def wrong(number: int, size: int, lit: float, cost: str) -> int:
    x, y, psi = problem(number, size, lit)
    index, _ = assign(x, Targets(y), psi, cost)
    distances = torch.cdist(x.double(), y.double(), p=1 if cost == "l1" else 2, compute_mode="donot_use_mm_for_euclid_dist")
    values = (distances.square() if cost == "sqeuclidean" else distances) - psi.double()
    chosen = values.gather(1, index[:, None])[:, 0]
    return int((chosen > values.min(1).values + 1e-13 * values.abs().max()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assignments", type=int, default=1_000_000)
    given = parser.parse_args()
    problems = -(-given.assignments // SAMPLES)
    cpu._tiles_are_faster = lambda: True  # else wide vectors would pass through matrix products on some processors
    results = []
    for name, (size, lit) in KERNELS.items():
        for cost in COSTS:
            if name == "matrix products" and cost == "l1":
                continue  # l1 has none: it always goes through register tiles
            count = sum(wrong(number, size, lit, cost) for number in range(problems))
            results.append({"kernel": name, "cost": cost, "assignments": problems * SAMPLES, "wrong": count})
            print(results[-1], flush=True)
    record.write("ot_exact", {"what": "assignments that differ from double precision, ties apart", "results": results}, "numba")


if __name__ == "__main__":
    main()
