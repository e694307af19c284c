"""The ground costs c(x, y): l1, l2 (Euclidean) and sqeuclidean."""

from __future__ import annotations

import torch
from torch import Tensor

COSTS = ("l1", "l2", "sqeuclidean")


def check_cost(cost: str) -> None:
    """Raise a ValueError for a cost that is not in COSTS."""
    if cost not in COSTS:
        raise ValueError(f"expected cost to be one of {', '.join(COSTS)}, got {cost!r}")


def cost_matrix(x: Tensor, y: Tensor, cost: str) -> Tensor:
    """Compute all costs c(x_i, y_j) (B, N) of x (B, D) and y (N, D)."""
    check_cost(cost)
    # Autocast would round the product, and with it change which target is nearest.
    with torch.autocast(x.device.type, enabled=False):
        if cost == "l1":
            return torch.cdist(x, y, p=1)
        # |x|² + |y|² - 2 x·y: one matrix product.
        squared = torch.addmm(y.square().sum(1)[None], x, y.T, alpha=-2).add_(x.square().sum(1)[:, None]).clamp_min_(0)
        return squared if cost == "sqeuclidean" else squared.sqrt()


def pair_cost(x: Tensor, y: Tensor, cost: str) -> Tensor:
    """Compute the costs c(x_i, y_i) (B,) of pairs x (B, D) and y (B, D), differentiable in x."""
    check_cost(cost)
    difference = (x - y).flatten(1)
    if cost == "l1":
        return difference.abs().sum(1)
    squared = difference.square().sum(1)
    # The gradient of a square root is infinite at 0.
    return squared if cost == "sqeuclidean" else (squared + 1e-12).sqrt()
