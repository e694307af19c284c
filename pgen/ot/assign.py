"""The hot loop: argmin_j c(x_i, y_j) - psi_j, without a B × N matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix

#: Entries of the cost matrix held at a time.
BLOCK = 2**22


@torch.no_grad()
def assign(x: Tensor, targets: Tensor, psi: Tensor, cost: str = "l1") -> tuple[Tensor, Tensor]:
    """(index, value), each (B,): the hard assignment of x (B, D) to targets (N, D) under potential psi (N,), and c - psi there.

    Of equal values the lowest index wins. arXiv:1906.03471, Algorithm 1, with the sign convention of max D = W.
    """
    best = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    width = max(1, BLOCK // max(1, len(x)))
    for start in range(0, len(targets), width):
        stop = start + width
        value, where = (cost_matrix(x, targets[start:stop], cost) - psi[start:stop]).min(dim=1)
        better = value < best
        best = torch.where(better, value, best)
        index = torch.where(better, where + start, index)
    return index, best
