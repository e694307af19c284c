"""Image sets: the one interface by which every source offers its images."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from importlib import import_module
from math import inf, prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from pgen.data.preview import strip_data_uri
from pgen.data.skipped import NONE_SKIPPED, Skipped
from pgen.data.sparse import SparseImages
from pgen.errors import DamagedImage, DataError
from pgen.utils.resources import require_memory
from pgen.utils.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float32]
Indices = Sequence[int] | npt.NDArray[np.int64]
#: Most images in one file: their ids and labels are kept in memory.
MAX_IMAGES = 10**8
#: Bytes of dense pixels that one pass over a set holds in memory at a time.
CHUNK_BYTES = 32 * 2**20
#: Key of ``about`` for the threshold at or below which |charge| is 0 in all images.
ZERO_SUPPRESSION = "zero_suppression"
#: Images that ``_repr_html_`` reads and draws at most.
SAMPLED, DRAWN = 256, 8


class ImageSet(ABC):
    """N images of one shape, read on demand.

    Pixels are float32 charge, which may be negative, in the source's own unit. Rows are ticks and
    columns wires, unless ``about`` says otherwise.

    A set is a map-style torch dataset: ``images[0]`` is one image (C, H, W); a slice, an index
    array or a boolean mask gives a view; ``np.asarray(images[:8])`` is an array (8, C, H, W). A
    subclass sets the attributes without a default and implements ``__len__`` and :meth:`read`.

    Attributes:
        name: What the user typed to open it.
        shape: (C, H, W) of every image.
        ids: (N,) unique id of each image.
        events: (N,) event of each image, see :mod:`pgen.data.events`. A split keeps events
            together.
        labels: Name to values, (N,) or (N, k).
        unit: Unit of charge.
        geometry: (N, C, 4) position of each channel: the coordinates along rows and columns at
            which its first pixel begins, and the length of a pixel along both, in the source's
            units (ticks and wires, or cm). None if unknown.
        about: What ``pgen data info`` shows: ``format``, and planes, producer, ... where known.
        left_out: Events of the source that gave no image.
        source: Source string that opens this set again; None for arrays and views.
    """

    name: str
    shape: tuple[int, int, int]
    ids: npt.NDArray[np.str_]
    events: npt.NDArray[np.str_]
    labels: Mapping[str, npt.NDArray] = MappingProxyType({})
    unit: str = "ADC"
    geometry: npt.NDArray[np.float64] | None = None
    about: Mapping[str, Any] = MappingProxyType({"format": "array"})
    left_out: Skipped = NONE_SKIPPED
    source: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, in that order, as a float32 array (n, C, H, W).

        Raises:
            DamagedImage: If a pixel is NaN or infinite.
        """

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``, in that order."""
        return SparseImages.from_dense(self.read(indices))

    @property
    def nonzero_counts(self) -> npt.NDArray[np.int64] | None:
        """(N,) number of nonzero pixels of each image; None if it is not known without reading."""
        return None

    def sparse_chunks(self, chunk_bytes: int | None = None) -> Iterator[SparseImages]:
        """Read all images in order, in chunks of ``chunk_bytes`` of dense pixels."""
        for chunk in chunk_ranges(self, chunk_bytes):
            yield self.read_sparse(chunk)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all pixels, equal for equal images in whatever file; reads all once."""
        hasher = FingerprintHasher()
        for pixels in self.sparse_chunks():
            hasher.update(pixels)
        return hasher.hexdigest(self)

    @property
    def skipped(self) -> int:
        """Number of events of the source that gave no image."""
        return len(self.left_out)

    @property
    def zero_suppression(self) -> float | None:
        """Threshold at or below which |charge| is 0 in all images; None if unknown."""
        threshold = self.about.get(ZERO_SUPPRESSION)
        return float(threshold) if threshold is not None and 0 <= threshold < inf else None

    @zero_suppression.setter
    def zero_suppression(self, threshold: float | None) -> None:
        about = {key: value for key, value in self.about.items() if key != ZERO_SUPPRESSION}
        self.about = about if threshold is None else {**about, ZERO_SUPPRESSION: threshold}

    def geometry_or_nan(self) -> npt.NDArray[np.float64]:
        """Return ``geometry``, (N, C, 4), with NaN where it is unknown."""
        return np.full((len(self), self.shape[0], 4), np.nan) if self.geometry is None else self.geometry

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the images to a file, see :func:`pgen.data.write_images`."""
        # By name: the writers are above this module.
        return import_module("pgen.data.io.write").write_images(path, self, overwrite=overwrite)

    def plot(self, n: int = 16) -> Figure:
        """Draw the first n images.

        Return the figure, see :func:`pgen.report.figures.image_grid.plot_images`.
        """
        # By name: figures are above this module.
        draw = import_module("pgen.report.figures.image_grid").plot_images
        return draw(self.read(range(min(n, len(self)))), unit=self.unit)

    @overload
    def __getitem__(self, index: int) -> FloatArray: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray) -> ImageSet: ...

    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray) -> FloatArray | ImageSet:
        """Return one image (C, H, W), or a view of several."""
        try:
            position = operator.index(index)  # type: ignore[arg-type]
        except TypeError:
            return Subset(self, np.arange(len(self))[index])  # type: ignore[index]
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self.name}: image {position} does not exist, the set has {len(self)} images.")
        return self.read([position % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[FloatArray]:
        """Read a batch at once, as torch's DataLoader asks for it."""
        return list(self.read(indices))

    def __iter__(self) -> Iterator[FloatArray]:
        """Iterate over images (C, H, W)."""
        for chunk in chunk_ranges(self):
            yield from self.read(chunk)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray:
        """Read all images, (N, C, H, W)."""
        if copy is False:
            raise ValueError("images are read into a new array, copy=False is not possible")
        pixels = read_all(self)
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self):,} images {self.shape}, unit {self.unit!r}>"

    def _repr_html_(self) -> str:
        chunk = next(chunk_ranges(self), range(0))[:SAMPLED]
        rows = {"shape": f"{len(self):,} images {self.shape}", "unit": self.unit}
        strip = ""
        if len(chunk):
            pixels = self.read(chunk)
            rows["occupancy"] = f"{np.count_nonzero(pixels) / pixels.size:.2%} of the pixels of {len(chunk):,} images are not 0"
            strip = f'<img alt="the first images" src="{strip_data_uri(pixels[:DRAWN])}">'
        rows["labels"] = ", ".join(map(str, self.labels)) or "none"
        cells = "".join(f"<tr><th>{key}</th><td>{escape(printable(value))}</td></tr>" for key, value in rows.items())
        return f"<b>{escape(printable(self.name))}</b><table>{cells}</table>{strip}"

    def _copy_metadata(self, parent: ImageSet, indices: npt.NDArray[np.int64] | range | None = None) -> None:
        """Take all attributes of ``parent``, of the images at ``indices`` only."""
        index = slice(None) if indices is None else np.asarray(indices, dtype=np.int64)
        self.name, self.shape, self.unit = parent.name, parent.shape, parent.unit
        self.ids, self.events = parent.ids[index], parent.events[index]
        self.labels = {key: values[index] for key, values in parent.labels.items()}
        self.geometry = None if parent.geometry is None else parent.geometry[index]
        self.left_out, self.about = parent.left_out, parent.about


class ArrayImages(ImageSet):
    """Images in memory, from an array.

    Args:
        images: (N, H, W) or (N, C, H, W).
        name: What to call the set in messages.
        ids: (N,) unique id of each image; by default its position.
        events: (N,) event of each image; by default its id.
        labels: Name to values, (N,) or (N, k).
        unit: Unit of charge.
        geometry: (N, C, 4), see :class:`ImageSet`.

    Raises:
        DataError: If the array is of another rank or empty, or holds NaN or infinite pixels.
    """

    def __init__(
        self,
        images: npt.NDArray,
        *,
        name: str = "array",
        ids: Sequence[str] | npt.NDArray | None = None,
        events: Sequence[str] | npt.NDArray | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        unit: str = "ADC",
        geometry: npt.NDArray[np.float64] | None = None,
    ) -> None:
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4 or 0 in images.shape:
            raise DataError(f"{name}: expected images as an array (N, H, W) or (N, C, H, W) with no axis of 0, got shape {images.shape}.")
        self.images = require_finite(images, name)
        self.name, self.unit, self.geometry = name, unit, geometry
        self.shape = self.images.shape[1:]
        self.ids = np.asarray(np.arange(len(images)) if ids is None else ids).astype(str)
        self.events = self.ids if events is None else np.asarray(events).astype(str)
        self.labels = dict(labels or {})

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Indices) -> FloatArray:
        """Return the images at ``indices``, (n, C, H, W)."""
        return self.images[np.asarray(indices, dtype=np.int64)]


class SparseImageSet(ImageSet):
    """Images in memory, by their nonzero pixels.

    Args:
        pixels: The nonzero pixels of N images.
        shape: (C, H, W) of every image.
        name: What to call the set in messages.
        ids: (N,) unique id of each image; by default its position.
        events: (N,) event of each image; by default its id.
        labels: Name to values, (N,) or (N, k).
        unit: Unit of charge.
        geometry: (N, C, 4), see :class:`ImageSet`.
    """

    def __init__(
        self,
        pixels: SparseImages,
        shape: tuple[int, int, int],
        *,
        name: str,
        ids: npt.NDArray | None = None,
        events: npt.NDArray | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        unit: str = "ADC",
        geometry: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._pixels, self.shape, self.name, self.unit, self.geometry = pixels, shape, name, unit, geometry
        self.ids = np.asarray(np.arange(len(self)) if ids is None else ids).astype(str)
        self.events = self.ids if events is None else events
        self.labels = dict(labels or {})

    @classmethod
    def from_images(cls, images: ImageSet, indices: range, pixels: SparseImages) -> SparseImageSet:
        """Hold the images of another set at ``indices``, whose ``pixels`` have been read."""
        sparse = cls(pixels, images.shape, name=images.name)
        sparse._copy_metadata(images, indices)
        return sparse

    def __len__(self) -> int:
        return len(self._pixels.offsets) - 1

    @property
    def nonzero_counts(self) -> npt.NDArray[np.int64]:
        """(N,) number of nonzero pixels of each image."""
        return np.diff(self._pixels.offsets)

    def read(self, indices: Indices) -> FloatArray:
        """Return the images at ``indices``, (n, C, H, W)."""
        return self.read_sparse(indices).to_dense(self.shape)

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Return the nonzero pixels of the images at ``indices``."""
        return self._pixels.take(positions(indices, len(self)))


class Subset(ImageSet):
    """A view of the images of ``parent`` at ``indices``, in that order, read on demand."""

    def __init__(self, parent: ImageSet, indices: Indices) -> None:
        self.parent, self.indices = parent, np.asarray(indices, dtype=np.int64)
        self._copy_metadata(parent, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def nonzero_counts(self) -> npt.NDArray[np.int64] | None:
        """(N,) number of nonzero pixels of each image, if the parent knows it."""
        counts = self.parent.nonzero_counts
        return None if counts is None else counts[self.indices]

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        return self.parent.read(self.indices[np.asarray(indices, dtype=np.int64)])

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``."""
        return self.parent.read_sparse(self.indices[np.asarray(indices, dtype=np.int64)])


class FingerprintHasher:
    """Computes the fingerprint of a set whose images pass by in order."""

    def __init__(self) -> None:
        # One digest per array, so that the result does not depend on where chunks begin and end.
        self._digests = [hashlib.sha256() for _ in range(3)]

    def update(self, pixels: SparseImages) -> None:
        """Add the next images."""
        arrays = (np.diff(pixels.offsets), pixels.flat_index, pixels.value)
        for digest, array, dtype in zip(self._digests, arrays, ("<i8", "<i8", "<f4"), strict=True):
            digest.update(np.ascontiguousarray(array, dtype).data)

    def hexdigest(self, images: ImageSet) -> str:
        """Return the fingerprint of ``images``, all of which have been added."""
        parts = [repr((len(images), images.shape)), *(digest.hexdigest() for digest in self._digests)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def positions(indices: Indices, count: int) -> npt.NDArray[np.int64]:
    """Return ``indices`` of ``count`` images as positions from 0; negative ones count from the end.

    Raises:
        IndexError: If one lies beyond.
    """
    return np.arange(count)[np.asarray(indices, dtype=np.int64)]


def require_finite(images: npt.NDArray, name: str) -> FloatArray:
    """Return ``images`` as contiguous float32.

    Raises:
        DamagedImage: If a pixel is NaN or infinite.
    """
    pixels = np.ascontiguousarray(images, dtype=np.float32)
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        message = f"{name}: {bad} pixels are NaN or infinite; pgen needs finite charge. Clean the file first."
        raise DamagedImage(message, "pixels that are NaN or infinite")
    return pixels


def subset(images: ImageSet, indices: Indices) -> ImageSet:
    """Return a view of ``images`` at ``indices``, in that order.

    Raises:
        DataError: If ``indices`` is empty.
    """
    if not len(indices):
        raise DataError(f"{images.name}: the selection leaves none of its {len(images)} images; choose a wider one.")
    return Subset(images, indices)


def read_all(images: ImageSet) -> FloatArray:
    """Read every image of a set, (N, C, H, W).

    Raises:
        DataError: If memory does not suffice.
    """
    # Twice the size: a reader may reorder images in a copy, and callers need room to compute.
    require_memory(8 * len(images) * prod(images.shape), images.name, "give fewer images, as with the option :limit=1000")
    return images.read(range(len(images)))


def chunk_ranges(images: ImageSet, chunk_bytes: int | None = None, start: int = 0) -> Iterator[range]:
    """Divide the indices of a set into ranges of ``chunk_bytes`` of dense pixels."""
    step = max(1, (chunk_bytes or CHUNK_BYTES) // (4 * prod(images.shape)))
    for first in range(start, len(images), step):
        yield range(first, min(first + step, len(images)))


def iter_subsets(images: ImageSet, progress: Callable[[int, int], None] | None = None) -> Iterator[ImageSet]:
    """Iterate over a set in views of one chunk each, for :func:`pgen.data.write_images`.

    Args:
        images: The set.
        progress: Called with (images done, images in total) after each view.
    """
    for chunk in chunk_ranges(images):
        yield subset(images, chunk)
        if progress:
            progress(chunk.stop, len(images))


def metadata_arrays(images: ImageSet) -> dict[str, npt.NDArray]:
    """Return what files keep besides pixels: arrays ids, events, geometry and labels/NAME."""
    labels = {f"labels/{name}": np.asarray(values) for name, values in images.labels.items()}
    return {"ids": images.ids, "events": images.events, "geometry": images.geometry_or_nan(), **labels}


def concatenate_metadata(parts: Mapping[str, Sequence[npt.NDArray]]) -> dict[str, npt.NDArray]:
    """Concatenate the :func:`metadata_arrays` of several sets; geometry only if any is known."""
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    if not np.isfinite(arrays["geometry"]).any():
        del arrays["geometry"]
    return arrays


def common_zero_suppression(sets: Iterable[ImageSet]) -> float | None:
    """Return the zero suppression that holds for all ``sets``; None if it is unknown for one."""
    thresholds = [images.zero_suppression for images in sets]
    return None if None in thresholds else min(thresholds)  # type: ignore[type-var]
