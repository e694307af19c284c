"""The image store: an HDF5 file of nonzero pixels, with checksums (layout: docs/formats.md)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen._version import __version__
from pgen.data.events import describe_names, strip_unique_suffix
from pgen.data.formats.base import ForkSafeHandle, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.hdf5_safe import Hdf5File, describe_datasets
from pgen.data.images import (
    ZERO_SUPPRESSION,
    FloatArray,
    ImageSet,
    Indices,
    concatenate_metadata,
    metadata_arrays,
    positions,
)
from pgen.data.sparse import SparseImages
from pgen.errors import DataError
from pgen.utils.files import require_space
from pgen.utils.hdf5_tables import open_output

VERSION, FAMILY = "pgen-store-1", "pgen-store-"
KIND = "an image store"
#: Most images, and most of their pixels, that share a checksum: all of them are read to verify the
#: first.
BLOCK, BLOCK_PIXELS = 256, 2**22
#: Attributes of the file that its checksum covers, besides the metadata arrays.
HEADER = ("format", "unit", "shape", "count", "lit", "source")
#: Pixels of a compressed HDF5 chunk: few enough to read a single image quickly.
CHUNK = 2**14
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def header_checksum(header: dict[str, Any], columns: dict[str, npt.NDArray]) -> int:
    """Return the CRC-32 of the attributes, and of every metadata array with its name and type."""
    # Stores of earlier versions, and of images of unknown zero suppression, lack it.
    suppression = [float(header[ZERO_SUPPRESSION])] if ZERO_SUPPRESSION in header else []
    crc = zlib.crc32(json.dumps([*(header[key] for key in HEADER), *suppression]).encode())
    for name in sorted(columns):
        values = np.ascontiguousarray(columns[name])
        crc = zlib.crc32(values.tobytes(), zlib.crc32(f"{name} {values.dtype.str} {values.shape}".encode(), crc))
    return crc


def pixel_checksums(index: npt.NDArray, charge: npt.NDArray, previous: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Return the CRC-32 of both arrays, continued from ``previous``."""
    return zlib.crc32(index.tobytes(), previous[0]), zlib.crc32(charge.tobytes(), previous[1])


def images_per_block(shape: Sequence[int]) -> int:
    """Return how many images share a checksum."""
    return max(1, min(BLOCK, BLOCK_PIXELS // int(np.prod(shape))))


class StoreImages(ImageSet):
    """The images of a store.

    Ids, events, labels and offsets are in memory and verified. Pixels are read on demand, and a
    block of images is verified when it is first read.

    Raises:
        DataError: If the file is damaged, or of another version.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._handle = ForkSafeHandle(lambda: Hdf5File(path, name, KIND))
        with wrap_read_errors(name, KIND):
            file = self._handle()
            header = {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}
            if (version := header.get("format")) != VERSION:
                raise DataError(
                    f"{name}: an HDF5 file of format {version!r}, expected the image store {VERSION}; read it with a newer pgen, "
                    "or convert it."
                )
            header["shape"] = [int(extent) for extent in header["shape"]]
            count = int(header["count"])
            self._block_size = images_per_block(header["shape"])
            keys = ["offsets", "ids", "events", "checks", *(["geometry"] if "geometry" in file else [])]
            if "labels" in file:
                keys += [f"labels/{path}" for path, _, _ in file["labels"].datasets()]
            columns = {key: self._read_column(file[key], count) for key in keys}
            is_sound = header_checksum(header, columns) == int(header["checksum"])
            is_sound = is_sound and file["place"].shape == file["charge"].shape == (int(header["lit"]),)
            suppression = float(header[ZERO_SUPPRESSION]) if ZERO_SUPPRESSION in header else None
        if not is_sound:
            raise DataError(f"{name}: its header or columns do not match their checksum; the file is damaged. Fetch or write it again.")
        self.shape = tuple(header["shape"])  # type: ignore[assignment]
        self.unit = str(header["unit"])
        self.offsets, self.checks = columns.pop("offsets").astype(np.int64), columns.pop("checks")
        self.geometry = columns.pop("geometry", None)
        self.ids, events = (np.char.decode(columns.pop(key), "utf-8") for key in ("ids", "events"))
        self.events = strip_unique_suffix(events)
        self.labels = {
            key.removeprefix("labels/"): np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
            for key, values in columns.items()
        }
        self.about = {"format": "image store", "source": header["source"], "event_names": describe_names(self.events)}
        self.zero_suppression = suppression
        self._is_verified = np.zeros(len(self.checks), bool)
        self._last_block: tuple[int, SparseImages] | None = None

    def _read_column(self, column: Any, count: int) -> npt.NDArray:
        """Read a metadata array after checking its length."""
        expected = {"/offsets": count + 1, "/checks": -(-count // self._block_size)}.get(column.name, count)
        if column.shape[0] != expected or column.dtype.kind not in "biufS":
            raise ValueError(f"{column.name} has {column.shape[0]} rows of {column.dtype}, expected {expected}")
        return column[:]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nonzero_counts(self) -> npt.NDArray[np.int64]:
        """(N,) number of nonzero pixels of each image."""
        return np.diff(self.offsets)

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        return self.read_sparse(indices).to_dense(self.shape)

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``, in that order."""
        requested, inverse = np.unique(positions(indices, len(self)), return_inverse=True)
        parts = list(self._read_runs(requested))
        flat_index, charge = (np.concatenate([part[k] for part in parts] or [np.zeros(0)]) for k in range(2))
        offsets = np.concatenate([[0], np.cumsum(self.nonzero_counts[requested])])
        pixels = SparseImages(offsets, flat_index.astype(np.int64), charge.astype(np.float32, copy=False))
        return pixels if np.array_equal(inverse, np.arange(len(requested))) else pixels.take(inverse)

    def _read_runs(self, requested: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
        """Yield (flat index, charge) of ascending images, in runs of neighbours within a block."""
        ends = np.flatnonzero((np.diff(requested, append=-9) != 1) | (requested % self._block_size == self._block_size - 1))
        start = 0
        for end in ends:
            first, last = int(requested[start]), int(requested[end])
            start = int(end) + 1
            block = first // self._block_size
            if not self._is_verified[block]:
                self._last_block = (block, self._read_block(block))
                self._is_verified[block] = True
            if self._last_block and self._last_block[0] == block:
                begin = self.offsets[block * self._block_size]
                run = slice(self.offsets[first] - begin, self.offsets[last + 1] - begin)
                yield self._last_block[1].flat_index[run], self._last_block[1].value[run]
            else:
                yield self._read_pixels(first, last + 1)

    def _read_pixels(self, first: int, stop: int) -> tuple[npt.NDArray, npt.NDArray]:
        run = slice(int(self.offsets[first]), int(self.offsets[stop]))
        with wrap_read_errors(self.name, KIND):
            return self._handle()["place"][run], self._handle()["charge"][run]

    def _read_block(self, block: int) -> SparseImages:
        """Read the pixels of a block; refuse what was not written, or cannot be pixels."""
        first, stop = block * self._block_size, min((block + 1) * self._block_size, len(self))
        index, charge = self._read_pixels(first, stop)
        offsets = self.offsets[first : stop + 1] - self.offsets[first]
        is_rising = np.diff(index.astype(np.int64)) > 0
        is_rising[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(index))] - 1] = True
        is_valid = bool(is_rising.all()) and (not len(index) or int(index.max()) < int(np.prod(self.shape)))
        if pixel_checksums(index, charge) != tuple(self.checks[block]) or not is_valid or not np.isfinite(charge).all():
            raise DataError(f"{self.name}: pixels of images {first} to {stop - 1} are damaged. Fetch or write the file again.")
        return SparseImages(offsets, index, charge)


def open_store(path: Path, name: str) -> StoreImages:
    """Open an image store."""
    return StoreImages(path, name)


def write_store(path: Path, sets: Iterable[ImageSet], existing: StoreImages | None = None) -> None:
    """Write an image store, or append to one.

    The pixels of one set at a time are in memory, and the metadata of all.

    Args:
        path: The file.
        sets: Sets of one shape, unit and kind of labels.
        existing: The store to append to, of which the file at ``path`` is a copy.

    Raises:
        DataError: If an id is in the store already, or a text or type cannot be stored.
    """
    import h5py

    with open_output(path, "r+" if existing else "w") as output:
        metadata: dict[str, list[npt.NDArray]] = {"offsets": [np.zeros(1, np.int64)]}
        checks: list[tuple[int, int]] = []
        running, count, total = (0, 0), 0, 0
        first: ImageSet | None = existing
        suppression: list[float | None] = []
        if existing:
            suppression.append(existing.zero_suppression)
            metadata = {"offsets": [existing.offsets], **{name: [values] for name, values in metadata_arrays(existing).items()}}
            checks, count, total = [(int(a), int(b)) for a, b in existing.checks], len(existing), int(existing.offsets[-1])
            if count % images_per_block(existing.shape):
                running = checks.pop()
        for images in sets:
            first = first or images
            suppression.append(images.zero_suppression)
            pixels = images.read_sparse(range(len(images)))
            for name, values in metadata_arrays(images).items():
                metadata.setdefault(name, []).append(values)
            metadata["offsets"].append(total + pixels.offsets[1:])
            pixels = pixels._replace(flat_index=pixels.flat_index.astype(_index_type(images)))
            require_space(path, pixels.flat_index.nbytes + pixels.value.nbytes)
            output.append("place", pixels.flat_index, chunk=CHUNK, **COMPRESSION)
            output.append("charge", pixels.value, chunk=CHUNK, **COMPRESSION)
            block = images_per_block(images.shape)
            for start in range(-(count % block), len(images), block):
                run = slice(pixels.offsets[max(start, 0)], pixels.offsets[min(start + block, len(images))])
                running = pixel_checksums(pixels.flat_index[run], pixels.value[run], running)
                if start + block <= len(images):
                    checks.append(running)
                    running = (0, 0)
            count, total = count + len(images), total + int(pixels.offsets[-1])
        assert first is not None, "write_images refuses to write no images"
        if count % images_per_block(first.shape):
            checks.append(running)
        source = existing.about["source"] if existing else first.name
        header = dict(zip(HEADER, (VERSION, first.unit, list(first.shape), count, total, source), strict=True))
        if None not in suppression:
            header[ZERO_SUPPRESSION] = min(suppression)  # type: ignore[type-var]
        columns = {name: _to_storable(values, name, first.name) for name, values in concatenate_metadata(metadata).items()}
        if existing and len(np.unique(columns["ids"])) < count:
            raise DataError(f"{existing.name}: has an id of the images to append already; leave these out.")
        columns["checks"] = np.array(checks, np.uint32)
        require_space(path, sum(values.nbytes for values in columns.values()))
        with output.change() as file:
            file.attrs.pop(ZERO_SUPPRESSION, None)
            for name, values in columns.items():
                if name in file:
                    del file[name]
                if values.dtype.kind == "S":
                    values = values.astype(h5py.string_dtype("utf-8", values.dtype.itemsize))  # otherwise readers take it for ASCII
                file.create_dataset(name, data=values, **COMPRESSION)
            file.attrs.update(header | {"checksum": header_checksum(header, columns), "pgen_version": __version__})


def _index_type(images: ImageSet) -> type[np.unsignedinteger[Any]]:
    size = int(np.prod(images.shape))
    if size > 2**32:
        raise DataError(f"{images.name}: images of {size} pixels do not fit in a store, expected at most {2**32}; crop them.")
    return np.uint16 if size <= 2**16 else np.uint32


def _to_storable(values: npt.NDArray, column: str, name: str) -> npt.NDArray:
    """Return text as UTF-8 of one length, numbers as they are."""
    if values.dtype.kind == "U":
        try:
            text = np.char.encode(values, "utf-8")
        except UnicodeError as error:
            raise DataError(f"{name}: a text in {column} is no valid Unicode ({error.args[1]!r}); rename it.") from error
        return text if text.dtype.itemsize else text.astype("S1")
    if values.dtype.kind not in "biuf":
        raise DataError(f"{name}: {column} holds values of {values.dtype}, expected numbers or text; leave them out.")
    return values


def _describe_store(path: Path, name: str) -> dict[str, str]:
    with Hdf5File(path, name) as file:
        if {"count", "lit"} <= set(file.attrs):
            return {"image store": f"{int(file.attrs['count']):,} images, {int(file.attrs['lit']):,} pixels that are not 0"}
    return describe_datasets(path, name)


#: Stores of this and of other versions.
FORMAT = Format(
    "store",
    lambda probe: probe.hdf5 is not None and str(probe.hdf5.attrs.get("format", "")).startswith(FAMILY),
    open_store,
    contents=_describe_store,
    write=write_store,
    suffixes=(".h5", ".hdf5"),
)
