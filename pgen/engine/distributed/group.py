"""The processes that train one model together, as seen by each of them. Alone, all of it is trivial, and needs no torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pgen.engine.distributed.launch import launched

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    import torch.distributed as dist
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class BatchShard:
    """Rows ``first`` to ``first + count`` of the ``total`` of a batch: what one rank does of it, at once.

    counts: of the parts that the ranks do at the same time, in order of rank.
    """

    first: int
    count: int
    total: int
    counts: tuple[int, ...]

    def of(self, rows: Any) -> Any:
        """These rows of the whole batch's."""
        return rows if self.count == self.total else rows[self.first : self.first + self.count]


class ProcessGroup:
    """A process that trains alone. :class:`pgen.engine.distributed.torch_group.TorchProcessGroup` is one of several."""

    rank = 0
    count = 1
    local = 0
    group: dist.ProcessGroup | None = None

    def parts(self, total: int, pieces: int = 1) -> list[BatchShard]:
        """The ``pieces`` parts of a batch of ``total`` rows that are this rank's, one after the other."""
        every, more = divmod(total, self.count * pieces)
        bounds = [i * every + min(i, more) for i in range(self.count * pieces + 1)]
        sizes = [last - first for first, last in itertools.pairwise(bounds)]
        mine = self.rank * pieces
        return [BatchShard(bounds[mine + i], sizes[mine + i], total, tuple(sizes[i::pieces])) for i in range(pieces)]

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows (n_r, ...) of all ranks, of which rank r gives counts[r]."""
        return rows

    def on_rank_zero(self, act: Callable[[], T]) -> T:
        """What ``act`` returns on the first rank, where alone it is called; its error is every rank's."""
        return act()

    def raise_together(self) -> AbstractContextManager[None]:
        """A block that fails on every rank where it fails on one."""
        return nullcontext()

    def any_rank_signal(self, signal: int | None) -> int | None:
        """A signal that came to any rank, told to all at the same step, at the latest one step later."""
        return signal

    def require_distinct_gpus(self, device: torch.device) -> None:
        """UserError where two ranks would share a GPU."""

    def error(self, error: Exception) -> BaseException:
        """An error that all ranks met alike, to be raised by each and told by one."""
        return error


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """This process among those that were launched with it, until the block ends. UserError where they do not find each other."""
    launch = launched()
    if launch is None:
        yield ProcessGroup()
        return
    from pgen.engine.distributed.torch_group import join

    with join(launch) as ranks:
        yield ranks
