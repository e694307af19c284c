"""Targets of transport, prepared once for many assignments."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from pgen.ot.duplicates import Duplicates, find_duplicates
from pgen.ot.rows import ShardedRows


class Targets(ShardedRows):
    """N targets of D values, dense or sparse, whichever is faster at their occupancy.

    Equal targets count as one with their joint mass: the first of them represents the group.
    See :class:`pgen.ot.rows.ShardedRows` for the arguments and attributes.
    """

    @cached_property
    def duplicates(self) -> Duplicates | None:
        """Which targets of all ranks are equal; None where no two are. A collective operation."""
        return find_duplicates(self)

    @property
    def distinct(self) -> int:
        """The number of different targets on all ranks."""
        return self.duplicates.distinct if self.duplicates else self.total

    def block(self, first: int, last: int, device: torch.device) -> Self:
        """Copy targets to a device; see :meth:`pgen.ot.rows.ShardedRows.block`."""
        block = super().block(first, last, device)
        block.duplicates = None
        return block

    def hits(self, index: Tensor) -> Tensor:
        """Count how often each local target is in the index (B,) of all ranks.

        Returns:
            (N,), where the first of equal targets has the hits of all of them.
        """
        local = self.gather(index) - self.first
        # One place more, for targets of other ranks: to leave these out, a GPU would have to be
        # waited for.
        at = torch.where((local >= 0) & (local < len(self)), local, len(self))
        return self.merge(at.new_zeros(len(self) + 1).index_add_(0, at, torch.ones_like(at))[:-1].to(self.device))

    def merge(self, values: Tensor) -> Tensor:
        """Sum values (N,) over equal targets of all ranks into the first; the others get 0."""
        return self._sum_groups(values) * self.duplicates.is_first.to(values.device) if self.duplicates else values

    def spread(self, values: Tensor) -> Tensor:
        """Give each target the value, of (N,), of the first that equals it on any rank."""
        if self.duplicates is None:
            return values
        # Not by a product, since values of the others may be NaN or infinite.
        return self._sum_groups(values.masked_fill(~self.duplicates.is_first.to(values.device), 0))

    def _sum_groups(self, values: Tensor) -> Tensor:
        """Sum values (N,) over the targets that equal each target."""
        assert self.duplicates is not None
        group, shared = self.duplicates.group.to(values.device), self.duplicates.shared
        # One place more, for groups of other ranks.
        sums = values.new_zeros(self.duplicates.count + 1).index_add_(0, group, values)
        if shared is not None:
            sums[shared] = self.sum(sums[shared])
        return sums[group]
