"""Long conversions that go on where they were interrupted."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgen._version import __version__
from pgen.data.images import ImageSet, lit_part
from pgen.data.io.sources import files_of, open_images
from pgen.data.io.write import write_images
from pgen.data.sparse import read_lit
from pgen.errors import PgenError
from pgen.utils.drafts import PARTS, OwnedFolder
from pgen.utils.files import free_space, write_through_memory

#: Of the work since the last was kept: seconds, and bytes of lit pixels, after which it is kept. A short conversion keeps nothing.
SECONDS, BYTES = 10.0, 2**26
TASK = "task.json"

#: What was made of the images in a range of the source.
Share = tuple[range, Sequence[ImageSet]]


class ResumableTask:
    """What an interrupted run of the same task has made already, in a hidden folder next to its output.

    To keep parts is optional: where there is no room for them besides the output, where they cannot be written, or where another process
    keeps its own there, none are kept.

    Args:
        out: What the task writes.
        task: Plain values that tell one task from another; what was kept for another is forgotten.
        total: Number of images in the source.
        say: Called with a line, once, when nothing more is kept.
    """

    def __init__(self, out: Path, task: Mapping[str, Any], total: int, say: Callable[[str], None] = lambda line: None) -> None:
        self.path = out.with_name(f".{out.name}{PARTS}")
        self._folder: OwnedFolder | None = OwnedFolder(self.path)
        self._total, self._say = total, say
        self._task = json.dumps({**task, "pgen_version": __version__}, sort_keys=True, default=str).encode()
        self._parts: list[tuple[range, Path]] = []
        if os.path.lexists(self.path) and not self._take_over(self._folder):
            self._folder = None
        for path in sorted(self.path.glob("*.h5")) if self._folder else ():
            match = re.fullmatch("([0-9]+)-([0-9]+)", path.stem)
            if match and int(match[1]) == self.done and _is_sound(path):
                self._parts.append((range(int(match[1]), int(match[2])), path))

    def _take_over(self, folder: OwnedFolder) -> bool:
        """Whether the folder is to be used; that of another task is deleted first."""
        if not folder.claim():
            return False  # another process uses it, or it is none of pgen's
        if not self._is_of_this_task():
            if not folder.is_abandoned():
                return False
            folder.remove()
        return True

    @property
    def done(self) -> int:
        """How many images of the source are done with."""
        return self._parts[-1][0].stop if self._parts else 0

    def _is_of_this_task(self) -> bool:
        try:
            return (self.path / TASK).read_bytes() == self._task
        except OSError:
            return False

    def over(self, work: Callable[[int], Iterator[Share]]) -> Iterator[Share]:
        """What was kept, and then what ``work(start)`` makes of the images from ``start`` on, of which some is kept every now and then."""
        for share, path in self._parts:
            yield share, [open_images(str(path.resolve()))]
        start, held, size, since = self.done, list[ImageSet](), 0, time.monotonic()
        begun, made = start, 0
        for share, sets in work(start):
            yield share, sets
            if self._folder is None:
                continue
            for images in sets:
                lit = read_lit(images, range(len(images)))
                held.append(lit_part(images, range(len(images)), lit))
                made, size = (count + lit.flat_index.nbytes + lit.value.nbytes for count in (made, size))
            # Bytes, before compression, that the output will yet grow by at this rate.
            ahead = made * (self._total - share.stop) // max(1, share.stop - begun)
            due = bool(held) and (time.monotonic() - since > SECONDS or size > BYTES)
            if (due or self._folder.is_owned) and free_space(self.path) < size + ahead:
                self._give_up("the disk has no room for it besides the output")
                held.clear()
            elif due:
                self._keep(range(start, share.stop), held)
                start, held, size, since = share.stop, [], 0, time.monotonic()

    def forget(self) -> None:
        """Delete what was kept."""
        if self._folder is not None:
            self._folder.remove()

    def release(self) -> None:
        """Leave what was kept to another run."""
        if self._folder is not None:
            self._folder.lock.release()

    def _keep(self, share: range, held: list[ImageSet]) -> None:
        assert self._folder is not None
        try:
            if not self._folder.is_owned:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._folder.create()
                write_through_memory(self.path / TASK, lambda stream: stream.write(self._task))
            write_images(self.path / f"{share.start:012d}-{share.stop:012d}.h5", iter(held), overwrite=True)
        except (OSError, PgenError) as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self.forget()
        self._folder = None
        self._say(f"An interrupted run would begin anew, since nothing can be kept: {why}")


@contextmanager
def resumable(out: Path, task: Mapping[str, Any], total: int, say: Callable[[str], None] = lambda line: None) -> Iterator[ResumableTask]:
    """What an interrupted run has kept, see :class:`ResumableTask`, which is forgotten once the block has come to its end."""
    kept = ResumableTask(out, task, total, say)
    try:
        yield kept
        kept.forget()
    finally:
        kept.release()


def identity(source: str, data_root: str | None, images: ImageSet) -> list[Any]:
    """Tells a source from another, or from itself before it was changed: where its files lie, how long they are and of when."""
    files = [(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(source, data_root=data_root)]
    return [source, len(images), images.shape, files]


def _is_sound(path: Path) -> bool:
    try:
        open_images(str(path.resolve()))
    except PgenError:
        return False
    return True
