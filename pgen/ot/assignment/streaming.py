"""Assignment to targets that do not fit on the samples' device and are copied to it in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from pgen.ot.targets import Targets

#: Bytes of a block, for which the start of a copy costs little. The samples' device holds two.
BLOCK = 2**28
#: (x, targets, psi, cost), all on one device -> (index, value), unrounded.
Assign = Callable[[Tensor, Targets, Tensor, str], tuple[Tensor, Tensor]]


def assign_streamed(x: Tensor, targets: Targets, psi: Tensor, cost: str, assign: Assign) -> tuple[Tensor, Tensor]:
    """Assign samples x (B, D) block by block, with ``assign`` for each; psi: (N,).

    Returns:
        index, value: (B,) each; of equal values the lowest index wins.
    """
    best = torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float64)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for first, block in _iter_blocks(targets, x.device):
        where, value = assign(x, block, psi[first : first + len(block)], cost)
        better = value < best
        best, index = torch.where(better, value, best), torch.where(better, where + first, index)
    # No value at all: x or psi is NaN.
    return index, torch.where(best.isinf(), torch.nan, best)


def _iter_blocks(targets: Targets, device: torch.device) -> Iterator[tuple[int, Targets]]:
    """Yield the first index of each block, and the block on ``device``.

    A GPU gets the next block while it works on the current one.
    """
    bounds = list(pairwise(_block_bounds(targets)))
    if device.type != "cuda":
        yield from ((first, targets.block(first, last, device)) for first, last in bounds)
        return
    copying, working = _copy_stream(device), torch.cuda.current_stream(device)
    work_done = torch.cuda.Event()
    try:
        for first, last in bounds:
            with torch.cuda.stream(copying):
                following = targets.block(first, last, device)
            # The previous block is released now: a copy into its memory must wait for its work.
            copying.wait_event(work_done)
            block = following
            working.wait_stream(copying)
            yield first, block
            work_done.record(working)
    finally:
        copying.wait_stream(working)


def _block_bounds(targets: Targets) -> list[int]:
    count, size = targets.shape
    if not targets.sparse:
        return [*range(0, count, max(1, BLOCK // max(1, 4 * size))), count]
    starts = targets.csr[0]
    # A nonzero value takes four bytes, and as many for its column.
    marks = torch.arange(0, int(starts[-1]), max(1, BLOCK // 8), device=starts.device)
    return sorted({0, count, *torch.searchsorted(starts[:-1], marks).tolist()})


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    # One for good, since torch keeps freed memory for the stream that used it.
    return torch.cuda.Stream(device)
