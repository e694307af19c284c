"""A million random assignments by each kernel of pgen.ot against double precision: how many differ?

    python benchmarks/ot_exact.py [--assignments 1000000] [--triton]

Half of the problems are smooth, half of few integers, so that many values tie. An answer is wrong where its value in double precision is
above the least by more than a few of double precision's own roundings. Writes results/ot_exact.json; with --triton, for the kernels of the
GPU in Triton's interpreter, which is slow and so gets smaller problems, results/ot_exact_triton.json. On a GPU, ot_cuda.py does the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator

import torch

import record
from pgen.ot import COSTS, Targets, assign, cpu

#: Kernel -> (dimension, targets, share of lit pixels).
KERNELS = {
    "register tiles": (160, 300, 1.0),
    "matrix products": (24, 300, 1.0),
    "wide matrix products": (400, 300, 1.0),
    "sparse": (160, 300, 0.03),
}
KERNELS_TRITON = {"dense": (12, 140, 1.0), "sparse": (60, 40, 0.05)}
SAMPLES = 500
Assign = Callable[[torch.Tensor, Targets, torch.Tensor, str], tuple[torch.Tensor, torch.Tensor]]


def problem(number: int, size: int, count: int, lit: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(number)
    x, y, psi = (torch.rand(*shape, generator=random) for shape in ((SAMPLES, size), (count, size), (count,)))
    if number % 2:
        x, y, psi = (3 * x).floor(), (3 * y).floor(), (4 * psi).floor()
    if lit < 1:
        x, y = (part * (torch.rand(part.shape, generator=random) < lit) for part in (x, y))
    return x, y, psi


def wrong(assign: Assign, cost: str, x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor) -> int:
    index, _ = assign(x, Targets(y), psi, cost)
    distances = torch.cdist(x.double(), y.double(), p=1 if cost == "l1" else 2, compute_mode="donot_use_mm_for_euclid_dist")
    values = (distances.square() if cost == "sqeuclidean" else distances) - psi.double()
    chosen = values.gather(1, index[:, None])[:, 0]
    return int((chosen > values.min(1).values + 1e-13 * values.abs().max()).sum())


def results(assign: Assign, kernels: dict[str, tuple[int, int, float]], assignments: int) -> Iterator[dict[str, object]]:
    problems = -(-assignments // SAMPLES)
    for name, (size, count, lit) in kernels.items():
        for cost in COSTS:
            if "products" in name and cost == "l1":
                continue  # l1 has none: it always goes through register tiles
            cpu._tiles_are_faster = lambda name=name: name == "register tiles"  # whatever is faster on this processor
            found = sum(wrong(assign, cost, *problem(number, size, count, lit)) for number in range(problems))
            row = {"kernel": name, "cost": cost, "targets": count, "dimension": size, "assignments": problems * SAMPLES, "wrong": found}
            print(row, flush=True)
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assignments", type=int, default=1_000_000)
    parser.add_argument("--triton", action="store_true")
    given = parser.parse_args()
    what = "assignments that differ from double precision, ties apart"
    if given.triton:
        os.environ["TRITON_INTERPRET"] = "1"
        from pgen.ot.cuda import assign_cuda

        rows = list(results(assign_cuda, KERNELS_TRITON, given.assignments))
        record.write("ot_exact_triton", {"what": f"{what}, in Triton's interpreter", "results": rows}, "triton")
    else:
        record.write("ot_exact", {"what": what, "results": list(results(assign, KERNELS, given.assignments))}, "numba")


if __name__ == "__main__":
    main()
