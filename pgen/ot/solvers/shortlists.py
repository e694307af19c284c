"""Each sample's nearest targets under a potential: the few that can be nearest under potentials not far from it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix
from pgen.ot.targets import Targets

#: Costs held at a time, on the CPU by each thread.
BLOCK, BLOCK_CPU = 2**22, 2**20
#: Samples that are compared with a target while it is at hand, at least; on the CPU that is fewer.
ROWS, ROWS_CPU = 256, 64


@torch.no_grad()
def shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int) -> tuple[Tensor, Tensor]:
    """(index, cost), each (B, min(length, N)): of every sample x (B, D) the targets of least c - psi, in no order, and their costs c, to
    the rounding of x's precision. psi: (N,). Memory beyond the answer is bounded, whatever B and N."""
    x, psi = x.detach(), psi.detach().to(x.device)
    on_cpu = x.device.type == "cpu"
    fewest, room = (ROWS_CPU, BLOCK_CPU) if on_cpu else (ROWS, BLOCK)
    height = max(fewest, room // len(targets))

    def work(rows: Tensor) -> tuple[Tensor, Tensor]:
        return _shortlist(rows, targets, psi, cost, length, room)

    if on_cpu:
        from pgen.ot.assignment.cpu import by_rows

        parts = by_rows(work, x, height)
    else:
        parts = list(map(work, x.split(height)))
    index, found = zip(*parts, strict=True)
    return torch.cat(index), torch.cat(found)


def _shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int, room: int) -> tuple[Tensor, Tensor]:
    width = max(length, room // max(1, len(x)))
    value = torch.empty(len(x), 0, device=x.device, dtype=x.dtype)
    index = torch.empty(len(x), 0, device=x.device, dtype=torch.long)
    for first in range(0, len(targets), width):
        last = min(first + width, len(targets))
        block = _costs(x, targets, cost, first, last).sub_(psi[first:last])
        least, where = _least(block, min(length, last - first))
        value, index = torch.cat([value, least], 1), torch.cat([index, where + first], 1)
        if value.shape[1] > length:
            value, kept = _least(value, length)
            index = index.gather(1, kept)
    return index, value + psi[index]


def _least(value: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The ``length`` least of each row, and where they stand."""
    if value.device.type == "cpu":
        # Several times as fast as topk.
        where = torch.from_numpy(np.argpartition(value.numpy(), length - 1, axis=1)[:, :length])
        return value.gather(1, where), where
    return value.topk(length, largest=False, sorted=False)


def _costs(x: Tensor, targets: Targets, cost: str, first: int, last: int) -> Tensor:
    """(B, last - first) costs of targets ``first`` to ``last``."""
    if x.device.type == "cpu" and x.dtype == targets.dtype == torch.float32 and (cost == "l1" or targets.sparse):
        from pgen.ot.assignment.cpu import costs_cpu

        return costs_cpu(x, targets, cost, first, last)
    whole = first == 0 and last == len(targets) and targets.device == x.device
    return cost_matrix(x, (targets if whole else targets.part(first, last, x.device)).dense, cost)
