"""The potentials of heavy targets, which stand for many equal ones. chi2 is small even where the hits of each target are off by a fifth:
errors of light targets average out among neighbours; that of a target with a third of all mass does not."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.assignment.assign import assign
from pgen.ot.targets import Targets

#: A target is heavy from this mass on, if that is so many times the mean of distinct targets.
LEAST, TIMES = 0.005, 2.5
#: Samples that heavy targets are weighed with, and passes over them.
SAMPLES, PASSES = 2**14, 3


def find_heavy(targets: Targets, mass: Tensor) -> Tensor:
    """The numbers, among the targets of all ranks, of the heavy ones; mass (N,) as :meth:`Targets.merge` makes it."""
    # By a sum, since ranks cannot gather lists of different lengths.
    is_heavy = torch.zeros(targets.total, device=mass.device)
    is_heavy[targets.first : targets.first + len(targets)] = (mass >= max(LEAST, TIMES / targets.distinct)).float()
    return targets.sum(is_heavy).nonzero()[:, 0]


@torch.no_grad()
def weigh(x: Tensor, targets: Targets, psi: Tensor, cost: str, mass: Tensor) -> Tensor:
    """psi (N,) with other values for heavy targets, if there are any, under which each is hit by its mass (N,) of the samples x (B, D) of
    all ranks.

    Coordinate ascent of the dual: with the others as they are, a target is hit by the samples for which it costs less than its psi more
    than the best other target, so the best value of psi is a quantile of that difference.
    """
    if not len(heavy := find_heavy(targets, mass)):
        return psi
    numbers = torch.arange(targets.first, targets.first + len(targets), device=psi.device)
    group = targets.duplicates.representative.to(psi.device) if targets.duplicates else numbers

    def least(those: Tensor) -> Tensor:
        """(B,) c - psi of the nearest of ``those`` (N,) targets."""
        return targets.gather(assign(x, targets, psi.masked_fill(~those, -torch.inf), cost)[1]).double()

    light = least(~torch.isin(group, heavy))
    lead = torch.stack([least(group == number) for number in heavy]) - light
    part = [float(targets.sum(mass[numbers == number].sum())) for number in heavy]
    rise = lead.new_zeros(len(heavy))
    for _ in range(PASSES):
        for k in range(len(heavy)):
            rivals = lead - rise[:, None]
            rivals[k] = 0  # the light ones
            rise[k] = _quantile(lead[k] - rivals.amin(0).clamp_max(0), part[k])
    for number, more in zip(heavy, rise, strict=True):
        psi = torch.where(group == number, psi + more.to(psi.dtype), psi)
    return psi - (targets.sum(psi.double().sum()) / targets.total).to(psi.dtype)


def _quantile(values: Tensor, part: float) -> Tensor:
    """Half-way between the values of which ``part`` are below and the next."""
    ordered = values.sort().values
    at = min(max(round(part * len(values)), 1), len(values) - 1)
    return (ordered[at - 1] + ordered[at]) / 2
