"""The initial potential of an ascent and the unit of its steps, both from one batch of samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgen.ot.assignment.assign import assign
from pgen.ot.costs import cost_matrix
from pgen.ot.targets import Targets

#: Samples that are used.
SAMPLES = 256
#: Entries of the cost matrix held at a time.
BLOCK = 2**22
#: Multiples of the mean cost that are tried as a start.
MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def mean_cost(x: Tensor, targets: Targets, cost: str) -> tuple[Tensor, float]:
    """Compute the mean cost of each target and the standard deviation of the interaction.

    The interaction, of a two-way analysis of variance, is what neither the sample nor the target
    explains by itself. A potential cancels the target's part of the cost, and the argmin the
    sample's part. The rest decides assignments, and can be thousands of times smaller than the
    spread of the costs if the samples resemble each other more than the targets do.

    Args:
        x: (B, D) samples.
        targets: The targets.
        cost: l1, l2 or sqeuclidean.

    Returns:
        mean: (N,) mean cost of each local target, minus the mean over all targets.
        unit: The standard deviation of the interaction.
    """
    x = targets.gather(x)[:SAMPLES]
    columns, rows, square = [], torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.zeros((), dtype=torch.float64)
    width = max(1, BLOCK // len(x))
    for start in range(0, len(targets), width):
        block = cost_matrix(x, targets.block(start, min(start + width, len(targets)), x.device).dense, cost).double()
        if targets.duplicates:  # each counts once
            block *= targets.duplicates.is_first[start : start + width].to(x.device)
        columns.append(block.mean(0))
        rows += block.sum(1)
        square = square.to(x.device) + block.square().mean(0).sum()
    column = torch.cat(columns)
    rows, square = targets.sum(rows) / targets.distinct, targets.sum(square) / targets.distinct
    mean = rows.mean()
    columns_square = targets.sum(column.square().sum()) / targets.distinct
    interaction = square - columns_square - rows.square().mean() + mean**2
    return targets.spread(column - mean), float(interaction.clamp_min(0).sqrt())


@torch.no_grad()
def first_potential(x: Tensor, targets: Targets, cost: str, weights: Tensor, candidate: Tensor) -> tuple[Tensor, float]:
    """Choose the potential of largest dual: a candidate, or a multiple of the mean cost.

    Args:
        x: (B, D) samples.
        targets: The targets.
        cost: l1, l2 or sqeuclidean.
        weights: (N,) masses of the targets.
        candidate: (N,) a potential, such as that of the last solve.

    Returns:
        psi: (N,) the potential.
        unit: The unit of steps, see :func:`mean_cost`.
    """
    # The same samples, however many ranks share them.
    x = targets.gather(x)[:SAMPLES]
    share = len(x) // targets.ranks
    x = x[targets.rank * share : (targets.rank + 1) * share]
    mean, unit = mean_cost(x, targets, cost)
    candidates = [candidate, *((multiple * mean).to(candidate.dtype) for multiple in MULTIPLES)]
    duals = []
    for psi in candidates:
        _, value = assign(x, targets, psi, cost)
        dual = float(targets.gather(value).double().mean() + targets.sum((psi.double() * weights).sum()))
        duals.append(-math.inf if math.isnan(dual) else dual)
    return candidates[max(range(len(duals)), key=duals.__getitem__)], unit
