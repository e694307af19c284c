"""A million random assignments by each kernel of pgen.ot, compared with double precision.

    python benchmarks/ot_exact.py [--assignments 1000000]
    python benchmarks/ot_exact.py --triton --assignments 333334

Half of the problems are smooth; half have few integers, so that many values tie. An answer is wrong
if its value in double precision is above the minimum by more than a few rounding errors of double
precision. Writes results/ot_exact.json, with this many assignments by each kernel and cost. With
--triton, the GPU kernels run in Triton's interpreter, and the results go to
results/ot_exact_triton.json. That is slow (a million by each, a third with each cost, take an hour
and a half on two cores), so problems are smaller. On a GPU, ot_cuda.py does the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from multiprocessing import get_context

import torch

import record
from pgen.ot import COSTS, Targets, assign
from pgen.ot.assignment import cpu

#: Kernel -> (dimension, targets, share of lit pixels).
KERNELS = {
    "register tiles": (160, 300, 1.0),
    "matrix products": (24, 300, 1.0),
    "wide matrix products": (400, 300, 1.0),
    "sparse": (160, 300, 0.03),
}
KERNELS_TRITON = {"Triton, dense": (12, 140, 1.0), "Triton, sparse": (60, 40, 0.05)}
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


def by_kernel(kernel: str) -> Assign:
    if kernel in KERNELS_TRITON:
        return interpreted()
    cpu._tiles_are_faster = lambda: kernel == "register tiles"  # whatever is faster on this processor
    return assign


@cache
def interpreted() -> Assign:
    """Kernels of the GPU in Triton's interpreter. That would put its operations in the place of the language's at each call of a function,
    and take twice as long."""
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime import interpreter

    from pgen.ot.assignment.cuda import assign_cuda

    put, done = interpreter._patch_lang, set()

    def put_once(function: Callable[..., object]) -> object:
        if function.__module__ not in done:
            done.add(function.__module__)
            put(function)
        return interpreter._LangPatchScope()  # of nothing to put back

    interpreter._patch_lang = put_once
    return assign_cuda


def wrong(kernel: str, cost: str, number: int) -> int:
    x, y, psi = problem(number, *{**KERNELS, **KERNELS_TRITON}[kernel])
    index, _ = by_kernel(kernel)(x, Targets(y), psi, cost)
    distances = torch.cdist(x.double(), y.double(), p=1 if cost == "l1" else 2, compute_mode="donot_use_mm_for_euclid_dist")
    values = (distances.square() if cost == "sqeuclidean" else distances) - psi.double()
    chosen = values.gather(1, index[:, None])[:, 0]
    return int((chosen > values.min(1).values + 1e-13 * values.abs().max()).sum())


def results(
    kernels: dict[str, tuple[int, int, float]], assignments: int, each: Callable[..., Iterable[int]] = map
) -> Iterator[dict[str, object]]:
    problems = -(-assignments // SAMPLES)
    for name, (size, count, _) in kernels.items():
        for cost in COSTS:
            if "products" in name and cost == "l1":
                continue  # l1 has none: it always goes through register tiles
            found = sum(each(partial(wrong, name, cost), range(problems)))
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
        with get_context("spawn").Pool(torch.get_num_threads(), torch.set_num_threads, (1,)) as processes:
            rows = list(results(KERNELS_TRITON, given.assignments, processes.imap_unordered))
        record.write("ot_exact_triton", {"what": f"{what}, in Triton's interpreter", "results": rows}, "triton")
    else:
        record.write("ot_exact", {"what": what, "results": list(results(KERNELS, given.assignments))}, "numba")


if __name__ == "__main__":
    main()
