"""Entropic (soft) assignment of samples to targets."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.costs import cost_matrix
from pgen.ot.targets import Targets

#: Entries of the cost matrix held at a time.
BLOCK = 2**22


@torch.no_grad()
def soft_frequency(x: Tensor, targets: Targets, psi: Tensor, cost: str, weights: Tensor, epsilon: float | Tensor) -> Tensor:
    """Average the soft assignment b_j exp((psi_j - c(x, y_j)) / epsilon), normalised, over samples.

    It is part of the gradient of the entropic semi-dual (arXiv:1605.08527), and tends to the
    frequency of hard hits as epsilon tends to 0.

    Args:
        x: (B, D) samples of this rank; those of all ranks count.
        targets: The targets.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.
        weights: (N,) masses b.
        epsilon: Width of the smoothing, in units of the cost.

    Returns:
        (N,) the mean fraction of a sample that each local target gets.
    """
    x, count = targets.gather(x), 0.0
    frequency = torch.zeros(len(targets), device=x.device, dtype=x.dtype)
    height = max(1, BLOCK // len(targets))
    for rows in x.split(height):
        logits = (psi - cost_matrix(rows, targets.dense, cost)) / epsilon + weights.log().to(x.dtype)
        highest = targets.gather(logits.max(1).values[None]).max(0).values
        shares = (logits - highest[:, None]).exp()
        frequency += (shares / targets.sum(shares.sum(1))[:, None]).sum(0)
        count += len(rows)
    return frequency / count
