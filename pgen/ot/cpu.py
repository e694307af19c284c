"""Assignment on the CPU: kernels of Numba, shared out to as many threads as torch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pgen.ot import kernels
from pgen.ot.kernels import L1, L2, SQEUCLIDEAN, Candidates, Problem, decide_all, no_candidates
from pgen.ot.targets import Targets

KINDS = {"l1": L1, "l2": L2, "sqeuclidean": SQEUCLIDEAN}
#: Products held at a time, for dense l2 and sqeuclidean.
BLOCK = 2**20
#: Samples that pass together through sparse targets: x stays in a core's cache.
LANES = 64


def assign_cpu(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """(index, value), each (B,), for float32 x (B, D) and psi (N,). Exact; of equal values the lowest index wins."""
    if targets.sparse and len(x) > LANES:
        index, value = zip(*(assign_cpu(part, targets, psi, cost) for part in x.split(LANES)), strict=True)
        return torch.cat(index), torch.cat(value)
    problem = _problem(x.detach().contiguous(), targets, psi.detach().contiguous(), cost)
    if targets.sparse:
        columns = np.ascontiguousarray(problem.x.T)
        nearest = _split_targets(lambda found, first, last: kernels.sparse(problem, found, columns, first, last), problem)
    elif cost == "l1":
        nearest = _split_targets(lambda found, first, last: kernels.dense_l1(problem, found, first, last), problem)
    else:
        nearest = _by_products(problem, x.detach(), targets.dense)
    return torch.from_numpy(nearest[0]), torch.from_numpy(nearest[1]).to(x.dtype)


def _problem(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> Problem:
    wide = x.double()
    norms = (wide.abs() if cost == "l1" else wide.square()).sum(1)
    if targets.sparse:
        dense = np.zeros((0, 0), np.float32)
        starts, pixels, charges = (part.numpy() for part in targets.lit)
    else:
        dense = targets.dense.numpy()
        starts, pixels, charges = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    return Problem(KINDS[cost], x.numpy(), norms.numpy(), dense, starts, pixels, charges, targets.norms(cost).numpy(), psi.numpy())


def _split_targets(kernel: Callable[[Candidates, int, int], None], problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Each thread takes its share of the targets; the smallest value of all wins, the first of equal ones."""
    bounds = np.linspace(0, len(problem.psi), min(_threads(), len(problem.psi)) + 1).astype(int).tolist()

    def part(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        found = no_candidates(len(problem.x))
        kernel(found, first, last)
        return decide_all(problem, found)

    indices, values = map(np.stack, zip(*_pool(_threads()).map(part, bounds[:-1], bounds[1:]), strict=True))
    winner, samples = values.argmin(axis=0), np.arange(len(problem.x))
    return indices[winner, samples], values[winner, samples]


def _by_products(problem: Problem, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Matrix products in blocks that stay in cache; the threads share the samples."""
    found = no_candidates(len(x))
    width = max(64, BLOCK // len(x))
    rows = np.linspace(0, len(x), min(_threads(), len(x)) + 1).astype(int).tolist()
    room = torch.empty(len(x) * width)
    for first in range(0, len(y), width):
        block = y[first : first + width]
        products = room[: len(x) * len(block)].view(len(x), len(block))
        torch.mm(x, block.T, out=products)
        array = products.numpy()

        def part(first_row: int, last_row: int, array: np.ndarray = array, first: int = first) -> None:
            kernels.dense_squared(problem, found, array, first_row, last_row, first)

        list(_pool(_threads()).map(part, rows[:-1], rows[1:]))
    return decide_all(problem, found)


def _threads() -> int:
    return torch.get_num_threads()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pgen-ot")
