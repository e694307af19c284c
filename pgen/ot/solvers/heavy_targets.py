"""Solve for the potentials of heavy targets, which may represent many equal ones.

chi2 is small even if the hits of each target are off by a fifth: errors of light targets average
out among neighbours, that of a target with a third of the mass does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.assignment.assign import assign
from pgen.ot.targets import Targets

#: A target is heavy from this mass on, if that is this many times the mean of distinct targets.
LEAST, TIMES = 0.005, 2.5
#: Samples that the potentials of heavy targets are solved with, and passes over the targets.
SAMPLES, PASSES = 2**14, 3


def find_heavy(targets: Targets, mass: Tensor) -> Tensor:
    """Return the global indices of heavy targets; mass: (N,) as :meth:`Targets.merge` makes it."""
    # By a sum, since ranks cannot gather lists of different lengths.
    is_heavy = torch.zeros(targets.total, device=mass.device)
    is_heavy[targets.first : targets.first + len(targets)] = (mass >= max(LEAST, TIMES / targets.distinct)).float()
    return targets.sum(is_heavy).nonzero()[:, 0]


@torch.no_grad()
def solve_heavy_targets(x: Tensor, targets: Targets, psi: Tensor, cost: str, mass: Tensor) -> Tensor:
    """Set the potentials of heavy targets, if any, so that each is hit in proportion to its mass.

    Coordinate ascent of the dual: with the others fixed, a target is hit by the samples for which
    it costs less than its psi more than the best other target, so the best value of psi is a
    quantile of that difference.

    Args:
        x: (B, D) samples of this rank; those of all ranks count.
        targets: The targets.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.
        mass: (N,) masses of the targets.

    Returns:
        (N,) the new potential.
    """
    if not len(heavy := find_heavy(targets, mass)):
        return psi
    numbers = torch.arange(targets.first, targets.first + len(targets), device=psi.device)
    group = targets.duplicates.representative.to(psi.device) if targets.duplicates else numbers

    def smallest_value(candidates: Tensor) -> Tensor:
        """Return c - psi (B,) of the nearest target among the candidates, a mask (N,)."""
        return targets.gather(assign(x, targets, psi.masked_fill(~candidates, -torch.inf), cost)[1]).double()

    light = smallest_value(~torch.isin(group, heavy))
    lead = torch.stack([smallest_value(group == number) for number in heavy]) - light
    fraction = [float(targets.sum(mass[numbers == number].sum())) for number in heavy]
    rise = lead.new_zeros(len(heavy))
    for _ in range(PASSES):
        for k in range(len(heavy)):
            rivals = lead - rise[:, None]
            rivals[k] = 0  # the light ones
            rise[k] = _quantile(lead[k] - rivals.amin(0).clamp_max(0), fraction[k])
    for number, more in zip(heavy, rise, strict=True):
        psi = torch.where(group == number, psi + more.to(psi.dtype), psi)
    return psi - (targets.sum(psi.double().sum()) / targets.total).to(psi.dtype)


def _quantile(values: Tensor, fraction: float) -> Tensor:
    """Return the midpoint between the values below which ``fraction`` lie and the next value."""
    ordered = values.sort().values
    at = min(max(round(fraction * len(values)), 1), len(values) - 1)
    return (ordered[at - 1] + ordered[at]) / 2
