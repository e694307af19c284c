"""Round a hard assignment to a transport plan that gives every target its mass."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.assignment.assign import assign
from pgen.ot.costs import pair_cost
from pgen.ot.targets import Targets


@torch.no_grad()
def rounded_plan_cost(x: Tensor, index: Tensor, targets: Targets, psi: Tensor, cost: str, mass: Tensor) -> Tensor:
    """Compute the cost of each sample in a plan where no target takes more than its mass.

    The mean bounds the transport cost from above, but for sampling noise: the plan is feasible, and
    the cost to the empirical measure of samples exceeds on average that to their distribution. A
    target keeps the samples that hit it, the first ones if there are too many. The rest go, again
    by c - psi, to targets with room, until all are placed. Masses are rounded to whole samples:
    exact if B is a multiple of N and the masses are equal.

    Args:
        x: (B, D) samples.
        index: (B,) their hard assignment.
        targets: The targets, all in this process.
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.
        mass: (N,) masses, of sum 1.

    Returns:
        (B,) costs, in double precision.
    """
    room, target = _round_to_whole(mass * len(x)), index.clone()
    waiting = torch.arange(len(x), device=x.device)
    places = torch.arange(len(room), device=x.device)
    while len(waiting):
        order = target[waiting].argsort(stable=True)
        hit = target[waiting][order]
        # Place in the queue of its target: position less that of the first with the same target.
        queue = torch.arange(len(hit), device=x.device) - torch.searchsorted(hit, hit)
        placed = queue < room[hit]
        room -= torch.bincount(hit[placed], minlength=len(room))
        waiting = waiting[order][~placed]
        if len(waiting):
            places = places[room[places] > 0]
            again, _ = assign(x[waiting], targets.rows(places), psi[places], cost)
            target[waiting] = places[again]
    return torch.cat([pair_cost(a, targets.rows(b), cost) for a, b in zip(x.split(4096), target.split(4096), strict=True)]).double()


def _round_to_whole(parts: Tensor) -> Tensor:
    """Round numbers (N,), of the same sum, up where the remainders are largest."""
    whole = parts.floor().long()
    missing = int(parts.sum().round()) - int(whole.sum())
    whole[(parts - whole).argsort(descending=True, stable=True)[:missing]] += 1
    return whole
