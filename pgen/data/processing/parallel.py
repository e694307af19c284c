"""Ordered parallel maps over processes.

joblib's ``Parallel(return_as="generator")`` does not replace this pool: its workers take no
initialiser, which must tie them to a parent that is killed, keep Ctrl-C for the parent and limit
their threads; and closing its generator waits for tasks that are under way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import lru_cache
from itertools import starmap
from typing import Any, TypeVar

from pgen.data.images import ImageSet, chunk_ranges
from pgen.data.io.sources import open_images
from pgen.data.sparse import SparseImages
from pgen.errors import DeviceError, option
from pgen.utils.resources import cores, limit_threads

T = TypeVar("T")
#: Starting a process takes a second, which must be worth it.
MIN_CHUNKS_PER_PROCESS = 4
#: From <sys/prctl.h>: which signal a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
#: Seconds between checks whether the parent is alive.
_POLL_SECONDS = 1.0


def parallel_map(work: Callable[..., T], calls: Sequence[tuple[Any, ...]], processes: int) -> Iterator[T]:
    """Yield ``work(*call)`` for each call, in order, computed by several processes.

    At most two results per process wait to be taken.

    Raises:
        DeviceError: If a process dies.
    """
    if processes <= 1:
        yield from starmap(work, calls)
        return
    # Spawned, because the threads of libraries do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _start_worker, (os.getpid(), max(1, cores() // processes)))
    pending: deque[Future[T]] = deque()
    is_done = False
    try:
        for call in calls:
            pending.append(pool.submit(work, *call))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        is_done = True
    except BrokenProcessPool as error:
        raise DeviceError(f"One of {processes} processes died, perhaps for lack of memory; give fewer {option('processes')}.") from error
    finally:
        if not is_done:
            # Nobody waits for the tasks under way. (Python 3.14 has a method for it.)
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(cancel_futures=True)


def exit_with_parent(parent: int) -> None:
    """End this process when its ``parent`` ends: workers must not outlive a kill."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # For systems without prctl, and for a parent that ended before the call.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _start_worker(parent: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches workers too, and is for the parent to handle
    exit_with_parent(parent)
    limit_threads(threads)


def map_chunks(
    source: str,
    data_root: str | None,
    images: ImageSet,
    work: Callable[[ImageSet, range], T],
    processes: int | None = None,
    start: int = 0,
) -> Iterator[tuple[range, T]]:
    """Map ``work`` over the chunks of a source, in order.

    Args:
        source: The source, which every process opens for itself.
        data_root: Where relative paths start.
        images: The source, opened.
        work: Called with the images and the range of a chunk.
        processes: By default one per core, if there are enough chunks to be worth it.
        start: First image.

    Yields:
        The range of each chunk, and what ``work`` returns.
    """
    chunks = list(chunk_ranges(images, start=start))
    if processes is None:
        processes = min(cores(), len(chunks) // MIN_CHUNKS_PER_PROCESS)
    if processes <= 1:
        yield from ((chunk, work(images, chunk)) for chunk in chunks)
    else:
        calls = [(source, data_root, work, chunk) for chunk in chunks]
        yield from zip(chunks, parallel_map(_open_and_work, calls, processes), strict=True)


def read_sparse(images: ImageSet, chunk: range) -> SparseImages:
    """Read the nonzero pixels of a chunk: a ``work`` for :func:`map_chunks`."""
    return images.read_sparse(chunk)


def _open_and_work(source: str, data_root: str | None, work: Callable[[ImageSet, range], T], chunk: range) -> T:
    return work(_open_once(source, data_root), chunk)


@lru_cache(1)
def _open_once(source: str, data_root: str | None) -> ImageSet:
    # The calling process has refused what skips too many.
    return open_images(source, data_root=data_root, max_skipped="100%")
