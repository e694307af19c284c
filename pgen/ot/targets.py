"""Targets, prepared once for many assignments."""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

from pgen.ot.assignment.sharded import rows_shared
from pgen.ot.costs import check_cost
from pgen.ot.duplicates import Duplicates, find_duplicates

#: Targets with less than this share of pixels lit are faster as sparse ones.
SPARSE_BELOW = 0.1


class Targets:
    """N targets of D values, dense or sparse, whichever their occupancy makes faster. Equal ones are transported to as one of their joint
    mass: their first, by its number, represents them.

    values: (N, D), a strided or a CSR tensor in single or double precision, which is kept and must not change. group: processes of
    torch.distributed that share the targets out; each gives its own ``values``, and those of all ranks in turn are the targets. sparse:
    whether assignments use the nonzero pixels alone. first, total: the number of the first target here, and how many all ranks hold.
    counts: how many each rank holds. rank, ranks: this process among those of the group. ValueError for another type, layout or number of
    axes, or nothing in one of them.
    """

    def __init__(self, values: Tensor, group: dist.ProcessGroup | None = None) -> None:
        if not isinstance(values, Tensor):
            raise ValueError(f"found targets of type {type(values).__name__}, wanted a tensor of torch")
        if (
            values.ndim != 2
            or 0 in values.shape
            or values.layout not in (torch.strided, torch.sparse_csr)
            or values.dtype not in (torch.float32, torch.float64)
        ):
            found = f"shape {tuple(values.shape)}, {values.dtype} and layout {values.layout}"
            raise ValueError(f"found targets of {found}, wanted (N, D), at least (1, 1), float32 or float64, strided or CSR")
        self.shape: tuple[int, int] = tuple(values.shape)  # type: ignore[assignment]
        self.device, self.dtype, self.group = values.device, values.dtype, group
        self._given: Tensor | None = values.detach()
        # A CSR tensor stays one, since its dense form may not fit in memory.
        self.sparse = values.layout == torch.sparse_csr or int(values.count_nonzero()) < SPARSE_BELOW * values.numel()
        self.counts: list[int] = self.gather(torch.tensor([len(values)], device=values.device)).tolist()
        self.total = sum(self.counts)
        self.rank, self.ranks = (dist.get_rank(group), dist.get_world_size(group)) if group else (0, 1)
        self.first = sum(self.counts[: self.rank])

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, values: Tensor) -> Tensor:
        """The ``values`` (n, …) of all ranks, one below the other; every rank gives equally many."""
        if self.group is None:
            return values
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, values.contiguous(), group=self.group)
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all ranks' ``values``."""
        if self.group is None:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def hits(self, index: Tensor) -> Tensor:
        """(N,) how often each target here is among the ``index`` (B,) of all ranks; the first of equal ones has the hits of all of them."""
        mine = self.gather(index) - self.first
        # One place more, for the targets of others: a GPU would have to be waited for if it were to count what it leaves out.
        at = torch.where((mine >= 0) & (mine < len(self)), mine, len(self))
        return self.merge(at.new_zeros(len(self) + 1).index_add_(0, at, torch.ones_like(at))[:-1].to(self.device))

    @cached_property
    def duplicates(self) -> Duplicates | None:
        """Which targets, on all ranks, are equal; None where no two are. All ranks compute it at the same time."""
        return find_duplicates(self)

    @property
    def distinct(self) -> int:
        """How many different targets all ranks hold."""
        return self.duplicates.distinct if self.duplicates else self.total

    def merge(self, values: Tensor) -> Tensor:
        """(N,) of ``values`` (N,): for the first of equal targets, on whichever rank, the sum of all of them; for the others 0."""
        return self._sum_groups(values) * self.duplicates.is_first.to(values.device) if self.duplicates else values

    def spread(self, values: Tensor) -> Tensor:
        """(N,) of ``values`` (N,): for each target the value of the first that equals it, on whichever rank."""
        if self.duplicates is None:
            return values
        # Not by a product: what stands for the others need be no number.
        return self._sum_groups(values.masked_fill(~self.duplicates.is_first.to(values.device), 0))

    def _sum_groups(self, values: Tensor) -> Tensor:
        """(N,) for each target the sum of ``values`` (N,) of all that equal it."""
        assert self.duplicates is not None
        group, shared = self.duplicates.group.to(values.device), self.duplicates.shared
        # One place more, for groups of other ranks.
        sums = values.new_zeros(self.duplicates.count + 1).index_add_(0, group, values)
        if shared is not None:
            sums[shared] = self.sum(sums[shared])
        return sums[group]

    def rows(self, index: Tensor) -> Tensor:
        """(n, D), dense, of targets by their number among all; where they are shared out, every rank asks for equally many."""
        if self.group is not None:
            return rows_shared(index, self)
        return self.held(index)

    def held(self, index: Tensor) -> Tensor:
        """:meth:`rows` of targets that are all held here."""
        mine = (index - self.first).to(self.device)
        if self._given is None or self._given.layout == torch.strided:
            return self.dense[mine].to(index.device)
        starts, pixels, charges = self.lit
        counts = starts[mine + 1] - starts[mine]
        row = torch.repeat_interleave(torch.arange(len(mine), device=self.device), counts)
        at = torch.arange(len(row), device=self.device) + (starts[mine] - (counts.cumsum(0) - counts))[row]
        rows = torch.zeros(len(mine), self.shape[1], device=self.device, dtype=self.dtype)
        rows[row, pixels[at].long()] = charges[at]
        return rows.to(index.device)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the values as they were given (dense or CSR): what a potential belongs to."""
        digest = hashlib.sha256(f"{self.shape} {self.dtype}".encode())
        for part in self.lit if self._given is None or self._given.layout == torch.sparse_csr else self._given.split(4096):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    def part(self, first: int, last: int, device: torch.device) -> Targets:
        """Targets ``first`` to ``last`` on ``device``, dense or sparse as these are. A GPU's copy is only begun."""

        def move(tensor: Tensor) -> Tensor:
            if device.type == "cuda" and tensor.device.type == "cpu":
                tensor = tensor.pin_memory()  # or the host would wait for the copy
            return tensor.to(device, non_blocking=device.type == "cuda")

        part = object.__new__(Targets)
        part.shape, part.device, part.dtype, part.sparse = (last - first, self.shape[1]), device, self.dtype, self.sparse
        part.group, part.first, part.total, part.rank, part.ranks = None, 0, last - first, 0, 1
        part.counts, part._given, part.duplicates = [last - first], None, None
        if self.sparse:
            starts, pixels, charges = self.lit
            begin, end = int(starts[first]), int(starts[last])
            part.lit = (move(starts[first : last + 1] - begin), move(pixels[begin:end]), move(charges[begin:end]))
        else:
            part.dense = move(self.dense[first:last])
        return part

    @cached_property
    def lit(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each target's lit pixels begin (N + 1,) int64, and of each lit pixel its place in the image, int32, and its charge."""
        given = self._given
        assert given is not None, "a part has the form that its assignments use"
        if given.layout == torch.sparse_csr:
            return given.crow_indices().long(), given.col_indices().int(), given.values()
        rows, pixels = given.nonzero(as_tuple=True)
        starts = torch.zeros(len(self) + 1, dtype=torch.long, device=self.device)
        starts[1:] = torch.bincount(rows, minlength=len(self)).cumsum(0)
        return starts, pixels.int(), given[rows, pixels]

    @cached_property
    def dense(self) -> Tensor:
        """(N, D), contiguous."""
        if self._given is not None:
            return self._given.to_dense().contiguous()
        _, pixels, charges = self.lit
        dense = torch.zeros(self.shape, device=self.device, dtype=self.dtype)
        dense[self.lit_rows(), pixels.long()] = charges
        return dense

    def norms(self, cost: str) -> Tensor:
        """(N,) sums of |y| for l1, of y² for the other costs."""
        check_cost(cost)
        return self._absolute if cost == "l1" else self._squared

    @cached_property
    def _absolute(self) -> Tensor:
        return self._powers(1)

    @cached_property
    def _squared(self) -> Tensor:
        return self._powers(2)

    def _powers(self, power: int) -> Tensor:
        """(N,) sums of |y| to a power, without the N × D terms in memory."""
        if not self.sparse:
            return torch.linalg.vector_norm(self.dense, power, dim=1) ** power
        charges = self.lit[2]
        return torch.zeros(len(self), device=self.device, dtype=self.dtype).index_add_(0, self.lit_rows(), charges.abs() ** power)

    def lit_rows(self) -> Tensor:
        """The target here of each nonzero pixel."""
        starts, _, charges = self.lit
        # The size is told, or a GPU would have to be waited for.
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), starts.diff(), output_size=len(charges))
