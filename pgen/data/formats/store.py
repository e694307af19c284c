"""The image store: one HDF5 file that keeps lit pixels alone, with checksums. docs/formats.md has the layout."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.events import about_events, named_as_stored
from pgen.data.formats.base import ForkSafeHandle, reading
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.data.images import FloatArray, ImageSetBase, Indices, positions
from pgen.data.sparse import SparseImages
from pgen.data.transforms.zero_suppression import NOTE, note_suppression
from pgen.errors import PgenError

FORMAT, FAMILY = "pgen-store-1", "pgen-store-"
WHAT = "an image store"
#: Images, and pixels in them, that share a checksum at most: what must be read before the first of them is believed.
BLOCK, BLOCK_PIXELS = 256, 2**22
#: Attributes of the file that its checksum covers, besides the columns.
HEADER = ("format", "unit", "shape", "count", "lit", "source")


def is_store(file: Any) -> bool:
    """Whether an open HDF5 file is a store, of this version or another."""
    return str(file.attrs.get("format", "")).startswith(FAMILY)


def header_checksum(header: dict[str, Any], columns: dict[str, npt.NDArray]) -> int:
    """CRC-32 of the attributes and of every column: its name, type, shape and bytes."""
    # Stores of earlier versions, and of images whose zero suppression is not known, lack it.
    suppression = [float(header[NOTE])] if NOTE in header else []
    crc = zlib.crc32(json.dumps([*(header[key] for key in HEADER), *suppression]).encode())
    for name in sorted(columns):
        values = np.ascontiguousarray(columns[name])
        crc = zlib.crc32(values.tobytes(), zlib.crc32(f"{name} {values.dtype.str} {values.shape}".encode(), crc))
    return crc


def block_images(shape: Sequence[int]) -> int:
    """How many images share a checksum."""
    return max(1, min(BLOCK, BLOCK_PIXELS // int(np.prod(shape))))


class Store(ImageSetBase):
    """A store as an ImageSet. Its columns (ids, events, labels, offsets) are in memory and checked; pixels are read on demand, and a block
    of images is checked when it is first touched."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._handle = ForkSafeHandle(lambda: Hdf5File(path, name, WHAT))
        with reading(name, WHAT):
            file = self._handle()
            header = {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}
            if header.get("format") != FORMAT:
                found = header.get("format")
                raise PgenError(
                    f"{name}: an HDF5 file of format {found!r}, wanted the image store {FORMAT}; read it with a newer pgen, or convert it."
                )
            header["shape"] = [int(extent) for extent in header["shape"]]
            count = int(header["count"])
            self._images = block_images(header["shape"])  # in a block
            named = ("offsets", "ids", "events", "checks", *(["geometry"] if "geometry" in file else []))
            columns = {key: self._column(file[key], count) for key in named}
            if "labels" in file:
                labels = [f"labels/{path}" for path, _, _ in file["labels"].datasets()]
                columns.update({path: self._column(file[path], count) for path in labels})
            suppression = float(header[NOTE]) if NOTE in header else None
            sound = header_checksum(header, columns) == int(header["checksum"])
            sound = sound and file["place"].shape == file["charge"].shape == (int(header["lit"]),)
        if not sound:
            raise PgenError(f"{name}: its header or columns do not match their checksum; the file is damaged. Fetch or write it again.")
        self.shape: tuple[int, int, int] = tuple(header["shape"])  # type: ignore[assignment]
        self.unit = str(header["unit"])
        self.offsets, self.checks = columns.pop("offsets").astype(np.int64), columns.pop("checks")
        self.lit_counts = np.diff(self.offsets)
        self.geometry = columns.pop("geometry", None)
        self.ids, events = (np.char.decode(columns.pop(key), "utf-8") for key in ("ids", "events"))
        self.events = named_as_stored(events)
        self.labels: Mapping[str, npt.NDArray] = {
            key.removeprefix("labels/"): np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
            for key, values in columns.items()
        }
        self.about = {"format": "image store", "source": header["source"], "event_names": about_events(self.events)}
        note_suppression(self, suppression)
        self._sound = np.zeros(len(self.checks), bool)
        self._block: tuple[int, SparseImages] | None = None

    def _column(self, column: Any, count: int) -> npt.NDArray:
        """A column, whose length is checked before it is read."""
        wanted = {"/offsets": count + 1, "/checks": -(-count // self._images)}.get(column.name, count)
        if column.shape[0] != wanted or column.dtype.kind not in "biufS":
            raise ValueError(f"{column.name} has {column.shape[0]} rows of {column.dtype}, wanted {wanted}")
        return column[:]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, indices: Indices) -> FloatArray:
        return self.lit(indices).dense(self.shape)

    def lit(self, indices: Indices) -> SparseImages:
        """The lit pixels of the images at ``indices``, in that order."""
        wanted, back = np.unique(positions(indices, len(self)), return_inverse=True)
        parts = list(self._runs(wanted))
        flat_index, charges = (np.concatenate([part[k] for part in parts] or [np.zeros(0)]) for k in range(2))
        offsets = np.concatenate([[0], np.cumsum(self.lit_counts[wanted])])
        lit = SparseImages(offsets, flat_index.astype(np.int64), charges.astype(np.float32, copy=False))
        return lit if np.array_equal(back, np.arange(len(wanted))) else lit.take(back)

    def _runs(self, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
        """(places, charges) of ascending images, one run of neighbours within a block after the other."""
        ends = np.flatnonzero((np.diff(wanted, append=-9) != 1) | (wanted % self._images == self._images - 1))
        start = 0
        for end in ends:
            first, last = int(wanted[start]), int(wanted[end])
            start = int(end) + 1
            block = first // self._images
            if not self._sound[block]:
                self._block = (block, self._checked(block))
                self._sound[block] = True
            if self._block and self._block[0] == block:
                begin = self.offsets[block * self._images]
                part = slice(self.offsets[first] - begin, self.offsets[last + 1] - begin)
                yield self._block[1].flat_index[part], self._block[1].value[part]
            else:
                yield self._pixels(first, last + 1)

    def _pixels(self, first: int, stop: int) -> tuple[npt.NDArray, npt.NDArray]:
        part = slice(int(self.offsets[first]), int(self.offsets[stop]))
        with reading(self.name, WHAT):
            return self._handle()["place"][part], self._handle()["charge"][part]

    def _checked(self, block: int) -> SparseImages:
        """The pixels of a block, or a UserError if they are not what was written, or cannot be pixels."""
        first, stop = block * self._images, min((block + 1) * self._images, len(self))
        places, charges = self._pixels(first, stop)
        offsets = self.offsets[first : stop + 1] - self.offsets[first]
        rising = np.diff(places.astype(np.int64)) > 0
        rising[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(places))] - 1] = True
        fits = bool(rising.all()) and (not len(places) or int(places.max()) < int(np.prod(self.shape)))
        if checksums(places, charges) != tuple(self.checks[block]) or not fits or not np.isfinite(charges).all():
            raise PgenError(f"{self.name}: pixels of images {first} to {stop - 1} are damaged. Fetch or write the file again.")
        return SparseImages(offsets, places, charges)


def checksums(places: npt.NDArray, charges: npt.NDArray, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """CRC-32 of the two, going on from those of what came ``before``."""
    return zlib.crc32(places.tobytes(), before[0]), zlib.crc32(charges.tobytes(), before[1])


def open_store(path: Path, name: str) -> Store:
    """An image store."""
    return Store(path, name)
