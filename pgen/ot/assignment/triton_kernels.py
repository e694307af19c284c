"""GPU kernels of the assignment, in Triton: bounds in single precision, decisions in double.

The first pass (:func:`dense_bounds`, :func:`sparse_bounds`) writes, for each sample and each tile
of neighbouring targets, the smallest lower and the smallest upper bound of their values (cost -
psi). A target whose lower bound is above some upper bound of its sample cannot be nearest. So the
second pass (:func:`exact`) evaluates in double precision only the other tiles, and takes the lowest
index of the smallest value. The answer therefore depends neither on the order of summation, nor on
the tiles, nor on how tensor cores round, as long as a bound holds:
:func:`pgen.ot.assignment.cuda.dense_error` says why it does.

Tile sizes are fixed, in :mod:`pgen.ot.assignment.cuda`, since tuning would run each shape many
times at the first call. Nor are kernels specialised for numbers that are divisible by 16, or 1,
where loads do not gain by it. Arrays are contiguous; offsets into those that may hold more than
2^31 values are 64 bits wide. TRITON_INTERPRET=1 runs all of this on the CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

L1, L2, SQEUCLIDEAN = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
INFINITY = tl.constexpr(float("inf"))
#: Twice the relative rounding error of single precision.
EPS = tl.constexpr(2.0**-23)
#: What underflow may take from a cost: up to 2^-126 for each of its terms.
TINY = tl.constexpr(2.0**-80)


@triton.jit
def _bounds(cost, relative, norms, psi, KIND: tl.constexpr):
    """Bound values whose costs (l2: squares) are off by at most ``relative`` times ``norms``."""
    error = relative * norms + TINY
    # Not tl.maximum, which would turn NaN into a number.
    low, high = tl.where(cost < error, 0.0, cost - error), cost + error
    if KIND == L2:
        low, high = tl.sqrt_rn(low), tl.sqrt_rn(high)
    # Three roundings of half an EPS each: the root, the difference, and that of the next line.
    rounding = 2 * EPS * (high + tl.abs(psi))
    low, high = low - psi - rounding, high - psi + rounding
    # NaN is never nearest.
    return tl.where(low < INFINITY, low, INFINITY), tl.where(high < INFINITY, high, INFINITY)


@triton.jit(do_not_specialize=["samples", "count", "tiles"])
def dense_bounds(
    x,  # (samples, size)
    y,  # (count, size)
    x_norms,  # (samples,) sums of |x| for l1, of x² for the other costs
    y_norms,  # (count,)
    psi,  # (count,)
    lows,  # (samples, tiles), written
    highs,  # (samples, tiles), written
    samples,
    count,
    size,
    tiles,
    relative,
    KIND: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Bound the values of dense targets; a program has a tile of ROWS samples by TILE targets.

    Programs of the same targets run together, so that targets are read once.
    """
    row_tiles = tl.cdiv(samples, ROWS)
    row = tl.program_id(0) % row_tiles * ROWS + tl.arange(0, ROWS)
    tile = tl.program_id(0) // row_tiles
    column = tile * TILE + tl.arange(0, TILE)
    x_rows = x + row.to(tl.int64)[:, None] * size
    y_rows = y + column.to(tl.int64)[:, None] * size
    total = tl.zeros((ROWS, TILE), tl.float32)
    for start in range(0, size, CHUNK):
        at = start + tl.arange(0, CHUNK)[None, :]
        a = tl.load(x_rows + at, mask=(row[:, None] < samples) & (at < size), other=0.0)
        b = tl.load(y_rows + at, mask=(column[:, None] < count) & (at < size), other=0.0)
        if KIND == L1:
            # Summed over the first axis: Triton spreads the last one over threads, each of which
            # then sums by itself.
            total += tl.sum(tl.abs(tl.trans(a)[:, :, None] - tl.trans(b)[:, None, :]), axis=0)
        else:
            total = tl.dot(a, tl.trans(b), total, input_precision="tf32")
    x_norm = tl.load(x_norms + row, mask=row < samples, other=0.0)[:, None]
    y_norm = tl.load(y_norms + column, mask=column < count, other=0.0)[None, :]
    potential = tl.load(psi + column, mask=column < count, other=0.0)[None, :]
    cost = total if KIND == L1 else x_norm + y_norm - 2 * total
    low, high = _bounds(cost, relative, x_norm + y_norm, potential, KIND)
    inside = column[None, :] < count
    at = row.to(tl.int64) * tiles + tile
    tl.store(lows + at, tl.min(tl.where(inside, low, INFINITY), axis=1), mask=row < samples)
    tl.store(highs + at, tl.min(tl.where(inside, high, INFINITY), axis=1), mask=row < samples)


@triton.jit(do_not_specialize=["count", "tiles"])
def sparse_bounds(
    columns,  # (size, samples): x transposed, so that one value of all samples is read at once
    x_norms,  # (samples,)
    starts,  # (count + 1,)
    pixels,  # columns of the nonzero values of target j, from starts[j] to starts[j + 1]
    charges,  # likewise
    y_norms,  # (count,)
    psi,  # (count,)
    lows,  # (samples, tiles), written
    highs,  # (samples, tiles), written
    samples,
    count,
    tiles,
    KIND: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Bound the values of sparse targets; a program has ROWS samples by TILE targets.

    It takes one target after the other, in O(nonzero values).

    sum |x - y| = sum |x| + sum over y != 0 of (|x - y| - |x|);  sum (x - y)² = |x|² + |y|² - 2 x·y.
    """
    row_tiles = tl.cdiv(samples, ROWS)
    row = tl.program_id(0) % row_tiles * ROWS + tl.arange(0, ROWS)
    tile = tl.program_id(0) // row_tiles
    x_norm = tl.load(x_norms + row, mask=row < samples, other=0.0)
    least_low = tl.full((ROWS,), INFINITY, tl.float32)
    least_high = tl.full((ROWS,), INFINITY, tl.float32)
    for target in range(tile * TILE, min(tile * TILE + TILE, count)):
        begin, end = tl.load(starts + target), tl.load(starts + target + 1)
        total = tl.zeros((CHUNK, ROWS), tl.float32)
        for start in range(begin, end, CHUNK):
            at = start + tl.arange(0, CHUNK)
            pixel = tl.load(pixels + at, mask=at < end, other=0).to(tl.int64)
            charge = tl.load(charges + at, mask=at < end, other=0.0)[:, None]
            a = tl.load(columns + pixel[:, None] * samples + row[None, :], mask=row[None, :] < samples, other=0.0)
            total += tl.abs(a - charge) - tl.abs(a) if KIND == L1 else a * charge
        y_norm, potential = tl.load(y_norms + target), tl.load(psi + target)
        change = tl.sum(total, axis=0)
        cost = x_norm + change if KIND == L1 else x_norm + y_norm - 2 * change
        # Half an EPS for each nonzero value in change, which in all is at most both norms, as much
        # for each in y_norm; and as much again.
        relative = (2 * (end - begin) + 8).to(tl.float32) * EPS
        low, high = _bounds(cost, relative, x_norm + y_norm, potential, KIND)
        least_low, least_high = tl.minimum(least_low, low), tl.minimum(least_high, high)
    at = row.to(tl.int64) * tiles + tile
    tl.store(lows + at, least_low, mask=row < samples)
    tl.store(highs + at, least_high, mask=row < samples)


@triton.jit
def _dense_costs(x, y, column, count, size, KIND: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr):
    """Compute costs (l2: squares) of one sample x (size,) and targets in double precision."""
    total = tl.zeros((TILE,), tl.float64)
    for start in range(0, size, CHUNK):
        at = start + tl.arange(0, CHUNK)
        a = tl.load(x + at, mask=at < size, other=0.0).to(tl.float64)[None, :]
        inside = (column[:, None] < count) & (at[None, :] < size)
        b = tl.load(y + column.to(tl.int64)[:, None] * size + at[None, :], mask=inside, other=0.0).to(tl.float64)
        # Values of targets beyond the last are wrong here, and not used.
        total += tl.sum(tl.abs(a - b) if KIND == L1 else (a - b) * (a - b), axis=1)
    return total


@triton.jit
def _sparse_costs(x, x_norm, starts, pixels, charges, column, count, KIND: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr):
    """Compute the same from nonzero values; ``x_norm`` in double precision."""
    begin = tl.load(starts + column, mask=column < count, other=0)
    end = tl.load(starts + column + 1, mask=column < count, other=0)
    total = tl.zeros((TILE,), tl.float64)
    for start in range(0, tl.max(end - begin), CHUNK):
        at = begin[:, None] + start + tl.arange(0, CHUNK)[None, :]
        lit = at < end[:, None]
        a = tl.load(x + tl.load(pixels + at, mask=lit, other=0), mask=lit, other=0.0).to(tl.float64)
        b = tl.load(charges + at, mask=lit, other=0.0).to(tl.float64)
        total += tl.sum(tl.abs(a - b) - tl.abs(a) if KIND == L1 else b * (b - 2 * a), axis=1)
    cost = x_norm + total
    return tl.where(cost < 0, 0.0, cost)


@triton.jit(do_not_specialize=["count", "tiles"])
def exact(
    x,  # (samples, size)
    x_norms,  # (samples,) in double precision
    y,  # (count, size) of dense targets
    starts,  # these three of sparse ones
    pixels,
    charges,
    psi,  # (count,)
    lows,  # (samples, tiles)
    best,  # (samples,) the smallest upper bounds
    values,  # (samples, parts) in double precision, written
    indices,  # (samples, parts), written
    count,
    size,
    tiles,
    KIND: tl.constexpr,
    SPARSE: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
    SCAN: tl.constexpr,
):
    """Find the nearest target; a program has one sample and one of ``parts`` parts of the tiles.

    Of the tiles that may hold it, the one with the lowest bound is evaluated first.
    """
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    bound = tl.load(best + row).to(tl.float64)
    # Without an upper bound, all values of the sample are NaN.
    bound = tl.where(bound < INFINITY, bound, -INFINITY)
    value = tl.full((), INFINITY, tl.float64)
    index = tl.full((), 0, tl.int32)
    for first in range(part * SCAN, tiles, parts * SCAN):
        tile = first + tl.arange(0, SCAN)
        low = tl.load(lows + row * tiles + tile, mask=tile < tiles, other=INFINITY)
        while tl.min(low, axis=0) <= bound:
            chosen = tl.min(tl.where(low == tl.min(low, axis=0), tile, tiles), axis=0)
            low = tl.where(tile == chosen, INFINITY, low)
            column = chosen * TILE + tl.arange(0, TILE)
            if SPARSE:
                x_norm = tl.load(x_norms + row)
                cost = _sparse_costs(x + row * size, x_norm, starts, pixels, charges, column, count, KIND, TILE, CHUNK)
            else:
                cost = _dense_costs(x + row * size, y, column, count, size, KIND, TILE, CHUNK)
            if KIND == L2:
                cost = tl.sqrt(cost)
            found = cost - tl.load(psi + column, mask=column < count, other=0.0).to(tl.float64)
            found = tl.where((column < count) & (found < INFINITY), found, INFINITY)
            least = tl.min(found, axis=0)
            at = tl.min(tl.where(found == least, column, count), axis=0)
            better = (least < value) | ((least == value) & (at < index))
            value, index = tl.where(better, least, value), tl.where(better, at, index)
            bound = tl.minimum(bound, value)
    tl.store(values + row * parts + part, value)
    tl.store(indices + row * parts + part, index.to(tl.int64))
