"""A folder of grayscale PNG images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.data.reading import LazyImages, reading
from pgen.errors import UserError
from pgen.files import natural
from pgen.paths import walk

INDEX = "index.csv"  #: beside the images of a folder that pgen wrote: the columns file, id, event, unit, and labels
COLUMNS = ("file", "id", "event", "unit")
#: Colour types of the PNG specification (ISO/IEC 15948, 11.2.2).
COLOURS = {0: "grayscale", 2: "in colour", 3: "with a palette", 4: "grayscale with transparency", 6: "in colour with transparency"}
#: What keeps its numbers on the way through Pillow; in colour, equal channels are a grey.
READ = {(1, "grayscale"), (8, "grayscale"), (16, "grayscale"), (8, "in colour")}


def find_pngs(folder: Path) -> list[Path]:
    """Every .png below a folder, "2.png" before "10.png"; hidden ones are none of its images."""
    paths = (path for path in walk(folder) if path.suffix.lower() == ".png")
    return sorted(paths, key=lambda path: natural(path.relative_to(folder).as_posix()))


def open_pngs(folder: Path, name: str) -> LazyImages:
    """An ImageSet of a folder's PNGs, 8 or 16 bits, one channel; an id is the path inside the folder without its ending."""
    paths = find_pngs(folder)
    if not paths:
        raise UserError(f"{name}: a folder with no images in it, wanted .png, IDX (MNIST), batch_<i>.npy or target_<i>.npy files.")
    files = [path.relative_to(folder).as_posix() for path in paths]
    ids = [file.rsplit(".", 1)[0] for file in files]
    events: list[str] | None = None
    labels: dict[str, npt.NDArray] = {}
    unit = "ADC"
    rows = {row["file"]: row for row in read_index(folder) or ()}
    if rows:
        if set(rows) != set(files):
            raise UserError(f"{name}: its {INDEX} lists {len(rows)} images and the folder holds {len(files)}; delete one or the other.")
        table = [rows[file] for file in files]
        ids, events, unit = [row["id"] for row in table], [row["event"] for row in table], table[0]["unit"]
        columns = [column for column in table[0] if column not in COLUMNS]
        labels = {column.removeprefix("labels/"): _numbers([row[column] for row in table]) for column in columns}

    first = _read(paths[0], name)

    def window(start: int, stop: int) -> npt.NDArray:
        images = [_read(path, name) for path in paths[start:stop]]
        for path, image in zip(paths[start:stop], images, strict=True):
            if image.shape != first.shape:
                raise UserError(
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
        about={"format": "PNG folder"},
    )


def read_index(folder: Path) -> list[dict[str, str]] | None:
    """The rows of a folder's index.csv, or None where there is none that pgen wrote."""
    if not (folder / INDEX).is_file():
        return None
    with reading(str(folder / INDEX), "a table"), (folder / INDEX).open(newline="") as stream:
        table = csv.DictReader(stream, restval="")
        return list(table) if tuple(table.fieldnames or ())[:4] == COLUMNS else None


def _read(path: Path, name: str) -> npt.NDArray:
    """(H, W) pixels as the file has them."""
    from PIL import Image

    with path.open("rb") as stream:
        header = stream.read(26)
    # Byte 24 is the bit depth, byte 25 the colour type. Pillow would reduce 16 bits in colour to 8, and stretch 2 or 4 bits to 8.
    depth, kind = (header[24], COLOURS.get(header[25], "of an unknown colour type")) if len(header) == 26 else (8, "grayscale")
    if (depth, kind) not in READ:
        raise UserError(f"{name}: {path.name} is {kind} of {depth} bits, wanted grayscale of 8 or 16 bits; convert it first.")
    with reading(f"{name}: {path.name}", "PNG"), Image.open(path, formats=["PNG"]) as image:
        if image.mode in ("L", "I;16", "I;16B", "I", "1"):
            return np.asarray(image)
        colour = np.asarray(image.convert("RGB"))
    if not np.all(colour == colour[..., :1]):
        raise UserError(
            f"{name}: {path.name} is in colour, wanted grayscale (8 or 16 bits); convert it first, pgen does not guess a charge."
        )
    return colour[..., 0]


def _numbers(column: list[str]) -> npt.NDArray:
    """A table's column as integers, else floats, else text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in column])
        except ValueError:
            continue
    return np.array(column)
