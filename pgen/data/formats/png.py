"""A folder of grayscale PNG images."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.folders import DATA_ENDINGS, find_files, folder_label
from pgen.data.formats.base import LazyImages, require_file, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.layout import Layout
from pgen.data.images import ImageSet, read_all
from pgen.errors import DataError

#: Table next to the images of a folder that pgen wrote, and its first columns; labels follow.
INDEX = "index.csv"
COLUMNS = ("file", "id", "event", "unit")
#: Fraction of the charge that rounding to integers may take or add; more, and the unit is too
#: coarse.
MAX_ROUNDING = 0.5
#: How a PNG begins, and its colour type for grayscale (ISO/IEC 15948, 11.2.2).
SIGNATURE, GRAYSCALE = b"\x89PNG\r\n\x1a\n", 0


def find_pngs(folder: Path) -> list[Path]:
    """Return every .png below a folder that is not hidden, "2.png" before "10.png"."""
    return find_files(folder, (".png",))


def open_pngs(folder: Path, name: str) -> LazyImages:
    """Open a folder of PNGs (1, H, W); an id is the path inside the folder without its ending.

    If they lie in several folders, these are the label ``folder``.
    """
    paths = find_pngs(folder)
    if not paths:
        raise DataError(f"{name}: a folder with no images in it, expected PNG, npy, npz, torch, HDF5, ROOT or IDX (MNIST) files.")
    files = [path.relative_to(folder).as_posix() for path in paths]
    ids = [file.rsplit(".", 1)[0] for file in files]
    events: list[str] | None = None
    labels: dict[str, npt.NDArray] = {}
    unit = "ADC"
    rows = {row["file"]: row for row in read_index(folder) or ()}
    if rows:
        if set(rows) != set(files):
            raise DataError(f"{name}: its {INDEX} lists {len(rows)} images and the folder holds {len(files)}; delete one or the other.")
        table = [rows[file] for file in files]
        ids, events, unit = [row["id"] for row in table], [row["event"] for row in table], table[0]["unit"]
        columns = [column for column in table[0] if column not in COLUMNS]
        labels = {column.removeprefix("labels/"): _parse_column([row[column] for row in table]) for column in columns}
    else:
        labels = folder_label(files)

    first = _read(paths[0], name)
    about = {"format": "PNG folder", **Layout("hw", "by default").about(), "layout": "one image per file"}
    if others := find_files(folder, DATA_ENDINGS):
        about["ignored"] = (
            f"{len(others)} files that are no PNG ({others[0].name}, ...): a pattern reads them, such as '*{others[0].suffix}'"
        )

    def window(start: int, stop: int) -> npt.NDArray:
        images = [_read(path, name) for path in paths[start:stop]]
        for path, image in zip(paths[start:stop], images, strict=True):
            if image.shape != first.shape:
                raise DataError(
                    f"{name}: {path.name} is of shape {image.shape} and {paths[0].name} of {first.shape}, "
                    "expected one size; put them in different folders."
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
    """Read the rows of a folder's index.csv; None if there is none that pgen wrote."""
    if not (folder / INDEX).is_file():
        return None
    with (
        wrap_read_errors(str(folder / INDEX), "a table"),
        (folder / INDEX).open(newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        table = csv.DictReader(stream, restval="")
        return list(table) if tuple(table.fieldnames or ())[:4] == COLUMNS else None


def _read(path: Path, name: str) -> npt.NDArray:
    """Read the pixels (H, W) of a file: grayscale, or colours that are grey and opaque."""
    from PIL import Image

    label = f"{name}: {path.name}"
    require_file(path, label)
    with wrap_read_errors(label, "PNG"):
        with path.open("rb") as stream:
            header = stream.read(26)
        if not header.startswith(SIGNATURE):
            raise DataError(f"{label} is no PNG (it begins with {header[:8]!r}); convert it, or move it out of the folder.")
        # Byte 24 is the bit depth, byte 25 the colour type.
        depth, kind = (header[24], header[25]) if len(header) == 26 else (8, GRAYSCALE)
        if depth == 16 and kind != GRAYSCALE:
            raise DataError(
                f"{label} has 16 bits for each of several channels, of which only 8 could be read; save it as grayscale of 16 bits."
            )
        with Image.open(path, formats=["PNG"]) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise DataError(f"{label} is an animation of {frames} images; save each as a file of its own.")
            if kind == GRAYSCALE:
                # Pillow stretches 2 and 4 bits to 8, and for 1 bit the transparent value.
                pixels = np.asarray(image) // {2: 85, 4: 17}.get(depth, 1)
                opaque = pixels != min(image.info.get("transparency", -1), 2**depth - 1)
                is_grey = True
            else:
                channels = np.asarray(image.convert("RGBA"))
                pixels, opaque = channels[..., 0], channels[..., 3] == 255
                is_grey = bool(np.all(channels[..., 1:3] == pixels[..., None]))
    if not np.all(opaque):
        raise DataError(
            f"{label} is transparent in {np.count_nonzero(~opaque)} pixels, whose charge is not known; save it without transparency."
        )
    if not is_grey:
        raise DataError(
            f"{label} is in colour, and pgen does not guess which charge a colour means; convert it to grayscale of 8 or 16 bits."
        )
    return pixels


def _parse_column(column: list[str]) -> npt.NDArray:
    """Return a table's column as integers, else floats, else text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in column])
        except ValueError:
            continue
    return np.array(column)


def write_pngs(folder: Path, sets: Iterable[ImageSet]) -> None:
    """Write sets of one shape, unit and kind of labels as 16-bit PNGs, with an index.csv.

    Raises:
        DataError: If images have several channels, or a PNG cannot hold their charge.
    """
    from PIL import Image

    with (folder / INDEX).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table: Any = None
        count = 0
        for images in sets:
            if images.shape[0] != 1 or any(values.ndim != 1 for values in images.labels.values()):
                raise DataError(
                    f"{images.name}: a PNG holds one channel and index.csv one number per label (found {images.shape[0]} channels); "
                    "write .h5."
                )
            if table is None:
                table = csv.writer(stream)
                # A label may have the name of one of pgen's columns, as "file" of a pattern has.
                table.writerow([*COLUMNS, *(f"labels/{name}" if name in COLUMNS else name for name in images.labels)])
            charge = read_all(images)[:, 0]
            pixels = np.rint(charge)
            if pixels.min() < 0 or pixels.max() > 65535:
                raise DataError(
                    f"{images.name}: charge from {pixels.min():g} to {pixels.max():g} does not fit a PNG, expected 0 to 65535; write .h5."
                )
            total, rounded = (float(np.abs(values).sum(dtype=np.float64)) for values in (charge, pixels))
            if abs(rounded - total) > MAX_ROUNDING * total:
                raise DataError(
                    f"{images.name}: a PNG holds whole numbers, which would make {rounded:.4g} of a charge of {total:.4g}; write .h5."
                )
            for image, *row in zip(pixels.astype(np.uint16), images.ids, images.events, *images.labels.values(), strict=True):
                Image.fromarray(image).save(folder / f"{count:08d}.png")
                table.writerow([f"{count:08d}.png", row[0], row[1], images.unit, *row[2:]])
                count += 1


#: A folder with PNGs, or without any data, which its reader refuses.
FORMAT = Format(
    "png",
    lambda probe: probe.is_folder and (bool(find_pngs(probe.path)) or not find_files(probe.path, DATA_ENDINGS)),
    open_pngs,
    write=write_pngs,
    suffixes=("",),
)
