"""Long conversions that go on where they were interrupted."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgen import __version__
from pgen.data.images import ImageSet, lit_part
from pgen.data.lit import read_lit
from pgen.data.source import files_of, open_images
from pgen.data.write import write_images
from pgen.errors import UserError
from pgen.files import write_through_memory

#: Of the work since the last was kept: seconds, and bytes of lit pixels, after which it is kept. A short conversion keeps nothing.
SECONDS, BYTES = 10.0, 2**26
TASK = "task.json"

#: What was made of the images in a range of the source.
Share = tuple[range, Sequence[ImageSet]]


class Kept:
    """What an interrupted run of the same task has made already, in a folder beside its output.

    out: what the task writes. task: plain values that tell one task from another; what was kept for another is forgotten.
    """

    def __init__(self, out: Path, task: Mapping[str, Any]) -> None:
        self.folder = out.with_name(f".{out.name}.parts")
        self._task = json.dumps({**task, "pgen_version": __version__}, sort_keys=True, default=str).encode()
        self._parts: list[tuple[range, Path]] = []
        if self.folder.exists() and not self._is_of_this_task():
            shutil.rmtree(self.folder)
        for path in sorted(self.folder.glob("*.h5")):
            match = re.fullmatch("([0-9]+)-([0-9]+)", path.stem)
            if match and int(match[1]) == self.done and _is_sound(path):
                self._parts.append((range(int(match[1]), int(match[2])), path))

    @property
    def done(self) -> int:
        """How many images of the source are done with."""
        return self._parts[-1][0].stop if self._parts else 0

    def _is_of_this_task(self) -> bool:
        try:
            return (self.folder / TASK).read_bytes() == self._task
        except OSError:
            return False

    def over(self, work: Callable[[int], Iterator[Share]]) -> Iterator[Share]:
        """What was kept, and then what ``work(start)`` makes of the images from ``start`` on, of which some is kept every now and then."""
        for share, path in self._parts:
            yield share, [open_images(str(path.resolve()))]
        start, held, size, since = self.done, list[ImageSet](), 0, time.monotonic()
        for share, found in work(start):
            yield share, found
            for images in found:
                lit = read_lit(images, range(len(images)))
                held.append(lit_part(images, range(len(images)), lit))
                size += lit.place.nbytes + lit.value.nbytes
            if held and (time.monotonic() - since > SECONDS or size > BYTES):
                self._keep(range(start, share.stop), held)
                start, held, size, since = share.stop, [], 0, time.monotonic()

    def _keep(self, share: range, held: list[ImageSet]) -> None:
        if not self.folder.exists():
            write_through_memory(self.folder / TASK, lambda stream: stream.write(self._task))
        write_images(self.folder / f"{share.start:012d}-{share.stop:012d}.h5", iter(held), overwrite=True)


@contextmanager
def resumable(out: Path, task: Mapping[str, Any]) -> Iterator[Kept]:
    """What an interrupted run has kept, which is forgotten once the block has come to its end."""
    kept = Kept(out, task)
    yield kept
    if kept.folder.exists():
        shutil.rmtree(kept.folder)


def identity(source: str, data_root: str | None, images: ImageSet) -> list[Any]:
    """Tells a source from another, or from itself before it was changed: where its files lie, how long they are and of when."""
    files = [(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(source, data_root=data_root)]
    return [source, len(images), images.shape, files]


def _is_sound(path: Path) -> bool:
    try:
        open_images(str(path.resolve()))
    except UserError:
        return False
    return True
