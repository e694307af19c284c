"""One of several processes of torch.distributed that train a model together."""

from __future__ import annotations

import gc
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.distributed.launch import HINT, Launch
from pgen.errors import DeviceError, LostRank, PgenError, RankFailed, RunError, option

T = TypeVar("T")
#: How long ranks wait for each other: to join, and in training, where rank 0 may be validating a
#: checkpoint.
JOIN_TIMEOUT, COLLECTIVE_TIMEOUT = timedelta(minutes=5), timedelta(hours=1)


class TorchProcessGroup(ProcessGroup):
    """A process that trains with others.

    Its methods must be called by all ranks, in the same order.
    """

    def __init__(self, launch: Launch) -> None:
        self.rank, self.count, self.local = launch.rank, launch.ranks, launch.local
        self.group = dist.group.WORLD
        self._signal = torch.zeros(1, dtype=torch.long)
        self._pending: dist.Work | None = None

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""
        for kind in {(tensor.dtype, tensor.device): None for tensor in tensors}:
            alike = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == kind]
            # One message instead of many.
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.all_reduce(flat)
            for tensor, total in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Concatenate the rows of all ranks."""
        longest = max(counts)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def on_rank_zero(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0; return its result, or raise its error, on all ranks."""
        result: list = [None, None]
        if self.rank == 0:
            try:
                result[0] = function()
            except Exception as error:
                dist.broadcast_object_list([None, str(error)])
                raise
        dist.broadcast_object_list(result)
        if result[1] is not None:
            raise RankFailed(result[1])
        return result[0]

    @contextmanager
    def raise_together(self) -> Iterator[None]:
        """Return a context that fails on every rank if its block fails on one."""
        own_error: Exception | None = None
        try:
            yield
        except Exception as error:
            own_error = error
        failures: list[tuple[str, str] | None] = [None] * self.count
        dist.all_gather_object(failures, own_error and (socket.gethostname(), str(own_error)))
        if (first := next((rank for rank, failure in enumerate(failures) if failure), None)) is None:
            return
        host, message = failures[first]  # type: ignore[misc]
        if own_error is not None and self.rank == first:
            if first == 0 or not isinstance(own_error, PgenError):
                raise own_error
            raise PgenError(f"rank {first} on {host}: {message}") from own_error
        raise RankFailed(message)

    def any_rank_signal(self, signal: int | None) -> int | None:
        """Return the signal that any rank received, one step later."""
        if self._pending is not None:
            self._pending.wait()
            if received := int(self._signal):
                self._pending = None
                return received
        # The result is read a step later, when it has long arrived.
        self._signal.fill_(signal or 0)
        self._pending = dist.all_reduce(self._signal, op=dist.ReduceOp.MAX, async_op=True)
        return None

    def wait_pending(self) -> None:
        """Wait for a collective whose result has not been read."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def require_distinct_gpus(self, device: torch.device) -> None:
        """Raise DeviceError if two ranks would share a GPU."""
        own_gpu = f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None
        gathered: list[str | None] = [None] * self.count
        dist.all_gather_object(gathered, own_gpu)
        gpus = [gpu for gpu in gathered if gpu is not None]
        if len(set(gpus)) < len(gpus):
            host = next(gpu for gpu in gpus if gpus.count(gpu) > 1).split()[0]
            raise self.error(
                DeviceError(f"{host}: several ranks would share one GPU; launch one rank per GPU, or pass {option('device', 'cpu')}.")
            )

    def error(self, error: Exception) -> BaseException:
        """Return what to raise for an error of all ranks, so that only one reports it."""
        return error if self.rank == 0 else RankFailed(str(error))


@contextmanager
def join(launch: Launch) -> Iterator[TorchProcessGroup]:
    """Join the group of all ranks until the block ends.

    Raises:
        RunError: The ranks do not find each other.
        LostRank: Another rank ended early.
    """
    place = f"{launch.address}:{launch.port}"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    url = "env://" if launch.by == "torchrun" else f"tcp://{place}"
    try:
        store, _, _ = next(dist.rendezvous(url, launch.rank, launch.ranks, timeout=JOIN_TIMEOUT))
        dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.ranks, timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"rank {launch.rank} of {launch.ranks} ({launch.by}) found no others at {place}: {reason}. {HINT}, with all ranks up and "
            "the port free, or name another with MASTER_ADDR and MASTER_PORT."
        ) from error
    ranks = TorchProcessGroup(launch)
    try:
        yield ranks
        ranks.wait_pending()
    except BaseException as error:
        # References in the failed calls would keep the group alive.
        traceback.clear_frames(error.__traceback__)
        if not _is_failed_collective(error):
            raise
        raise LostRank(
            f"rank {launch.rank} of {launch.ranks}: another rank has ended or cannot be reached ({str(error).splitlines()[0]}). What it "
            "said comes before this. The last checkpoint is kept; resume with --resume RUN, or --resume auto in a job script."
        ) from error
    finally:
        # The group's threads must end here: while the interpreter ends, they would now and then
        # abort the process.
        ranks.group = None
        dist.destroy_process_group()
        gc.collect()


def _is_failed_collective(error: BaseException) -> bool:
    """Whether a collective failed, which is how a rank learns that another has ended."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error)))
