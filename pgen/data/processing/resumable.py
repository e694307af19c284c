"""Long conversions that resume where they were interrupted."""

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
from pgen.data.images import ImageSet, SparseImageSet
from pgen.data.io.sources import files_of, open_images
from pgen.data.io.write import write_images
from pgen.errors import PgenError
from pgen.utils.drafts import PARTS, OwnedFolder
from pgen.utils.files import free_space, write_through_memory

#: New work is saved after so many seconds, or so many bytes of nonzero pixels. A short conversion
#: saves nothing.
SAVE_SECONDS, SAVE_BYTES = 10.0, 2**26
TASK = "task.json"

#: A range of images of the source, and what was made of them.
Result = tuple[range, Sequence[ImageSet]]


class ResumableTask:
    """A conversion that saves its results so far, in a hidden folder next to its output.

    Saving is optional: nothing is saved if the disk has no room for it besides the output, if the
    folder cannot be written, or if another process uses it.

    Args:
        out: Output of the task.
        task: Plain values that identify the task; results saved for another are deleted.
        total: Number of images in the source.
        log: Called with a line, once, if results can no longer be saved.
    """

    def __init__(self, out: Path, task: Mapping[str, Any], total: int, log: Callable[[str], None] = lambda line: None) -> None:
        self.path = out.with_name(f".{out.name}{PARTS}")
        self._folder: OwnedFolder | None = OwnedFolder(self.path)
        self._total, self._log = total, log
        self._task = json.dumps({**task, "pgen_version": __version__}, sort_keys=True, default=str).encode()
        self._saved: list[tuple[range, Path]] = []
        if os.path.lexists(self.path) and not self._take_over(self._folder):
            self._folder = None
        for path in sorted(self.path.glob("*.h5")) if self._folder else ():
            match = re.fullmatch("([0-9]+)-([0-9]+)", path.stem)
            if match and int(match[1]) == self.done and _is_sound(path):
                self._saved.append((range(int(match[1]), int(match[2])), path))

    def _take_over(self, folder: OwnedFolder) -> bool:
        """Whether the folder can be used; one of another task is deleted first."""
        if not folder.claim():
            return False  # another process uses it, or it is none of pgen's
        if not self._is_same_task():
            if not folder.is_abandoned():
                return False
            folder.remove()
        return True

    @property
    def done(self) -> int:
        """Number of images of the source whose results are saved."""
        return self._saved[-1][0].stop if self._saved else 0

    def _is_same_task(self) -> bool:
        try:
            return (self.path / TASK).read_bytes() == self._task
        except OSError:
            return False

    def run(self, work: Callable[[int], Iterator[Result]]) -> Iterator[Result]:
        """Yield the saved results, then those of ``work(start)``, which are saved."""
        for indices, path in self._saved:
            yield indices, [open_images(str(path.resolve()))]
        first = start = self.done
        unsaved, size, since, produced = list[ImageSet](), 0, time.monotonic(), 0
        for indices, sets in work(start):
            yield indices, sets
            if self._folder is None:
                continue
            for images in sets:
                pixels = images.read_sparse(range(len(images)))
                unsaved.append(SparseImageSet.from_images(images, range(len(images)), pixels))
                nbytes = pixels.flat_index.nbytes + pixels.value.nbytes
                produced, size = produced + nbytes, size + nbytes
            # By how many bytes, before compression, the output will still grow at this rate.
            ahead = produced * (self._total - indices.stop) // max(1, indices.stop - first)
            is_due = bool(unsaved) and (time.monotonic() - since > SAVE_SECONDS or size > SAVE_BYTES)
            if (is_due or self._folder.is_owned) and free_space(self.path) < size + ahead:
                self._give_up("the disk has no room for it besides the output")
                unsaved.clear()
            elif is_due:
                self._save(range(start, indices.stop), unsaved)
                start, unsaved, size, since = indices.stop, [], 0, time.monotonic()

    def forget(self) -> None:
        """Delete the saved results."""
        if self._folder is not None:
            self._folder.remove()

    def release(self) -> None:
        """Leave the saved results to another process."""
        if self._folder is not None:
            self._folder.lock.release()

    def _save(self, indices: range, unsaved: list[ImageSet]) -> None:
        assert self._folder is not None
        try:
            if not self._folder.is_owned:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._folder.create()
                write_through_memory(self.path / TASK, lambda stream: stream.write(self._task))
            write_images(self.path / f"{indices.start:012d}-{indices.stop:012d}.h5", iter(unsaved), overwrite=True)
        except (OSError, PgenError) as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.forget()
        self._folder = None
        self._log(f"An interrupted run would begin anew, since nothing can be kept: {reason}")


@contextmanager
def resumable(out: Path, task: Mapping[str, Any], total: int, log: Callable[[str], None] = lambda line: None) -> Iterator[ResumableTask]:
    """Open a :class:`ResumableTask`; its results are deleted when the block succeeds."""
    resumed = ResumableTask(out, task, total, log)
    try:
        yield resumed
        resumed.forget()
    finally:
        resumed.release()


def source_signature(source: str, data_root: str | None, images: ImageSet) -> list[Any]:
    """Return what identifies a source and its state: paths, sizes and times of its files."""
    files = [(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(source, data_root=data_root)]
    return [source, len(images), images.shape, files]


def _is_sound(path: Path) -> bool:
    try:
        open_images(str(path.resolve()))
    except PgenError:
        return False
    return True
