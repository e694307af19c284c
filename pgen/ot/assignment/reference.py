"""Assignment in plain torch: for double precision on any device, and for a GPU without Triton."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix

#: Entries of the cost matrix held at a time.
BLOCK = 2**22


@torch.no_grad()
def assign_reference(x: Tensor, targets: Tensor, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign samples as :func:`pgen.ot.assign` does, exact to the rounding of their type.

    Args:
        x: (B, D) samples.
        targets: (N, D), dense.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.

    Returns:
        index, value: (B,) each.
    """
    best = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    width = max(1, BLOCK // max(1, len(x)))
    for start in range(0, len(targets), width):
        stop = start + width
        value, where = (cost_matrix(x, targets[start:stop], cost) - psi[start:stop]).nan_to_num_(torch.inf, torch.inf, -torch.inf).min(1)
        better = value < best
        best = torch.where(better, value, best)
        index = torch.where(better, where + start, index)
    # No value at all: x or psi is NaN.
    return index, torch.where(best.isinf(), torch.nan, best)
