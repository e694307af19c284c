"""Rows of values, dense or sparse, of which each rank may hold a shard."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from pgen.ot.costs import check_cost

#: Rows with a smaller fraction of nonzero values are compared faster in sparse form.
SPARSE_BELOW = 0.1


class ShardedRows:
    """N rows of D values on this rank, one after the other with those of the other ranks.

    Attributes:
        shape: (N, D), of the rows on this rank.
        device: Where the values are.
        dtype: float32 or float64.
        group: The processes that share the rows, None for a single one.
        sparse: Whether computations use the nonzero values only.
        counts: The number of rows on each rank.
        total: The number of rows on all ranks.
        first: The global index of the first row on this rank.
        rank: The rank of this process in the group.
        ranks: The number of processes in the group.
    """

    def __init__(self, values: Tensor, group: dist.ProcessGroup | None = None) -> None:
        """Keep values, which must not change afterwards.

        Args:
            values: (N, D), strided or CSR, in single or double precision.
            group: Processes of torch.distributed that share the rows; each passes its own values.

        Raises:
            ValueError: Another type, layout or number of axes, or an empty axis.
        """
        if not isinstance(values, Tensor):
            raise ValueError(f"expected a torch tensor, got {type(values).__name__}")
        if (
            values.ndim != 2
            or 0 in values.shape
            or values.layout not in (torch.strided, torch.sparse_csr)
            or values.dtype not in (torch.float32, torch.float64)
        ):
            kind = f"shape {tuple(values.shape)}, {values.dtype} and layout {values.layout}"
            raise ValueError(f"expected targets (N, D), at least (1, 1), float32 or float64, strided or CSR; got {kind}")
        self.shape: tuple[int, int] = (values.shape[0], values.shape[1])
        self.device, self.dtype, self.group = values.device, values.dtype, group
        self._values: Tensor | None = values.detach()
        # A CSR tensor stays one, since its dense form may not fit in memory.
        self.sparse = values.layout == torch.sparse_csr or int(values.count_nonzero()) < SPARSE_BELOW * values.numel()
        self.counts: list[int] = self.gather(torch.tensor([len(values)], device=values.device)).tolist()
        self.total = sum(self.counts)
        self.rank, self.ranks = (dist.get_rank(group), dist.get_world_size(group)) if group else (0, 1)
        self.first = sum(self.counts[: self.rank])

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate the values (n, ...) of all ranks; n is the same on each."""
        if self.group is None:
            return values
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, values.contiguous(), group=self.group)
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """Sum values over all ranks."""
        if self.group is None:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def rows(self, index: Tensor) -> Tensor:
        """Return the dense rows (n, D) at global indices (n,), n being equal on all ranks."""
        return self._local_rows(index) if self.group is None else self._gather_rows(index)

    def _gather_rows(self, index: Tensor) -> Tensor:
        requested = self.gather(index)
        is_here = (requested >= self.first) & (requested < self.first + len(self))
        rows = torch.zeros(len(requested), self.shape[1], device=index.device, dtype=self.dtype)
        rows[is_here] = self._local_rows(requested[is_here])
        begin = len(index) * self.rank
        return self.sum(rows)[begin : begin + len(index)]

    def _local_rows(self, index: Tensor) -> Tensor:
        local = (index - self.first).to(self.device)
        if self._values is None or self._values.layout == torch.strided:
            return self.dense[local].to(index.device)
        starts, columns, values = self.csr
        counts = starts[local + 1] - starts[local]
        row = torch.repeat_interleave(torch.arange(len(local), device=self.device), counts)
        at = torch.arange(len(row), device=self.device) + (starts[local] - (counts.cumsum(0) - counts))[row]
        rows = torch.zeros(len(local), self.shape[1], device=self.device, dtype=self.dtype)
        rows[row, columns[at].long()] = values[at]
        return rows.to(index.device)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the values as they were passed, dense or CSR; a potential belongs to it."""
        digest = hashlib.sha256(f"{self.shape} {self.dtype}".encode())
        for part in self.csr if self._values is None or self._values.layout == torch.sparse_csr else self._values.split(4096):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    def block(self, first: int, last: int, device: torch.device) -> Self:
        """Copy rows first to last of this rank to a device, dense or sparse as they are here.

        A copy to a GPU is asynchronous.
        """

        def move(tensor: Tensor) -> Tensor:
            if device.type == "cuda" and tensor.device.type == "cpu":
                tensor = tensor.pin_memory()  # or the host would wait for the copy
            return tensor.to(device, non_blocking=device.type == "cuda")

        block = object.__new__(type(self))
        block.shape, block.device, block.dtype, block.sparse = (last - first, self.shape[1]), device, self.dtype, self.sparse
        block.group, block.first, block.total, block.rank, block.ranks = None, 0, last - first, 0, 1
        block.counts, block._values = [last - first], None
        if self.sparse:
            starts, columns, values = self.csr
            begin, end = int(starts[first]), int(starts[last])
            block.csr = (move(starts[first : last + 1] - begin), move(columns[begin:end]), move(values[begin:end]))
        else:
            block.dense = move(self.dense[first:last])
        return block

    @cached_property
    def csr(self) -> tuple[Tensor, Tensor, Tensor]:
        """The nonzero values: row starts (N + 1,) int64, column of each int32, and the values."""
        tensor = self._values
        assert tensor is not None, "a block has only the form that assignments use"
        if tensor.layout == torch.sparse_csr:
            return tensor.crow_indices().long(), tensor.col_indices().int(), tensor.values()
        rows, columns = tensor.nonzero(as_tuple=True)
        starts = torch.zeros(len(self) + 1, dtype=torch.long, device=self.device)
        starts[1:] = torch.bincount(rows, minlength=len(self)).cumsum(0)
        return starts, columns.int(), tensor[rows, columns]

    def nonzero_rows(self) -> Tensor:
        """Return the local row of each nonzero value."""
        starts, _, values = self.csr
        # output_size, or a GPU would have to be waited for.
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), starts.diff(), output_size=len(values))

    @cached_property
    def dense(self) -> Tensor:
        """(N, D), contiguous."""
        if self._values is not None:
            return self._values.to_dense().contiguous()
        _, columns, values = self.csr
        dense = torch.zeros(self.shape, device=self.device, dtype=self.dtype)
        dense[self.nonzero_rows(), columns.long()] = values
        return dense

    def norms(self, cost: str) -> Tensor:
        """Return the sums (N,) of |y| for l1, of y² for the other costs."""
        check_cost(cost)
        return self._l1_norms if cost == "l1" else self._square_norms

    @cached_property
    def _l1_norms(self) -> Tensor:
        return self._sum_powers(1)

    @cached_property
    def _square_norms(self) -> Tensor:
        return self._sum_powers(2)

    def _sum_powers(self, power: int) -> Tensor:
        """Sum |y| to a power for each row, without N × D terms in memory."""
        if not self.sparse:
            norms: Tensor = torch.linalg.vector_norm(self.dense, power, dim=1)
            return norms**power
        values = self.csr[2]
        return torch.zeros(len(self), device=self.device, dtype=self.dtype).index_add_(0, self.nonzero_rows(), values.abs() ** power)
