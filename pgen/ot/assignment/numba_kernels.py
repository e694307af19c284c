"""CPU kernels of the assignment, compiled by Numba, for dense and sparse targets.

Exact answers come from single precision as follows. A kernel knows the largest error of its costs,
and keeps every target whose value (cost - psi) may be the smallest as a candidate. There are few,
and they are decided in double precision; of equal values the lowest index wins. So the answer
depends neither on the order of summation, nor on the number of threads, nor on the kernel.

Costs that are returned themselves have no such protection. Numba may compile a function that calls
others differently where those come from its cache, so nothing there is left to its choice:
:func:`dense_l1` calls none, :func:`sparse_costs` adds in a fixed order.

Each kernel leaves in ``found`` the candidates among targets ``first`` to ``last``. None holds the
interpreter lock, so threads can share the work. All are in one file, since Numba compiles a kernel
anew only when the file that it is in has changed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pgen.utils.caches import compiled

L1, L2, SQEUCLIDEAN = 0, 1, 2
#: Relative rounding error of single precision.
EPS = np.float32(2.0**-23)
#: Candidates kept for a sample before they are decided.
ROOM = 16
#: Bytes of targets that stay in a core's cache while all samples pass.
CACHE = 2**18
#: Costs that are scanned together.
RUN = 256
#: The fast-math flags that respect NaN and infinity.
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
#: Added to norms in error bounds, for what underflows in single precision.
FLOOR = np.float32(2.0**-80)
#: Numba promotes an integer times single precision to double precision.
ONE, TWO = np.float32(1), np.float32(2)


class Problem(NamedTuple):
    """Samples and targets.

    Attributes:
        kind: The cost: L1, L2 or SQEUCLIDEAN.
        x: (B, D) samples.
        x_norms: (B,) sums of |x| for l1, of x² for the other costs.
        dense: (N, D) targets, empty for sparse ones.
        starts: (N + 1,) where the nonzero values of target j begin and end.
        pixels: Columns of the nonzero values.
        charges: The nonzero values.
        norms: (N,) as x_norms, of the targets.
        psi: (N,) potential.
        relative: Largest error of a dense cost (l2: of its square) over the sum of both norms.
        slack: (N,) twice that error, the targets' part.
    """

    kind: int
    x: NDArray[np.float32]
    x_norms: NDArray[np.float64]
    dense: NDArray[np.float32]
    starts: NDArray[np.int64]
    pixels: NDArray[np.int32]
    charges: NDArray[np.float32]
    norms: NDArray[np.float32]
    psi: NDArray[np.float32]
    relative: np.float32
    slack: NDArray[np.float32]


class Candidates(NamedTuple):
    """Targets that may be nearest to each sample.

    Attributes:
        target: (B, ROOM) their indices.
        lower: (B, ROOM) lower bounds of their values.
        held: (B,) how many there are.
        best: (B,) the smallest upper bound so far.
    """

    target: NDArray[np.int64]
    lower: NDArray[np.float32]
    held: NDArray[np.int64]
    best: NDArray[np.float32]


def no_candidates(samples: int) -> Candidates:
    """Allocate empty candidates for some samples."""
    return Candidates(
        np.zeros((samples, ROOM), np.int64),
        np.zeros((samples, ROOM), np.float32),
        np.zeros(samples, np.int64),
        np.full(samples, np.inf, np.float32),
    )


@compiled(nogil=True, fastmath=FAST)
def scan_dense(problem, found, first, last):
    """Find candidates for any cost to dense targets.

    Four samples by four targets at a time, so that each value is loaded once for four terms.
    """
    samples, size = problem.x.shape
    chunk = _chunk(size)
    costs = np.empty((4, chunk + 3), np.float32)
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        for i in range(0, samples, 4):
            _tiles(problem, costs, i, start, stop)
            _scan_tiles(problem, found, costs, i, start, stop - start)


@compiled(nogil=True, fastmath=FAST)
def dense_l1(problem, out, origin, first, last):
    """Write l1 costs to dense targets into columns of ``out`` from first - origin on."""
    samples, size = problem.x.shape
    chunk = _chunk(size)
    costs = np.empty((4, chunk + 3), np.float32)
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        for i in range(0, samples, 4):
            _tiles(problem, costs, i, start, stop)
            for a in range(min(4, samples - i)):
                out[i + a, start - origin : stop - origin] = costs[a, : stop - start]


@njit(inline="always")
def _chunk(size):
    """Return how many targets of ``size`` values stay in a core's cache."""
    return min(RUN, max(4, CACHE // (16 * size) * 4))


@njit(inline="always")
def _tiles(problem, costs, i, start, stop):
    """Write l1, or else products, of samples i to i + 4 with targets into the rows of ``costs``."""
    x, y, last_row = problem.x, problem.dense, len(problem.x) - 1
    i1, i2, i3 = min(i + 1, last_row), min(i + 2, last_row), min(i + 3, last_row)
    for j in range(start, stop, 4):
        j1, j2, j3 = min(j + 1, stop - 1), min(j + 2, stop - 1), min(j + 3, stop - 1)
        if problem.kind == L1:
            _tile_l1(costs, j - start, x, y, i, i1, i2, i3, j, j1, j2, j3)
        else:
            _tile_products(costs, j - start, x, y, i, i1, i2, i3, j, j1, j2, j3)


@njit(inline="always")
def _tile_l1(costs, at, x, y, i0, i1, i2, i3, j0, j1, j2, j3):
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
    for k in range(x.shape[1]):
        a0, a1, a2, a3 = x[i0, k], x[i1, k], x[i2, k], x[i3, k]
        b0, b1, b2, b3 = y[j0, k], y[j1, k], y[j2, k], y[j3, k]
        s00 += abs(a0 - b0)
        s01 += abs(a0 - b1)
        s02 += abs(a0 - b2)
        s03 += abs(a0 - b3)
        s10 += abs(a1 - b0)
        s11 += abs(a1 - b1)
        s12 += abs(a1 - b2)
        s13 += abs(a1 - b3)
        s20 += abs(a2 - b0)
        s21 += abs(a2 - b1)
        s22 += abs(a2 - b2)
        s23 += abs(a2 - b3)
        s30 += abs(a3 - b0)
        s31 += abs(a3 - b1)
        s32 += abs(a3 - b2)
        s33 += abs(a3 - b3)
    costs[0, at], costs[0, at + 1], costs[0, at + 2], costs[0, at + 3] = s00, s01, s02, s03
    costs[1, at], costs[1, at + 1], costs[1, at + 2], costs[1, at + 3] = s10, s11, s12, s13
    costs[2, at], costs[2, at + 1], costs[2, at + 2], costs[2, at + 3] = s20, s21, s22, s23
    costs[3, at], costs[3, at + 1], costs[3, at + 2], costs[3, at + 3] = s30, s31, s32, s33


@njit(inline="always")
def _tile_products(costs, at, x, y, i0, i1, i2, i3, j0, j1, j2, j3):
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
    for k in range(x.shape[1]):
        a0, a1, a2, a3 = x[i0, k], x[i1, k], x[i2, k], x[i3, k]
        b0, b1, b2, b3 = y[j0, k], y[j1, k], y[j2, k], y[j3, k]
        s00 += a0 * b0
        s01 += a0 * b1
        s02 += a0 * b2
        s03 += a0 * b3
        s10 += a1 * b0
        s11 += a1 * b1
        s12 += a1 * b2
        s13 += a1 * b3
        s20 += a2 * b0
        s21 += a2 * b1
        s22 += a2 * b2
        s23 += a2 * b3
        s30 += a3 * b0
        s31 += a3 * b1
        s32 += a3 * b2
        s33 += a3 * b3
    costs[0, at], costs[0, at + 1], costs[0, at + 2], costs[0, at + 3] = s00, s01, s02, s03
    costs[1, at], costs[1, at + 1], costs[1, at + 2], costs[1, at + 3] = s10, s11, s12, s13
    costs[2, at], costs[2, at + 1], costs[2, at + 2], costs[2, at + 3] = s20, s21, s22, s23
    costs[3, at], costs[3, at + 1], costs[3, at + 2], costs[3, at + 3] = s30, s31, s32, s33


@compiled()
def _scan_tiles(problem, found, costs, i, first, count):
    for a in range(min(4, len(problem.x) - i)):
        if problem.kind != L1:
            _squares(costs[a], costs[a], problem.x_norms[i + a], problem.norms, first, count)
        _scan(problem, found, i + a, costs[a], first, count)


@compiled(nogil=True)
def scan_products(problem, found, block, first):
    """Find candidates for l2 and sqeuclidean to dense targets.

    block: products x·y of all samples with targets from ``first`` on.
    """
    x_norms, norms = problem.x_norms, problem.norms
    costs = np.empty(RUN, np.float32)
    for row in range(len(block)):
        for start in range(0, block.shape[1], RUN):
            count = min(RUN, block.shape[1] - start)
            _squares(costs, block[row, start : start + count], x_norms[row], norms, first + start, count)
            _scan(problem, found, row, costs, first + start, count)


@compiled(fastmath=FAST)
def _squares(costs, block, x_norm, norms, first, count):
    """Turn products x·y into |x - y|²; ``costs`` and ``block`` may be the same array."""
    # Sliced: a sum of indices might be negative to Numba, which would prevent vectorisation.
    norm, norms = np.float32(x_norm), norms[first : first + count]
    for b in range(count):
        costs[b] = norm + norms[b] - TWO * block[b]


@njit(inline="always")
def _scan(problem, found, row, costs, first, count):
    """Add targets first to first + count to the candidates of a sample, if they may be nearest."""
    norm, relative = np.float32(problem.x_norms[row]) + FLOOR, problem.relative
    kind, slack, psi, x_slack = problem.kind, problem.slack, problem.psi, TWO * relative * norm
    if _hits(kind, costs, slack, psi, first, count, found.best[row], x_slack):
        for b in range(count):
            if _hit(kind, costs[b] - slack[first + b] - x_slack, psi[first + b], found.best[row]):
                offer(problem, found, row, first + b, costs[b], relative * (norm + problem.norms[first + b]))


@compiled(fastmath=FAST)
def _hits(kind, costs, slack, psi, first, count, best, x_slack):
    """Count the targets of a run whose value may be at most ``best``.

    Counting fits vector registers, a search for the smallest does not.
    """
    hits = np.int32(0)
    slack, psi = slack[first : first + count], psi[first : first + count]
    for b in range(count):
        hits += np.int32(_hit(kind, costs[b] - slack[b] - x_slack, psi[b], best))
    return hits


@compiled(fastmath=FAST)
def _column_hits(kind, costs, norms, norm, relative, psi, best):
    """Count the samples for which the value of one target may be at most ``best``."""
    hits = np.int32(0)
    for b in range(len(costs)):
        hits += np.int32(_hit(kind, costs[b] - TWO * relative * (norms[b] + norm), psi, best[b]))
    return hits


@njit(inline="always")
def _hit(kind, low, psi, best):
    """Whether a cost (l2: square) of at least ``low``, minus psi, may be at most ``best``."""
    reach = best + psi + (abs(best) + abs(psi)) * TWO * EPS
    if kind == L2:
        return (reach >= 0) & (low <= reach * reach * (ONE + TWO * EPS))
    return low <= reach


@compiled(nogil=True)
def scan_sparse(problem, found, columns, first, last):
    """Find candidates for any cost to sparse targets, in O(nonzero values).

    columns: (D, B), x transposed.

    sum |x - y| = sum |x| + sum over y != 0 of (|x - y| - |x|);  sum (x - y)² = |x|² + |y|² - 2 x·y.
    """
    samples = len(problem.x)
    norms = problem.x_norms.astype(np.float32)
    costs = np.empty(samples, np.float32)
    for j in range(first, last):
        _sparse_costs(problem, costs, columns, norms, j)
        relative, norm = np.float32(problem.starts[j + 1] - problem.starts[j] + 8) * EPS, problem.norms[j] + FLOOR
        if _column_hits(problem.kind, costs, norms, norm, relative, problem.psi[j], found.best):
            for b in range(samples):
                error = relative * (norms[b] + norm)
                if _hit(problem.kind, costs[b] - TWO * error, problem.psi[j], found.best[b]):
                    offer(problem, found, b, j, costs[b], error)


@compiled(nogil=True)
def sparse_costs(problem, out, origin, columns, first, last):
    """Write costs (l2: squares) to sparse targets into rows of ``out`` from first - origin on."""
    norms = problem.x_norms.astype(np.float32)
    for j in range(first, last):
        _sparse_costs(problem, out[j - origin], columns, norms, j)


@njit(inline="always")
def _sparse_costs(problem, costs, columns, norms, j):
    begin, end = problem.starts[j], problem.starts[j + 1]
    if problem.kind == L1:
        costs[:] = norms
        _add_l1(costs, columns, problem.pixels, problem.charges, begin, end)
    else:
        costs[:] = norms + problem.norms[j]
        _subtract_products(costs, columns, problem.pixels, problem.charges, begin, end)


@compiled()
def _add_l1(costs, columns, pixels, charges, begin, end):
    """Add two values at a time, so that a cost is loaded and stored half as often."""
    for q in range(begin, end - 1, 2):
        charge0, charge1 = charges[q], charges[q + 1]
        column0, column1 = columns[pixels[q]], columns[pixels[q + 1]]
        for b in range(len(costs)):
            costs[b] += (abs(column0[b] - charge0) - abs(column0[b])) + (abs(column1[b] - charge1) - abs(column1[b]))
    if (end - begin) % 2:
        charge, column = charges[end - 1], columns[pixels[end - 1]]
        for b in range(len(costs)):
            costs[b] += abs(column[b] - charge) - abs(column[b])


@compiled(fastmath={"contract"})
def _subtract_products(costs, columns, pixels, charges, begin, end):
    """Subtract four products at a time, likewise."""
    whole = begin + (end - begin) // 4 * 4
    for q in range(begin, whole, 4):
        twice0, twice1, twice2, twice3 = TWO * charges[q], TWO * charges[q + 1], TWO * charges[q + 2], TWO * charges[q + 3]
        column0, column1, column2, column3 = columns[pixels[q]], columns[pixels[q + 1]], columns[pixels[q + 2]], columns[pixels[q + 3]]
        for b in range(len(costs)):
            costs[b] = costs[b] - column0[b] * twice0 - column1[b] * twice1 - column2[b] * twice2 - column3[b] * twice3
    for q in range(whole, end):
        twice, column = TWO * charges[q], columns[pixels[q]]
        for b in range(len(costs)):
            costs[b] -= column[b] * twice


@njit(inline="always")
def offer(problem, found, row, index, cost, error):
    """Add a target to the candidates; its ``cost`` (l2: square) is off by at most ``error``."""
    psi = problem.psi[index]
    low, high = cost - error, cost + error
    if problem.kind == L2:
        low, high = np.sqrt(max(low, np.float32(0))), np.sqrt(max(high, np.float32(0)))
    rounding = (abs(high) + abs(psi)) * EPS
    low, high = low - psi - rounding, high - psi + rounding
    if low <= found.best[row]:
        found.best[row] = min(found.best[row], high)
        if found.held[row] == ROOM:
            decide(problem, found, row)
        slot = found.held[row]
        found.target[row, slot], found.lower[row, slot], found.held[row] = index, low, slot + 1


@compiled()
def decide(problem, found, row):
    """Keep only the best of a sample's candidates; return it, or -1, and its exact value."""
    index, value = np.int64(-1), np.inf
    for slot in range(found.held[row]):
        if found.lower[row, slot] <= found.best[row]:
            target = found.target[row, slot]
            exact = _exact(problem, row, target) - np.float64(problem.psi[target])
            if exact < value or (exact == value and target < index):
                index, value = target, exact
    if index < 0:  # none of them can win against a target that is about to be added
        found.held[row] = 0
        return index, value
    rounded = np.float32(value)
    found.target[row, 0], found.lower[row, 0], found.held[row] = index, rounded - abs(rounded) * EPS, 1
    found.best[row] = min(found.best[row], rounded + abs(rounded) * EPS)
    return index, value


@compiled(nogil=True)
def decide_all(problem, found):
    """Return the nearest target of each sample (B,) and its exact value (B,)."""
    samples = len(found.held)
    index, value = np.empty(samples, np.int64), np.empty(samples, np.float64)
    for row in range(samples):
        index[row], value[row] = decide(problem, found, row)
        if index[row] < 0:  # x or psi is NaN
            index[row], value[row] = 0, np.nan
    return index, value


@compiled()
def _exact(problem, row, target):
    """Compute the cost of a sample and a target in double precision."""
    x, total = problem.x[row], 0.0
    if len(problem.dense):
        y = problem.dense[target]
        for k in range(len(y)):
            difference = np.float64(x[k]) - np.float64(y[k])
            total += abs(difference) if problem.kind == L1 else difference * difference
    else:
        total = problem.x_norms[row]
        for q in range(problem.starts[target], problem.starts[target + 1]):
            a, b = np.float64(x[problem.pixels[q]]), np.float64(problem.charges[q])
            total += abs(a - b) - abs(a) if problem.kind == L1 else b * (b - 2 * a)
        if problem.kind != L1:
            total = max(total, 0.0)
    return np.sqrt(total) if problem.kind == L2 else total
