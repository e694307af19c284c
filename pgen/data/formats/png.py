"""A folder of grayscale PNG images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.data.folders import ARRAYS, find_files, label_folders
from pgen.data.formats.base import LazyImages, reading, require_file
from pgen.data.formats.layout import Layout
from pgen.errors import PgenError

INDEX = "index.csv"  #: beside the images of a folder that pgen wrote: the columns file, id, event, unit, and labels
COLUMNS = ("file", "id", "event", "unit")
#: How a PNG begins, and its colour type for grayscale (ISO/IEC 15948, 11.2.2).
SIGNATURE, GRAYSCALE = b"\x89PNG\r\n\x1a\n", 0


def find_pngs(folder: Path) -> list[Path]:
    """Every .png below a folder that is not hidden, "2.png" before "10.png"."""
    return find_files(folder, (".png",))


def open_pngs(folder: Path, name: str) -> LazyImages:
    """An ImageSet of a folder's PNGs, one channel; an id is the path inside the folder without its ending.

    Where they lie in several folders, these are the label ``folder``.
    """
    paths = find_pngs(folder)
    if not paths:
        raise PgenError(f"{name}: a folder with no images in it, wanted PNG, npy, npz, torch, HDF5, ROOT or IDX (MNIST) files.")
    files = [path.relative_to(folder).as_posix() for path in paths]
    ids = [file.rsplit(".", 1)[0] for file in files]
    events: list[str] | None = None
    labels: dict[str, npt.NDArray] = {}
    unit = "ADC"
    rows = {row["file"]: row for row in read_index(folder) or ()}
    if rows:
        if set(rows) != set(files):
            raise PgenError(f"{name}: its {INDEX} lists {len(rows)} images and the folder holds {len(files)}; delete one or the other.")
        table = [rows[file] for file in files]
        ids, events, unit = [row["id"] for row in table], [row["event"] for row in table], table[0]["unit"]
        columns = [column for column in table[0] if column not in COLUMNS]
        labels = {column.removeprefix("labels/"): _numbers([row[column] for row in table]) for column in columns}
    else:
        labels = label_folders(files)

    first = _read(paths[0], name)
    about = {"format": "PNG folder", **Layout("hw", "by default").about(), "layout": "one image per file"}
    if others := find_files(folder, ARRAYS):
        about["ignored"] = (
            f"{len(others)} files that are no PNG ({others[0].name}, ...): a pattern reads them, such as '*{others[0].suffix}'"
        )

    def window(start: int, stop: int) -> npt.NDArray:
        images = [_read(path, name) for path in paths[start:stop]]
        for path, image in zip(paths[start:stop], images, strict=True):
            if image.shape != first.shape:
                raise PgenError(
                    f"{name}: {path.name} is of shape {image.shape} and {paths[0].name} of {first.shape}, "
                    "wanted one size; put them in different folders."
                )
        return np.stack(images)[:, None]

    return LazyImages(
        window,
        (1, *first.shape),
        name=name,
        entries=np.arange(len(paths)),
        ids=ids,
        events=events,
        labels=labels,
        unit=unit,
        about=about,
    )


def read_index(folder: Path) -> list[dict[str, str]] | None:
    """The rows of a folder's index.csv, or None where there is none that pgen wrote."""
    if not (folder / INDEX).is_file():
        return None
    with reading(str(folder / INDEX), "a table"), (folder / INDEX).open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table = csv.DictReader(stream, restval="")
        return list(table) if tuple(table.fieldnames or ())[:4] == COLUMNS else None


def _read(path: Path, name: str) -> npt.NDArray:
    """(H, W) pixels as the file has them: those of grayscale, or of colours that are grey and opaque."""
    from PIL import Image

    what = f"{name}: {path.name}"
    require_file(path, what)
    with reading(what, "PNG"):
        with path.open("rb") as stream:
            header = stream.read(26)
        if not header.startswith(SIGNATURE):
            raise PgenError(f"{what} is no PNG (it begins with {header[:8]!r}); convert it, or move it out of the folder.")
        # Byte 24 is the bit depth, byte 25 the colour type.
        depth, kind = (header[24], header[25]) if len(header) == 26 else (8, GRAYSCALE)
        if depth == 16 and kind != GRAYSCALE:
            raise PgenError(
                f"{what} has 16 bits for each of several channels, of which only 8 could be read; save it as grayscale of 16 bits."
            )
        with Image.open(path, formats=["PNG"]) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise PgenError(f"{what} is an animation of {frames} images; save each as a file of its own.")
            if kind == GRAYSCALE:
                # Pillow stretches 2 and 4 bits to 8, and of 1 bit what is transparent.
                pixels = np.asarray(image) // {2: 85, 4: 17}.get(depth, 1)
                opaque = pixels != min(image.info.get("transparency", -1), 2**depth - 1)
                is_grey = True
            else:
                channels = np.asarray(image.convert("RGBA"))
                pixels, opaque = channels[..., 0], channels[..., 3] == 255
                is_grey = bool(np.all(channels[..., 1:3] == pixels[..., None]))
    if not np.all(opaque):
        raise PgenError(
            f"{what} is transparent in {np.count_nonzero(~opaque)} pixels, whose charge is not known; save it without transparency."
        )
    if not is_grey:
        raise PgenError(
            f"{what} is in colour, and pgen does not guess which charge a colour means; convert it to grayscale of 8 or 16 bits."
        )
    return pixels


def _numbers(column: list[str]) -> npt.NDArray:
    """A table's column as integers, else floats, else text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in column])
        except ValueError:
            continue
    return np.array(column)
