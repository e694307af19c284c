"""Assignment to targets that lie elsewhere than the samples, as on the host for lack of room on the GPU: they pass by in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from pgen.ot.targets import Targets

#: Bytes of a block: much more than what a copy costs to begin. The samples' device holds two at a time.
BLOCK = 2**28
#: (x, targets, psi, cost), all on one device -> (index, value), unrounded.
Assign = Callable[[Tensor, Targets, Tensor, str], tuple[Tensor, Tensor]]


def assign_streamed(x: Tensor, targets: Targets, psi: Tensor, cost: str, assign: Assign) -> tuple[Tensor, Tensor]:
    """(index, value), each (B,), of x (B, D) and psi (N,), where ``assign`` finds each block's; the lowest of equal ones wins."""
    best = torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float64)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for first, block in _blocks(targets, x.device):
        where, value = assign(x, block, psi[first : first + len(block)], cost)
        better = value < best
        best, index = torch.where(better, value, best), torch.where(better, where + first, index)
    # No value at all: x or psi is NaN.
    return index, torch.where(best.isinf(), torch.nan, best)


def _blocks(targets: Targets, device: torch.device) -> Iterator[tuple[int, Targets]]:
    """The first target of each block, and the block on ``device``. A GPU gets the next one while it works on this."""
    bounds = list(pairwise(_bounds(targets)))
    if device.type != "cuda":
        yield from ((first, targets.part(first, last, device)) for first, last in bounds)
        return
    copying, working = _copying(device), torch.cuda.current_stream(device)
    worked = torch.cuda.Event()
    try:
        for first, last in bounds:
            with torch.cuda.stream(copying):
                following = targets.part(first, last, device)
            # The block before is let go of now: what is next copied into its memory must wait until it is done with.
            copying.wait_event(worked)
            block = following
            working.wait_stream(copying)
            yield first, block
            worked.record(working)
    finally:
        copying.wait_stream(working)


def _bounds(targets: Targets) -> list[int]:
    """Where blocks begin and end."""
    count, size = targets.shape
    if not targets.sparse:
        return [*range(0, count, max(1, BLOCK // max(1, 4 * size))), count]
    starts = targets.lit[0]
    # A lit pixel takes four bytes for its place and as many for its charge.
    marks = torch.arange(0, int(starts[-1]), max(1, BLOCK // 8), device=starts.device)
    return sorted({0, count, *torch.searchsorted(starts[:-1], marks).tolist()})


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    # One for good, since torch keeps freed memory for the stream that it was used on.
    return torch.cuda.Stream(device)
