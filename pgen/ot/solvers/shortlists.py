"""Shortlists of each sample's nearest targets under a potential and those close to it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix
from pgen.ot.targets import Targets

#: Costs held at a time, on the CPU by each thread.
BLOCK, BLOCK_CPU = 2**22, 2**20
#: Least number of samples that are compared with a block of targets.
ROWS, ROWS_CPU = 256, 64


@torch.no_grad()
def shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int) -> tuple[Tensor, Tensor]:
    """Find the targets of smallest c - psi for each sample, in no particular order.

    Args:
        x: (B, D) samples.
        targets: The local targets.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.
        length: Targets per sample.

    Returns:
        index: (B, min(length, N)) local indices.
        cost: (B, min(length, N)) their costs c, to the rounding of x's precision.
    """
    x, psi = x.detach(), psi.detach().to(x.device)
    on_cpu = x.device.type == "cpu"
    fewest, room = (ROWS_CPU, BLOCK_CPU) if on_cpu else (ROWS, BLOCK)
    height = max(fewest, room // len(targets))

    def work(rows: Tensor) -> tuple[Tensor, Tensor]:
        return _shortlist(rows, targets, psi, cost, length, room)

    if on_cpu:
        from pgen.ot.assignment.cpu import map_rows

        parts = map_rows(work, x, height)
    else:
        parts = list(map(work, x.split(height)))
    index, costs = zip(*parts, strict=True)
    return torch.cat(index), torch.cat(costs)


def _shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int, room: int) -> tuple[Tensor, Tensor]:
    width = max(length, room // max(1, len(x)))
    value = torch.empty(len(x), 0, device=x.device, dtype=x.dtype)
    index = torch.empty(len(x), 0, device=x.device, dtype=torch.long)
    for first in range(0, len(targets), width):
        last = min(first + width, len(targets))
        block = _costs(x, targets, cost, first, last).sub_(psi[first:last])
        smallest, where = _smallest(block, min(length, last - first))
        value, index = torch.cat([value, smallest], 1), torch.cat([index, where + first], 1)
        if value.shape[1] > length:
            value, where = _smallest(value, length)
            index = index.gather(1, where)
    return index, value + psi[index]


def _smallest(value: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the ``length`` smallest values of each row and their columns."""
    if value.device.type == "cpu":
        # Several times as fast as topk.
        where = torch.from_numpy(np.argpartition(value.numpy(), length - 1, axis=1)[:, :length])
        return value.gather(1, where), where
    return value.topk(length, largest=False, sorted=False)


def _costs(x: Tensor, targets: Targets, cost: str, first: int, last: int) -> Tensor:
    """Compute the costs (B, last - first) of targets first to last."""
    if x.device.type == "cpu" and x.dtype == targets.dtype == torch.float32 and (cost == "l1" or targets.sparse):
        from pgen.ot.assignment.cpu import costs_cpu

        return costs_cpu(x, targets, cost, first, last)
    whole = first == 0 and last == len(targets) and targets.device == x.device
    return cost_matrix(x, (targets if whole else targets.block(first, last, x.device)).dense, cost)
