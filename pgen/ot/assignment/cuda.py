"""Assignment on a GPU: which Triton kernels run, on what tiles. Nothing here synchronises."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.ot.assignment import triton_kernels as kernels
from pgen.ot.targets import Targets

KINDS = {"l1": kernels.L1.value, "l2": kernels.L2.value, "sqeuclidean": kernels.SQEUCLIDEAN.value}
#: Samples and targets of a program, and values of each that are read at a time. For dense l1 a
#: thread keeps one target, four of its values and 32 sums in registers, and loads shared values of
#: the samples four at a time: on sm_90 five of six instructions are additions.
L1_TILE = {"ROWS": 32, "TILE": 128, "CHUNK": 4, "num_warps": 4}
#: As large as the usual batch, and as tensor cores take; each value from memory is used 64 times
#: or more.
DOT_TILE = {"ROWS": 64, "TILE": 128, "CHUNK": 32, "num_warps": 4}
#: One warp, to sum without a barrier; few targets, for enough programs for all multiprocessors.
SPARSE_TILE = {"ROWS": 64, "TILE": 32, "CHUNK": 16, "num_warps": 1}
#: In double precision: values of each target that are read at a time, and tiles scanned together.
EXACT = {"CHUNK": 16, "SCAN": 32, "num_warps": 4}
#: Programs that fill any GPU.
PROGRAMS = 2**11
#: Entries of the bounds (samples × tiles) held at a time.
ROOM = 2**24
#: Values of the samples that stay in the second-level cache while the targets pass.
CACHE = 2**22


def assign_cuda(x: Tensor, targets: Targets, psi: Tensor, cost: str) -> tuple[Tensor, Tensor]:
    """Assign float32 samples x (B, D) to targets on the same GPU; psi: (N,).

    Returns:
        index, value: (B,) each, as of :func:`pgen.ot.assignment.cpu.assign_cpu`.
    """
    shape = SPARSE_TILE if targets.sparse else L1_TILE if cost == "l1" else DOT_TILE
    tiles = -(-len(targets) // shape["TILE"])
    # At least one program's samples, even if the bounds of so many targets then exceed ROOM: they
    # are no more than the psi of these targets.
    samples = max(shape["ROWS"], min(ROOM // tiles, CACHE // max(1, x.shape[1])))
    x, psi = x.detach().contiguous(), psi.detach().contiguous()
    with torch.cuda.device_of(x):
        parts = [_assign_block(part, targets, psi, cost, shape, tiles) for part in x.split(samples)]
    index, value = zip(*parts, strict=True)
    return torch.cat(index), torch.cat(value)


def _assign_block(x: Tensor, targets: Targets, psi: Tensor, cost: str, shape: dict[str, int], tiles: int) -> tuple[Tensor, Tensor]:
    samples, size = x.shape
    kind, norms = KINDS[cost], targets.norms(cost)
    power = 1 if cost == "l1" else 2
    x_norms = torch.linalg.vector_norm(x, power, dim=1, dtype=torch.float64) ** power
    lows, highs = torch.empty(2, samples, tiles, device=x.device)
    grid = (-(-samples // shape["ROWS"]) * tiles,)
    if targets.sparse:
        starts, columns, values = targets.csr
        dense = values
        kernels.sparse_bounds[grid](
            x.T.contiguous(), x_norms.float(), starts, columns, values, norms, psi, lows, highs, samples, len(psi), tiles, kind, **shape
        )
    else:
        dense = starts = columns = values = targets.dense
        relative = dense_error(size, cost)
        kernels.dense_bounds[grid](
            x, dense, x_norms.float(), norms, psi, lows, highs, samples, len(psi), size, tiles, relative, kind, **shape
        )
    parts = min(-(-tiles // EXACT["SCAN"]), -(-PROGRAMS // samples))
    best = torch.empty(samples, parts, device=x.device, dtype=torch.float64)
    indices = torch.empty(samples, parts, device=x.device, dtype=torch.long)
    kernels.exact[(samples, parts)](
        x, x_norms, dense, starts, columns, values, psi, lows, highs.amin(1), best, indices, len(psi), size, tiles, kind,
        SPARSE=targets.sparse, TILE=shape["TILE"], **EXACT,
    )  # fmt: skip
    value = best.amin(1)
    index = torch.where(best == value[:, None], indices, len(psi)).amin(1)
    # No value at all: x or psi is NaN.
    return index, torch.where(value.isinf(), torch.nan, value)


def dense_error(size: int, cost: str) -> float:
    """Bound the error of a cost (l2: its square) relative to the sum of both norms.

    It holds for :func:`pgen.ot.assignment.triton_kernels.dense_bounds`. l1: a term is rounded, by
    half of EPS, when it is formed, when its chunk is summed, and with each chunk added after it;
    the terms sum to at most both norms. The other costs: tensor cores cut each factor to the ten
    bits of TF32, so a product is short by up to 2^-9 and a little, and cut what they add, of which
    the last bit (EPS) may be lost once for each term and once for each group of four or more; twice
    the sum of the |x_k y_k| is at most both norms. The norm of a target is a single-precision sum
    in any order. In both cases at least a third is left for roundings of roundings.

    Args:
        size: Values of a target, D.
        cost: l1, l2 or sqeuclidean.
    """
    eps = float(kernels.EPS.value)
    if cost == "l1":
        return (size / L1_TILE["CHUNK"] + L1_TILE["CHUNK"] + 8) * eps
    return 2.0**-9 * (1 + 2.0**-8) + (3 * size + 16) * eps
