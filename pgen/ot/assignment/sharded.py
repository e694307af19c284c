"""Targets that are shared out to the ranks of torch.distributed: assignment to them, and their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from pgen.ot.targets import Targets


def assign_shared(
    x: Tensor, targets: Targets, psi: Tensor, cost: str, find: Callable[[Tensor, Targets, Tensor, str], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """(index among all targets, value), each (B,), of this rank's x (B, D), where ``find`` finds those of all ranks' samples here."""
    index, value = find(targets.gather(x), targets, psi, cost)
    values, indices = (targets.gather(part[None]) for part in (value, index + targets.first))
    begin = len(x) * dist.get_rank(targets.group)
    mine = slice(begin, begin + len(x))
    # Of equal values the first rank's wins, which holds the lower numbers.
    winner = values[:, mine].nan_to_num(torch.inf).argmin(0, keepdim=True)
    return indices[:, mine].gather(0, winner)[0], values[:, mine].gather(0, winner)[0]


def rows_shared(index: Tensor, targets: Targets) -> Tensor:
    """(n, D) of targets by their number among all, each from the rank that holds it."""
    wanted = targets.gather(index)
    here = (wanted >= targets.first) & (wanted < targets.first + len(targets))
    rows = torch.zeros(len(wanted), targets.shape[1], device=index.device, dtype=targets.dtype)
    rows[here] = targets.held(wanted[here])
    begin = len(index) * dist.get_rank(targets.group)
    return targets.sum(rows)[begin : begin + len(index)]
