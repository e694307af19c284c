"""The hot loop: argmin_j c(x_i, y_j) - psi_j, without a B × N matrix."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from pgen.ot.assignment.reference import assign_reference
from pgen.ot.assignment.sharded import assign_shared
from pgen.ot.assignment.streaming import assign_streamed
from pgen.ot.costs import check_cost
from pgen.ot.targets import Targets


@torch.no_grad()
def assign(x: Tensor, targets: Tensor | Targets, psi: Tensor, cost: str = "l1") -> tuple[Tensor, Tensor]:
    """(index, value), each (B,): the hard assignment of x (B, D) to targets (N, D) under potential psi (N,), and c - psi there.

    Of targets shared out to ranks, psi holds the part that belongs to those here, x may differ from rank to rank but is as long on all,
    and the index counts the targets of all ranks.

    arXiv:1906.03471, Algorithm 1, with the sign convention of max D = W. Of equal values the lowest index wins; what is not a number never
    does, and where nothing else is, the index is 0 and the value NaN. Single precision is decided in double, whatever the number of threads
    (on a GPU: where Triton is installed), as far as squares do not overflow: values are to be below 10^18 / sqrt(D). Sparse targets are
    told apart to double precision's rounding of |x|, or |x|² and |y|². Double precision is exact to the rounding of :func:`cost_matrix`.
    Memory beyond the targets is bounded, whatever B and N. Targets may be too many for x's device: leave them on the host, and they pass by
    in blocks, faster from pinned memory; psi may be on either. Give :class:`Targets` where the same ones are used again: what a tensor is
    found to be (dense or sparse, its norms) is then kept.

    Raises:
        ValueError: unknown cost, or shapes or types that do not fit.
    """
    is_kept = isinstance(targets, Targets)
    if not isinstance(targets, Targets):
        targets = Targets(targets)
    count, size = targets.shape
    check_cost(cost)
    if x.ndim != 2 or x.shape[1] != size or psi.shape != (count,):
        found = f"x {tuple(x.shape)} and psi {tuple(psi.shape)}"
        raise ValueError(f"found {found}, wanted (B, {size}) and ({count},) for targets {targets.shape}")
    if not x.dtype == psi.dtype == targets.dtype:
        raise ValueError(f"found x of {x.dtype}, psi of {psi.dtype} and targets of {targets.dtype}, wanted one type of all")
    if not len(x):
        return torch.zeros(0, dtype=torch.long, device=x.device), torch.zeros(0, device=x.device, dtype=x.dtype)
    # To look for duplicates among targets that are used once would cost more than it saves.
    psi = (targets.duplicates.single_out(psi) if is_kept and targets.duplicates else psi).to(x.device)
    index, value = assign_shared(x, targets, psi, cost, _on_any_device) if targets.group else _on_any_device(x, targets, psi, cost)
    return index, value.to(x.dtype)


def _on_any_device(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    return nearest(x, targets, psi, cost) if targets.device == x.device else assign_streamed(x, targets, psi, cost, nearest)


def nearest(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """The same of what fits and is on one device, by whichever code is made for it; the value as precise as that code knows it."""
    # Not at the top: Numba takes half a second to import, and Triton is not everywhere.
    if x.dtype == torch.float32:
        if x.device.type == "cpu":
            from pgen.ot.assignment.cpu import assign_cpu

            return assign_cpu(x, targets, psi, cost)
        if x.device.type == "cuda" and find_spec("triton"):
            from pgen.ot.assignment.cuda import assign_cuda

            return assign_cuda(x, targets, psi, cost)
    return assign_reference(x, targets.dense, psi, cost)
