"""Assignment on the CPU: kernels of Numba, shared out to as many threads as torch uses.

Every kernel is first called on nothing: Numba compiles or loads a function when it is first called, and two threads must not do so at once.
torch's own threads wait for more work at the end of what they did, at full speed; what stands between two calls of these kernels is
therefore better shared out to the same threads (:func:`by_rows`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray
from torch import Tensor

from pgen.ot.assignment import numba_kernels as kernels
from pgen.ot.assignment.numba_kernels import L1, L2, SQEUCLIDEAN, Candidates, Problem, decide_all, no_candidates
from pgen.ot.targets import Targets

KINDS = {"l1": L1, "l2": L2, "sqeuclidean": SQEUCLIDEAN}
#: Products that a thread holds at a time, for dense l2 and sqeuclidean.
BLOCK = 2**18
#: From this dimension on, l2 and sqeuclidean are faster in register tiles than on matrix products, where they ever are.
WIDE = 128
#: Samples that pass together through sparse targets: x stays in a core's cache. And numbers of those that pass through dense ones.
LANES, ROOM = 64, 2**22
#: Samples a thread that make it worth while to bring all dense targets from memory to each of them.
MANY = 128
Kernel = Callable[[Problem, Candidates, int, int], None]
_COMPILING = Lock()


def assign_cpu(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """(index, value), each (B,), value in double precision, for float32 x (B, D) and psi (N,). Exact; the lowest of equal ones wins."""
    most = LANES if targets.sparse else max(MANY * _threads(), ROOM // x.shape[1])
    if len(x) > most:
        index, value = zip(*(assign_cpu(part, targets, psi, cost) for part in x.split(most)), strict=True)
        return torch.cat(index), torch.cat(value)
    tiles = targets.sparse or cost == "l1" or (x.shape[1] >= WIDE and _tiles_are_faster())
    problem = _problem(x.detach().contiguous().numpy(), targets, psi.detach().contiguous().numpy(), cost, tiles)
    if targets.sparse:
        columns = np.ascontiguousarray(problem.x.T)
        kernel = lambda part, found, first, last: kernels.sparse(part, found, columns, first, last)  # noqa: E731
    else:
        kernel = kernels.dense if tiles else _products
    with _COMPILING:
        _nearest(kernel, _rows(problem, 0, 0), 0, 0)
    split = _split_samples if not targets.sparse and len(x) >= MANY * _threads() else _split_targets
    nearest = split(kernel, problem)
    return torch.from_numpy(nearest[0]), torch.from_numpy(nearest[1])


def costs_cpu(x: Tensor, targets: Targets, cost: str, first: int, last: int) -> Tensor:
    """(B, last - first) costs of float32 x (B, D) and targets ``first`` to ``last``; l1, or any cost to sparse targets. In the calling
    thread alone."""
    if targets.sparse and len(x) > LANES:
        return torch.cat([costs_cpu(part, targets, cost, first, last) for part in x.split(LANES)])
    problem = _problem(x.detach().contiguous().numpy(), targets, np.zeros(len(targets), np.float32), cost)
    if targets.sparse:
        columns = np.ascontiguousarray(problem.x.T)
        out = np.empty((last - first, len(x)), np.float32)
        kernel = lambda a, b: kernels.sparse_costs(problem, out, first, columns, a, b)  # noqa: E731
    else:
        out = np.empty((len(x), last - first), np.float32)
        kernel = lambda a, b: kernels.dense_l1(problem, out, first, a, b)  # noqa: E731
    with _COMPILING:
        kernel(0, 0)
    kernel(first, last)
    if targets.sparse:
        out = np.maximum(out, 0).T
    return torch.from_numpy(np.sqrt(out) if cost == "l2" else out)


def by_rows(work: Callable[[Tensor], Any], x: Tensor, height: int) -> list[Any]:
    """What ``work`` returns for each ``height`` rows of x, in their order, by threads that have one of torch's each."""
    return list(_pool(_threads()).map(work, x.split(height)))


def _problem(x: NDArray[np.float32], targets: Targets, psi: NDArray[np.float32], cost: str, tiles: bool = True) -> Problem:
    # In numpy, whose threads do not linger after a sum as torch's do, to compete with ours.
    wide = x.astype(np.float64)
    x_norms = (np.abs(wide) if cost == "l1" else np.square(wide)).sum(axis=1)
    if targets.sparse:
        dense = np.zeros((0, 0), np.float32)
        starts, pixels, charges = (part.numpy() for part in targets.lit)
    else:
        dense = targets.dense.numpy()
        starts, pixels, charges = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    norms = targets.norms(cost).numpy()
    # In tiles a vector register sums every 8th term or fewer, a matrix product may sum all of them; each sum is off by half an EPS.
    relative = np.float32(x.shape[1] // (16 if tiles else 2) + 8) * kernels.EPS
    return Problem(KINDS[cost], x, x_norms, dense, starts, pixels, charges, norms, psi, relative, 2 * relative * norms)


def _split_samples(kernel: Kernel, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Each thread takes its share of the samples: it then meets fewer targets that may be their nearest than if it had a part of these."""

    def part(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        return _nearest(kernel, _rows(problem, first, last), 0, len(problem.psi))

    indices, values = zip(*_share_out(part, len(problem.x)), strict=True)
    return np.concatenate(indices), np.concatenate(values)


def _rows(problem: Problem, first: int, last: int) -> Problem:
    return problem._replace(x=problem.x[first:last], x_norms=problem.x_norms[first:last])


def _nearest(kernel: Kernel, problem: Problem, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    found = no_candidates(len(problem.x))
    kernel(problem, found, first, last)
    return decide_all(problem, found)


def _split_targets(kernel: Kernel, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Each thread takes its share of the targets; the smallest value of all wins, the first of equal ones."""

    def part(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        return _nearest(kernel, problem, first, last)

    indices, values = map(np.stack, zip(*_share_out(part, len(problem.psi)), strict=True))
    # A share whose targets are all out of reach, as by a psi of minus infinity, has NaN.
    winner, samples = np.where(np.isnan(values), np.inf, values).argmin(axis=0), np.arange(len(problem.x))
    return indices[winner, samples], values[winner, samples]


def _products(problem: Problem, found: Candidates, first: int, last: int) -> None:
    """As :func:`pgen.ot.assignment.numba_kernels.dense`, for l2 and sqeuclidean: by matrix products of torch that stay in a core's cache."""
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.dense)
    width = max(64, BLOCK // max(1, len(x)))
    room = torch.empty(len(x) * min(width, last - first))
    for start in range(first, max(last, first + 1), width):
        block = y[start : min(start + width, last)]
        products = torch.mm(x, block.T, out=room[: len(x) * len(block)].view(len(x), len(block)))
        kernels.products(problem, found, products.numpy(), start)


@cache
def _tiles_are_faster() -> bool:
    """Whether register tiles beat the matrix products of torch for wide vectors: on AMD's processors, where Intel's library, which torch
    calls, takes up to 1.7 times as long, and not on Intel's own."""
    return torch.backends.mkl.is_available() and get_host_cpu_name().startswith("znver")


def _share_out(part: Callable[[int, int], Any], count: int) -> list[Any]:
    """What ``part`` returns for the first and last of each thread's share of ``count``."""
    bounds = np.linspace(0, count, min(_threads(), count) + 1).astype(int).tolist()
    return list(_pool(_threads()).map(part, bounds[:-1], bounds[1:]))


def _threads() -> int:
    return torch.get_num_threads()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pgen-ot", initializer=_alone)
    everyone = Barrier(threads)
    list(pool.map(lambda _: everyone.wait(), range(threads)))  # all have begun
    torch.set_num_threads(threads)
    return pool


def _alone() -> None:
    """One thread of torch's own in each of ours. torch takes that for what every thread begun later wants, too, until told otherwise."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # or it would be read again


# Threads do not live on in a child, such as a worker that loads data.
os.register_at_fork(after_in_child=_pool.cache_clear)
