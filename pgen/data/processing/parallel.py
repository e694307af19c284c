"""Work shared out to processes."""

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
from typing import TYPE_CHECKING, Any, TypeVar

from pgen.data.chunks import chunk_ranges
from pgen.errors import PgenError
from pgen.utils.resources import cores, limit_threads

if TYPE_CHECKING:
    from pgen.data.images import ImageSet

T = TypeVar("T")
#: Parts a process at least: it takes a second to start one.
MIN_CHUNKS_PER_PROCESS = 4
#: Of <sys/prctl.h>: which signal a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at whether the parent is still there.
_WATCH_EVERY = 1.0


def parallel_map(work: Callable[..., T], calls: Sequence[tuple[Any, ...]], processes: int) -> Iterator[T]:
    """``work(*call)`` of each call, in order, by so many processes, with no more than two results a process waiting to be taken."""
    if processes <= 1:
        yield from starmap(work, calls)
        return
    # Fresh processes: a library's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _begin_worker, (os.getpid(), max(1, cores() // processes)))
    waiting: deque[Future[T]] = deque()
    done = False
    try:
        for call in calls:
            waiting.append(pool.submit(work, *call))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        done = True
    except BrokenProcessPool as error:
        raise PgenError(f"One of {processes} processes died, perhaps for lack of memory; give --processes fewer.") from error
    finally:
        if not done:
            # Nobody waits for what they are doing. (Python 3.14 has a method for it.)
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(cancel_futures=True)


def end_with(parent: int) -> None:
    """Let this process end as soon as the process ``parent``, which began it, does, by whatever: workers must not outlive a kill."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Where the system has no such service, or the parent was gone before it was asked for.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_EVERY)
    os._exit(1)


def _begin_worker(parent: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches workers too, and is the parent's to handle
    end_with(parent)
    limit_threads(threads)


def map_chunks(
    source: str,
    data_root: str | None,
    images: ImageSet,
    work: Callable[[ImageSet, range], T],
    processes: int | None = None,
    start: int = 0,
) -> Iterator[tuple[range, T]]:
    """(part, ``work(images, part)``) for the chunk_ranges of a source in order, from image ``start`` on, by so many processes, each of which opens
    the source itself; by default one a core, where the parts are many enough to be worth it."""
    shares = list(chunk_ranges(images, start=start))
    if processes is None:
        processes = min(cores(), len(shares) // MIN_CHUNKS_PER_PROCESS)
    if processes <= 1:
        yield from ((part, work(images, part)) for part in shares)
    else:
        yield from zip(shares, parallel_map(_work, [(source, data_root, work, part) for part in shares], processes), strict=True)


def _work(source: str, data_root: str | None, work: Callable[[ImageSet, range], T], part: range) -> T:
    return work(_opened(source, data_root), part)


@lru_cache(1)
def _opened(source: str, data_root: str | None) -> ImageSet:
    from pgen.data.io.sources import open_images

    # What was too much, the calling process has refused.
    return open_images(source, data_root=data_root, max_skipped="100%")
