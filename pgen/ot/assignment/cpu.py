"""Assignment on the CPU: Numba kernels on as many threads as torch uses.

Every kernel is first called with empty ranges: Numba compiles or loads a function at its first
call, and two threads must not do so at once. torch's own threads busy-wait at the end of their
work; what is computed between two calls of these kernels is therefore better run on the same
threads (:func:`map_rows`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock
from typing import TypeVar

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray
from torch import Tensor

from pgen.ot.assignment import numba_kernels as kernels
from pgen.ot.assignment.numba_kernels import L1, L2, SQEUCLIDEAN, Candidates, Problem, decide_all, no_candidates
from pgen.ot.targets import Targets

T = TypeVar("T")
KINDS = {"l1": L1, "l2": L2, "sqeuclidean": SQEUCLIDEAN}
#: Products that a thread holds at a time, for dense l2 and sqeuclidean.
BLOCK = 2**18
#: From this dimension on, register tiles may beat matrix products for l2 and sqeuclidean.
WIDE = 128
#: Samples that are compared with sparse targets at a time, so that x stays in a core's cache; and
#: values of samples for dense ones.
LANES, ROOM = 64, 2**22
#: Samples per thread from which on it is worth reading all dense targets in each thread.
MANY = 128
Kernel = Callable[[Problem, Candidates, int, int], None]
#: Index (B,) and value (B,) of the nearest targets.
Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]
_COMPILING = Lock()


def assign_cpu(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign float32 samples x (B, D) exactly; of equal values the lowest index wins.

    Args:
        x: (B, D) samples.
        targets: N targets on the CPU.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.

    Returns:
        index: (B,).
        value: (B,), in double precision.
    """
    most = LANES if targets.sparse else max(MANY * _threads(), ROOM // x.shape[1])
    if len(x) > most:
        index, value = zip(*(assign_cpu(part, targets, psi, cost) for part in x.split(most)), strict=True)
        return torch.cat(index), torch.cat(value)
    tiles = targets.sparse or cost == "l1" or (x.shape[1] >= WIDE and _tiles_are_faster())
    problem = _problem(x.detach().contiguous().numpy(), targets, psi.detach().contiguous().numpy(), cost, tiles)
    kernel: Kernel
    if targets.sparse:
        columns = np.ascontiguousarray(problem.x.T)
        kernel = lambda part, found, first, last: kernels.scan_sparse(part, found, columns, first, last)  # noqa: E731
    else:
        kernel = kernels.scan_dense if tiles else _products
    with _COMPILING:
        _nearest(kernel, _rows(problem, 0, 0), 0, 0)
    split = _split_samples if not targets.sparse and len(x) >= MANY * _threads() else _split_targets
    indices, values = split(kernel, problem)
    return torch.from_numpy(indices), torch.from_numpy(values)


def costs_cpu(x: Tensor, targets: Targets, cost: str, first: int, last: int) -> Tensor:
    """Compute costs (B, last - first) to targets first to last, in the calling thread only.

    Args:
        x: (B, D) samples, float32.
        targets: Dense ones for l1 only; sparse ones for any cost.
        cost: l1, l2 or sqeuclidean.
        first: Index of the first target.
        last: Index after the last target.
    """
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


def map_rows(work: Callable[[Tensor], T], x: Tensor, height: int) -> list[T]:
    """Apply ``work`` to each ``height`` rows of x, in threads that use one of torch's each."""
    return list(_pool(_threads()).map(work, x.split(height)))


def _problem(x: NDArray[np.float32], targets: Targets, psi: NDArray[np.float32], cost: str, tiles: bool = True) -> Problem:
    # In numpy, whose threads do not busy-wait after a sum as torch's do, and compete with ours.
    wide = x.astype(np.float64)
    x_norms = (np.abs(wide) if cost == "l1" else np.square(wide)).sum(axis=1)
    if targets.sparse:
        dense = np.zeros((0, 0), np.float32)
        starts, pixels, charges = (part.numpy() for part in targets.csr)
    else:
        dense = targets.dense.numpy()
        starts, pixels, charges = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    norms = targets.norms(cost).numpy()
    # In tiles a vector register sums every 8th term or fewer, a matrix product may sum all of them;
    # each sum is off by half an EPS.
    relative = np.float32(x.shape[1] // (16 if tiles else 2) + 8) * kernels.EPS
    return Problem(KINDS[cost], x, x_norms, dense, starts, pixels, charges, norms, psi, relative, 2 * relative * norms)


def _split_samples(kernel: Kernel, problem: Problem) -> Nearest:
    """Divide the samples among threads.

    Each thread then meets fewer targets that may be nearest than if it had a part of the targets.
    """

    def part(first: int, last: int) -> Nearest:
        return _nearest(kernel, _rows(problem, first, last), 0, len(problem.psi))

    indices, values = zip(*_map_ranges(part, len(problem.x)), strict=True)
    return np.concatenate(indices), np.concatenate(values)


def _rows(problem: Problem, first: int, last: int) -> Problem:
    return problem._replace(x=problem.x[first:last], x_norms=problem.x_norms[first:last])


def _nearest(kernel: Kernel, problem: Problem, first: int, last: int) -> Nearest:
    candidates = no_candidates(len(problem.x))
    kernel(problem, candidates, first, last)
    index, value = decide_all(problem, candidates)
    return index, value


def _split_targets(kernel: Kernel, problem: Problem) -> Nearest:
    """Divide the targets among threads; the smallest value wins, the first of equal ones."""

    def part(first: int, last: int) -> Nearest:
        return _nearest(kernel, problem, first, last)

    indices, values = map(np.stack, zip(*_map_ranges(part, len(problem.psi)), strict=True))
    # A thread whose targets are all out of reach, as by a psi of minus infinity, returns NaN.
    winner, samples = np.where(np.isnan(values), np.inf, values).argmin(axis=0), np.arange(len(problem.x))
    return indices[winner, samples], values[winner, samples]


def _products(problem: Problem, found: Candidates, first: int, last: int) -> None:
    """Find candidates for l2 and sqeuclidean by torch's matrix products, in a core's cache."""
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.dense)
    width = max(64, BLOCK // max(1, len(x)))
    room = torch.empty(len(x) * min(width, last - first))
    for start in range(first, max(last, first + 1), width):
        block = y[start : min(start + width, last)]
        products = torch.mm(x, block.T, out=room[: len(x) * len(block)].view(len(x), len(block)))
        kernels.scan_products(problem, found, products.numpy(), start)


@cache
def _tiles_are_faster() -> bool:
    """Whether register tiles beat torch's matrix products for wide vectors.

    They do on AMD's processors, where MKL, which torch calls, takes up to 1.7 times as long, and
    not on Intel's own.
    """
    return torch.backends.mkl.is_available() and str(get_host_cpu_name()).startswith("znver")


def _map_ranges(work: Callable[[int, int], T], count: int) -> list[T]:
    """Divide ``count`` items among threads and apply ``work`` to the bounds of each range."""
    bounds = np.linspace(0, count, min(_threads(), count) + 1).astype(int).tolist()
    return list(_pool(_threads()).map(work, bounds[:-1], bounds[1:]))


def _threads() -> int:
    return torch.get_num_threads()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pgen-ot", initializer=_use_one_torch_thread)
    barrier = Barrier(threads)
    list(pool.map(lambda _: barrier.wait(), range(threads)))  # all threads have started
    torch.set_num_threads(threads)
    return pool


def _use_one_torch_thread() -> None:
    """Let torch use one thread in each of ours.

    torch takes that number for threads that start later, too, until it is set again.
    """
    torch.set_num_threads(1)
    torch.get_num_threads()  # or it would be read again


# Threads do not survive in a forked child, such as a worker that loads data.
os.register_at_fork(after_in_child=_pool.cache_clear)
