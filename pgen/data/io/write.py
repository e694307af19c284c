"""Writing image sets to a store (HDF5), npz or a folder of PNGs."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pgen.data.formats.larcv.hdf5_write import write_larcv3
from pgen.data.formats.png import COLUMNS, INDEX, read_index
from pgen.data.formats.store import open_store
from pgen.data.formats.store_write import write_store
from pgen.data.images import MOST_IMAGES, ImageSet, columns, iter_subsets, joined_columns, read_all
from pgen.data.transforms.zero_suppression import NOTE, least_suppression
from pgen.data.views import with_labels_of
from pgen.errors import PgenError
from pgen.utils.files import Outputs, free_space, refuse_existing, require_space
from pgen.utils.formats import Format
from pgen.utils.locks import exclusive_access


def refuse_output(
    path: str | Path, *, format: Format | None = None, overwrite: bool = False, inputs: Iterable[Path] = ()
) -> tuple[Path, Format]:
    """The path and the format of a set of images to be written.

    Args:
        path: Where it is to be written; its suffix decides the format, where that is not given.
        format: The format wanted, None for the first that has this suffix.
        overwrite: Whether images that lie there may be replaced.
        inputs: Files that are read, which are never replaced.

    Raises:
        UserError: No format has this suffix, or something lies there that may not be replaced.
    """
    path = Path(path)
    fitting = [name for name in WRITERS if path.suffix.lower() in WRITERS[name][1]]
    if not fitting:
        raise PgenError(f"{path}: images cannot be written as {path.suffix}; wanted .h5, .hdf5, .npz, or no suffix for a folder of PNGs.")
    if format and format not in fitting:
        suffixes = " or ".join(suffix or "no suffix" for suffix in WRITERS[format][1])
        raise PgenError(f"{path}: a file of format {format} has another suffix, wanted {suffixes}; rename it.")
    refuse_existing(path, overwrite=overwrite, inputs=inputs, folder=not path.suffix)
    if path.is_dir():
        refuse_other_files(path)
    return path, format or fitting[0]


def refuse_count(n: int, out: Path | None = None) -> None:
    """UserError where no file, or not the disk on which ``out`` is to lie, can hold ``n`` images."""
    if n > MOST_IMAGES:
        raise PgenError(f"-n {n}: too many images for one file, wanted at most {MOST_IMAGES:,}; write several files.")
    if out is not None and n * SMALLEST_IMAGE > (free := free_space(out)):
        raise PgenError(f"-n {n}: so many images do not fit where {out} is to lie, {free / 2**20:,.0f} MiB are free; choose another place.")


def refuse_other_files(folder: Path) -> None:
    """UserError unless a folder holds PNGs that pgen wrote, and nothing else."""
    rows = read_index(folder)
    if rows is None:
        raise PgenError(f"{folder}: is no folder that pgen wrote (no {INDEX} of its in it); choose another name, or remove it yourself.")
    if strange := sorted({entry.name for entry in folder.iterdir()} - {INDEX, *(row["file"] for row in rows)}):
        raise PgenError(f"{folder}: holds {strange[0]}, which is not of its images and would be lost; move it away or choose another name.")


def add_images(outputs: Outputs, path: str | Path) -> Path:
    """Announce a set of images as one of several outputs; the path to give to :func:`write_images`."""
    path = Path(path)
    return outputs.add(path, folder=not path.suffix, check=None if path.suffix else refuse_other_files)


def write_images(path: str | Path, images: ImageSet | Iterable[ImageSet], *, format: Format | None = None, overwrite: bool = False) -> Path:
    """Writes one set, or the sets of an iterator one after the other, with ids, events, labels and unit.

    The name decides, where no ``format`` is given: ``.h5``/``.hdf5`` (an image store), ``.npz``, or a folder (no suffix) of 16-bit PNGs of
    the charge rounded to integers with an ``index.csv``. larcv3 is written as ``.h5`` too. All but npz hold one chunk in memory at a time.
    Returns the path. UserError if it exists (without ``overwrite``), if sets differ in shape, or if PNG cannot hold the charge.
    """
    path, format = refuse_output(path, format=format, overwrite=overwrite)
    try:
        with Outputs(overwrite=overwrite) as outputs:
            draft = add_images(outputs, path)
            if not path.suffix:
                draft.mkdir()
            WRITERS[format][0](draft, _pieces(images, path))
    except OSError as error:
        raise PgenError(f"{path}: cannot be written ({error.strerror or error}); choose another place.") from error
    return path


def append_images(path: str | Path, images: ImageSet | Iterable[ImageSet], waiting: Callable[[], None] = lambda: None) -> Path:
    """Add one set, or the sets of an iterator, to the image store at ``path``, all or nothing: a copy is made and takes its place.

    Several processes may append at once; they do so one after the other.

    Args:
        path: The store.
        images: What to add.
        waiting: Called once if another process is appending and must be waited for.

    Raises:
        UserError: There is no store, sets differ from it in shape, labels or unit, an id is there already, or another program changed the
            store meanwhile.
    """
    path = Path(path)
    if not path.is_file():
        raise PgenError(f"{path}: no such file, wanted an image store to append to; write it first.")
    try:
        with exclusive_access(path.resolve(), waiting), Outputs() as outputs:
            before = path.stat()
            held = open_store(path, str(path))
            draft = outputs.add(path, check=partial(_refuse_changed, before))
            require_space(draft, before.st_size)
            shutil.copyfile(path, draft)
            write_store(draft, _pieces(images, path, held), held)
    except OSError as error:
        raise PgenError(f"{path}: cannot be written ({error.strerror or error}); free some space.") from error
    return path


def _refuse_changed(before: os.stat_result, path: Path) -> None:
    """UserError where a file is no longer as it was, which on a file system without locks another process may bring about."""
    now = path.stat()
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
        raise PgenError(f"{path} was changed by another process meanwhile, and nothing was appended; try again.")


def _pieces(images: ImageSet | Iterable[ImageSet], path: Path, first: ImageSet | None = None) -> Iterator[ImageSet]:
    """The sets to write, cut small, all of the first one's shape, labels and unit."""
    count = 0
    for given in [images] if hasattr(images, "read") else images:  # type: ignore[list-item]
        first = first or given  # type: ignore[assignment]
        assert first is not None
        if (given.shape, set(given.labels), given.unit) != (first.shape, set(first.labels), first.unit):  # type: ignore[union-attr]
            raise PgenError(f"{path}: the sets to write differ in shape, labels or unit; write them to different files.")
        yield from iter_subsets(with_labels_of(given, first))  # type: ignore[arg-type]
        count += 1
    if not count:
        raise PgenError(f"{path}: there are no images to write; nothing was written.")


def _write_npz(path: Path, iter_subsets: Iterator[ImageSet]) -> None:
    held = list(iter_subsets)
    found = [(read_all(piece), columns(piece), piece.unit) for piece in held]
    suppression = least_suppression(held)
    noted = {} if suppression is None else {NOTE: np.asarray(suppression)}
    beside = joined_columns({key: [part[1][key] for part in found] for key in found[0][1]})
    with path.open("wb") as stream:  # a stream, because savez adds .npz to a path
        np.savez_compressed(
            stream,
            allow_pickle=False,
            images=np.concatenate([part[0] for part in found]),
            unit=np.asarray(found[0][2]),
            **noted,
            **beside,
        )


def _write_pngs(path: Path, iter_subsets: Iterator[ImageSet]) -> None:
    from PIL import Image

    with (path / INDEX).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table: Any = None
        count = 0
        for piece in iter_subsets:
            if piece.shape[0] != 1 or any(values.ndim != 1 for values in piece.labels.values()):
                raise PgenError(
                    f"{piece.name}: a PNG holds one channel and index.csv one number a label (found {piece.shape[0]} channels); write .h5."
                )
            if table is None:
                table = csv.writer(stream)
                # A label may be called like a column of pgen's own, as "file" of a pattern is.
                table.writerow([*COLUMNS, *(f"labels/{name}" if name in COLUMNS else name for name in piece.labels)])
            charge = read_all(piece)[:, 0]
            pixels = np.rint(charge)
            if pixels.min() < 0 or pixels.max() > 65535:
                raise PgenError(
                    f"{piece.name}: charge from {pixels.min():g} to {pixels.max():g} does not fit a PNG, wanted 0 to 65535; write .h5."
                )
            total, kept = (float(np.abs(each).sum(dtype=np.float64)) for each in (charge, pixels))
            if abs(kept - total) > ROUNDED * total:
                raise PgenError(
                    f"{piece.name}: a PNG holds whole numbers, which would make {kept:.4g} of a charge of {total:.4g}; write .h5."
                )
            for image, *row in zip(pixels.astype(np.uint16), piece.ids, piece.events, *piece.labels.values(), strict=True):
                Image.fromarray(image).save(path / f"{count:08d}.png")
                table.writerow([f"{count:08d}.png", row[0], row[1], piece.unit, *row[2:]])
                count += 1


#: Bytes that an image takes in a file at least, unless nearly all are blank.
SMALLEST_IMAGE = 8
#: Share of the charge that rounding for a PNG may take or add: more, and its unit is too coarse.
ROUNDED = 0.5
#: Of each format how it is written, and the suffixes of its files; the first that fits a name is meant by it.
WRITERS: dict[Format, tuple[Callable[[Path, Iterator[ImageSet]], None], tuple[str, ...]]] = {
    "store": (write_store, (".h5", ".hdf5")),
    "npz": (_write_npz, (".npz",)),
    "png": (_write_pngs, ("",)),
    "larcv3": (write_larcv3, (".h5", ".hdf5")),
}
