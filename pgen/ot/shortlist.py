"""Each sample's nearest targets under a potential: the few that can be nearest under potentials not far from it."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix
from pgen.ot.targets import Targets

#: Costs held at a time.
BLOCK = 2**22


@torch.no_grad()
def shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int) -> tuple[Tensor, Tensor]:
    """(index, cost), each (B, min(length, N)): of every sample x (B, D) the targets of least c - psi, in no order, and their costs c, to
    the rounding of x's precision. psi: (N,). Memory beyond the answer is bounded, whatever B and N."""
    height = min(len(x), max(256, BLOCK // len(targets)))
    parts = [_shortlist(rows, targets, psi.to(x.device), cost, length) for rows in x.split(height)]
    index, found = zip(*parts, strict=True)
    return torch.cat(index), torch.cat(found)


def _shortlist(x: Tensor, targets: Targets, psi: Tensor, cost: str, length: int) -> tuple[Tensor, Tensor]:
    width = max(length, BLOCK // len(x))
    value = torch.empty(len(x), 0, device=x.device, dtype=x.dtype)
    index = torch.empty(len(x), 0, device=x.device, dtype=torch.long)
    for first in range(0, len(targets), width):
        last = min(first + width, len(targets))
        block = _costs(x, targets, cost, first, last).sub_(psi[first:last])
        least, where = block.topk(min(length, last - first), largest=False, sorted=False)
        value, index = torch.cat([value, least], 1), torch.cat([index, where + first], 1)
        if value.shape[1] > length:
            value, kept = value.topk(length, largest=False, sorted=False)
            index = index.gather(1, kept)
    return index, value + psi[index]


def _costs(x: Tensor, targets: Targets, cost: str, first: int, last: int) -> Tensor:
    """(B, last - first) costs of targets ``first`` to ``last``."""
    if x.device.type == "cpu" and x.dtype == targets.dtype == torch.float32 and (cost == "l1" or targets.sparse):
        from pgen.ot.cpu import costs_cpu

        return costs_cpu(x, targets, cost, first, last)
    whole = first == 0 and last == len(targets) and targets.device == x.device
    return cost_matrix(x, (targets if whole else targets.part(first, last, x.device)).dense, cost)
