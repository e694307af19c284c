"""The hot loop: argmin_j c(x_i, y_j) - psi_j, without a B × N matrix."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pgen.ot.costs import COSTS
from pgen.ot.reference import assign_reference
from pgen.ot.targets import Targets


@torch.no_grad()
def assign(x: Tensor, targets: Tensor | Targets, psi: Tensor, cost: str = "l1") -> tuple[Tensor, Tensor]:
    """(index, value), each (B,): the hard assignment of x (B, D) to targets (N, D) under potential psi (N,), and c - psi there.

    Of targets shared out to ranks, psi holds the part that belongs to those here, x may differ from rank to rank but is as long on all,
    and the index counts the targets of all ranks.

    arXiv:1906.03471, Algorithm 1, with the sign convention of max D = W. Of equal values the lowest index wins. In single precision on the
    CPU the answer is that of double precision, whatever the number of threads; elsewhere it is exact to rounding. Memory beyond the
    targets is bounded, whatever B and N. Give :class:`Targets` where the same ones are used again: what a tensor is found to be (dense or
    sparse, its norms) is then kept.

    Raises:
        ValueError: unknown cost, or shapes that do not fit.
    """
    if not isinstance(targets, Targets):
        targets = Targets(targets)
    count, size = targets.shape
    if cost not in COSTS:
        raise ValueError(f"cost {cost!r}: wanted one of {', '.join(COSTS)}")
    if x.ndim != 2 or x.shape[1] != size or psi.shape != (count,):
        found = f"x {tuple(x.shape)} and psi {tuple(psi.shape)}"
        raise ValueError(f"found {found}, wanted (B, {size}) and ({count},) for targets {targets.shape}")
    if not len(x):
        return torch.zeros(0, dtype=torch.long, device=x.device), torch.zeros(0, device=x.device, dtype=x.dtype)
    if targets.group is None:
        index, value = _assign_here(x, targets, psi, cost)
        return index, value.to(x.dtype)
    index, value = _assign_here(targets.gather(x), targets, psi, cost)
    # Of equal values the first rank's wins, which holds the lower numbers.
    values, indices = (targets.gather(part[None]) for part in (value, index + targets.first))
    begin = len(x) * dist.get_rank(targets.group)
    mine = slice(begin, begin + len(x))
    winner = values[:, mine].argmin(0, keepdim=True)
    return indices[:, mine].gather(0, winner)[0], values[:, mine].gather(0, winner)[0].to(x.dtype)


def _assign_here(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """The same among the targets here; values in double precision where they were decided in it."""
    if x.device.type == "cpu" and x.dtype == psi.dtype == targets.dtype == torch.float32:
        # Not at the top: Numba takes half a second to import.
        from pgen.ot.cpu import assign_cpu

        return assign_cpu(x, targets, psi, cost)
    return assign_reference(x, targets.dense, psi, cost)
