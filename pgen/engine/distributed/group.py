"""The processes that train one model together, and how they divide a batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class BatchShard:
    """Consecutive rows of a batch that one rank processes at once.

    Attributes:
        first: The first row.
        count: Number of rows.
        total: Rows of the whole batch.
        counts: Rows of the shards that the ranks process at the same time, in order of rank.
    """

    first: int
    count: int
    total: int
    counts: tuple[int, ...]

    def take(self, rows: Any) -> Any:
        """Return the rows of this shard from those of the whole batch."""
        return rows if self.count == self.total else rows[self.first : self.first + self.count]


class ProcessGroup:
    """A single process.

    :class:`pgen.engine.distributed.torch_group.TorchProcessGroup` is one of several.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        local: Number of this process on its host.
        group: The group of torch.distributed; None for a single process.
    """

    rank = 0
    count = 1
    local = 0
    group: dist.ProcessGroup | None = None

    def shards(self, total: int, n_microbatches: int = 1) -> list[BatchShard]:
        """Divide a batch of ``total`` rows; return this rank's shards, one per micro-batch."""
        quotient, remainder = divmod(total, self.count * n_microbatches)
        bounds = [i * quotient + min(i, remainder) for i in range(self.count * n_microbatches + 1)]
        sizes = [stop - start for start, stop in itertools.pairwise(bounds)]
        own = self.rank * n_microbatches
        return [BatchShard(bounds[own + i], sizes[own + i], total, tuple(sizes[i::n_microbatches])) for i in range(n_microbatches)]

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Concatenate the rows (n_r, ...) of all ranks, of which rank r has counts[r]."""
        return rows

    def on_rank_zero(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0; return its result, or raise its error, on all ranks."""
        return function()

    def raise_together(self) -> AbstractContextManager[None]:
        """Return a context that fails on every rank if its block fails on one."""
        return nullcontext()

    def any_rank_signal(self, signal: int | None) -> int | None:
        """Return the signal that any rank received, on all ranks at the same step."""
        return signal

    def require_distinct_gpus(self, device: torch.device) -> None:
        """Raise DeviceError if two ranks would share a GPU."""

    def error(self, error: Exception) -> BaseException:
        """Return what to raise for an error of all ranks, so that only one reports it."""
        return error
