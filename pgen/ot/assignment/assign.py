"""Hard assignment, argmin_j c(x_i, y_j) - psi_j, without a B × N matrix in memory."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from pgen.ot.assignment.reference import assign_reference
from pgen.ot.assignment.streaming import assign_streamed
from pgen.ot.costs import check_cost
from pgen.ot.targets import Targets


@torch.no_grad()
def assign(x: Tensor, targets: Tensor | Targets, psi: Tensor, cost: str = "l1") -> tuple[Tensor, Tensor]:
    """Assign each sample to its nearest target under a potential (arXiv:1906.03471, Algorithm 1).

    Of equal values the lowest index wins. NaN never does; where nothing else is left, the index is
    0 and the value NaN. Single precision is decided in double, whatever the number of threads (on a
    GPU if Triton is installed), as long as squares do not overflow: values should be below 10^18 /
    sqrt(D). Sparse targets are exact to double precision's rounding of |x|, or |x|² and |y|²,
    double precision to the rounding of :func:`cost_matrix`. Memory beyond the targets is bounded.

    Args:
        x: (B, D) samples. With targets on several ranks, each rank passes its own, equally many.
        targets: (N, D). They may be on the host if they do not fit on x's device, and are then
            streamed in blocks, faster from pinned memory. Pass :class:`Targets` to reuse what is
            computed from them (norms, sparse form, duplicates).
        psi: (N,) potential of the targets on this rank, on either device.
        cost: l1, l2 or sqeuclidean.

    Returns:
        index: (B,) the nearest target, counted over all ranks.
        value: (B,) its c - psi.

    Raises:
        ValueError: Unknown cost, or shapes or types that do not fit.
    """
    is_reused = isinstance(targets, Targets)
    if not isinstance(targets, Targets):
        targets = Targets(targets)
    count, size = targets.shape
    check_cost(cost)
    if x.ndim != 2 or x.shape[1] != size or psi.shape != (count,):
        shapes = f"x {tuple(x.shape)} and psi {tuple(psi.shape)}"
        raise ValueError(f"expected x (B, {size}) and psi ({count},) for targets {targets.shape}, got {shapes}")
    if not x.dtype == psi.dtype == targets.dtype:
        raise ValueError(f"expected x, psi and targets of one type, got {x.dtype}, {psi.dtype} and {targets.dtype}")
    if not len(x):
        return torch.zeros(0, dtype=torch.long, device=x.device), torch.zeros(0, device=x.device, dtype=x.dtype)
    # A search for duplicates among targets that are used once would cost more than it saves.
    psi = (targets.duplicates.single_out(psi) if is_reused and targets.duplicates else psi).to(x.device)
    index, value = (_assign_sharded if targets.group else _assign_local)(x, targets, psi, cost)
    return index, value.to(x.dtype)


def _assign_sharded(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign this rank's samples to the targets of all ranks."""
    index, value = _assign_local(targets.gather(x), targets, psi, cost)
    values, indices = (targets.gather(part[None]) for part in (value, index + targets.first))
    own = slice(len(x) * targets.rank, len(x) * (targets.rank + 1))
    # Of equal values the first rank's wins, which has the lower indices.
    winner = values[:, own].nan_to_num(torch.inf).argmin(0, keepdim=True)
    return indices[:, own].gather(0, winner)[0], values[:, own].gather(0, winner)[0]


def _assign_local(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign samples to the targets of this rank, on whichever device these are."""
    return nearest(x, targets, psi, cost) if targets.device == x.device else assign_streamed(x, targets, psi, cost, nearest)


def nearest(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign samples to targets on the same device, with the kernels for it.

    The value has the precision of these kernels.
    """
    # Not at the top: Numba takes half a second to import, and Triton is not everywhere.
    if x.dtype == torch.float32:
        if x.device.type == "cpu":
            from pgen.ot.assignment.cpu import assign_cpu

            return assign_cpu(x, targets, psi, cost)
        if x.device.type == "cuda" and find_spec("triton"):
            from pgen.ot.assignment.cuda import assign_cuda

            return assign_cuda(x, targets, psi, cost)
    return assign_reference(x, targets.dense, psi, cost)
