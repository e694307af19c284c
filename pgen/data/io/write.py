"""Writing image sets to files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from pgen.data.formats import FORMATS
from pgen.data.formats.png import INDEX, read_index
from pgen.data.formats.store import open_store, write_store
from pgen.data.images import MAX_IMAGES, ImageSet, iter_subsets
from pgen.data.views import match_labels
from pgen.errors import ConfigError, DataError
from pgen.utils.files import Outputs, free_space, refuse_existing, require_space
from pgen.utils.locks import exclusive_access
from pgen.utils.spelling import Format

#: Formats that pgen writes, by name. The first with the suffix of a file is its default format.
WRITERS = {format.name: format for format in FORMATS if format.write is not None}
#: Bytes that an image takes in a file at least, unless nearly all are blank.
MIN_IMAGE_BYTES = 8


def refuse_output(
    path: str | Path, *, format: Format | None = None, overwrite: bool = False, inputs: Iterable[Path] = ()
) -> tuple[Path, Format]:
    """Validate where images are to be written.

    Args:
        path: Where they are to be written; its suffix decides the format, unless that is given.
        format: The requested format; None for the default of this suffix.
        overwrite: Whether images that are there may be replaced.
        inputs: Files that are read, which are never replaced.

    Returns:
        The path and the format.

    Raises:
        PgenError: If no format has this suffix, or something is there that may not be replaced.
    """
    path = Path(path)
    fitting = [name for name, writer in WRITERS.items() if path.suffix.lower() in writer.suffixes]
    if not fitting:
        raise ConfigError(
            f"{path}: images cannot be written as {path.suffix}; expected .h5, .hdf5, .npz, or no suffix for a folder of PNGs."
        )
    if format and format not in fitting:
        suffixes = " or ".join(suffix or "no suffix" for suffix in WRITERS[format].suffixes)
        raise ConfigError(f"{path}: a file of format {format} has another suffix, expected {suffixes}; rename it.")
    refuse_existing(path, overwrite=overwrite, inputs=inputs, folder=not path.suffix)
    if path.is_dir():
        refuse_other_files(path)
    return path, format or fitting[0]  # type: ignore[return-value]


def refuse_count(n: int, out: Path | None = None) -> None:
    """Refuse a number of images that no file, or not the disk of ``out``, can hold."""
    if n > MAX_IMAGES:
        raise ConfigError(f"-n {n}: too many images for one file, expected at most {MAX_IMAGES:,}; write several files.")
    if out is not None and n * MIN_IMAGE_BYTES > (free := free_space(out)):
        raise ConfigError(
            f"-n {n}: so many images do not fit where {out} is to be written, {free / 2**20:,.0f} MiB are free; choose another place."
        )


def refuse_other_files(folder: Path) -> None:
    """Refuse to replace a folder unless it holds PNGs that pgen wrote, and nothing else."""
    rows = read_index(folder)
    if rows is None:
        raise DataError(f"{folder}: is no folder that pgen wrote (it has no {INDEX} of pgen); choose another name, or remove it yourself.")
    if strange := sorted({entry.name for entry in folder.iterdir()} - {INDEX, *(row["file"] for row in rows)}):
        raise DataError(f"{folder}: holds {strange[0]}, which is not of its images and would be lost; move it away or choose another name.")


def add_images(outputs: Outputs, path: str | Path) -> Path:
    """Add a set of images to ``outputs``; return the path to give to :func:`write_images`."""
    path = Path(path)
    return outputs.add(path, folder=not path.suffix, check=None if path.suffix else refuse_other_files)


def write_images(path: str | Path, images: ImageSet | Iterable[ImageSet], *, format: Format | None = None, overwrite: bool = False) -> Path:
    """Write images with their ids, events, labels and unit.

    All formats but npz hold one chunk in memory at a time.

    Args:
        path: Its suffix decides the default format: ``.h5`` or ``.hdf5`` (an image store),
            ``.npz``, or none for a folder of 16-bit PNGs of the rounded charge with an
            ``index.csv``.
        images: One set, or several, which are written one after the other.
        format: "store", "npz", "png" or "larcv3" (``.h5``).
        overwrite: Whether to replace a file that is there.

    Returns:
        The path.

    Raises:
        DataError: If sets differ in shape, labels or unit, or a PNG cannot hold their charge.
        PgenError: If the file exists and ``overwrite`` is not set, or cannot be written.
    """
    path, format = refuse_output(path, format=format, overwrite=overwrite)
    try:
        with Outputs(overwrite=overwrite) as outputs:
            draft = add_images(outputs, path)
            if not path.suffix:
                draft.mkdir()
            writer = WRITERS[format].write
            assert writer is not None
            writer(draft, _divide(images, path))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another place.") from error
    return path


def append_images(path: str | Path, images: ImageSet | Iterable[ImageSet], waiting: Callable[[], None] | None = None) -> Path:
    """Append images to an image store, all or nothing: a copy is extended and takes its place.

    Several processes may append at once; they do so one after the other.

    Args:
        path: The store.
        images: One set, or several.
        waiting: Called once if another process is appending and must be waited for.

    Returns:
        The path.

    Raises:
        DataError: If there is no store, sets differ from it in shape, labels or unit, an id is
            there already, or another program changed the store meanwhile.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected an image store to append to; write it first.")
    try:
        with exclusive_access(path.resolve(), waiting or (lambda: None)), Outputs() as outputs:
            before = path.stat()
            store = open_store(path, str(path))
            draft = outputs.add(path, check=partial(_refuse_changed, before))
            require_space(draft, before.st_size)
            shutil.copyfile(path, draft)
            write_store(draft, _divide(images, path, store), store)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); free some space.") from error
    return path


def _refuse_changed(before: os.stat_result, path: Path) -> None:
    """Refuse a file that another process has changed, as can happen without file locks."""
    now = path.stat()
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
        raise DataError(f"{path} was changed by another process meanwhile, and nothing was appended; try again.")


def _divide(images: ImageSet | Iterable[ImageSet], path: Path, first: ImageSet | None = None) -> Iterator[ImageSet]:
    """Iterate over the sets to write in small parts; refuse sets of different kinds."""
    count = 0
    for part in [images] if isinstance(images, ImageSet) else images:
        first = first or part
        if (part.shape, set(part.labels), part.unit) != (first.shape, set(first.labels), first.unit):
            raise DataError(f"{path}: the sets to write differ in shape, labels or unit; write them to different files.")
        yield from iter_subsets(match_labels(part, first))
        count += 1
    if not count:
        raise DataError(f"{path}: there are no images to write; nothing was written.")
