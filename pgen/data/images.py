"""The one shape in which every source hands out images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pgen.data.chunks import BYTES, chunk_ranges
from pgen.data.skipped import NOTHING, Skipped
from pgen.data.sparse import SparseImages, lit_chunks, lit_counts, read_lit
from pgen.errors import DamagedImage, PgenError
from pgen.utils.resources import require_memory

FloatArray = npt.NDArray[np.float32]
#: Images in one file at most: its columns are kept in memory.
MOST_IMAGES = 10**8
Indices = Sequence[int] | npt.NDArray[np.int64]


def positions(indices: Indices, count: int) -> npt.NDArray[np.int64]:
    """``indices`` of ``count`` images as places from 0 on: negative ones count from the end, as everywhere. IndexError beyond them."""
    return np.arange(count)[np.asarray(indices, dtype=np.int64)]


class ImageSet(Protocol):
    """N images of one shape, read on demand.

    Pixels are float32, non-negative or not as the file has them, in the file's own charge unit; row = tick, column = wire.
    """

    name: str  #: what the user typed
    shape: tuple[int, int, int]  #: (channels, rows, columns) of every image
    ids: npt.NDArray[np.str_]  #: (N,) one id an image, unique within the set
    events: npt.NDArray[np.str_]  #: (N,) the event each one comes from, see :mod:`pgen.data.events`: what a split must keep together
    labels: Mapping[str, npt.NDArray]  #: name -> (N,) or (N, k); empty where the source has none
    unit: str  #: charge unit, "ADC" unless the source says otherwise
    geometry: npt.NDArray[np.float64] | None  #: (N, C, 4) where each image's channels lie, see :func:`geometry`; None if no one knows

    def __len__(self) -> int: ...

    def read(self, indices: Indices) -> FloatArray:
        """(n, C, H, W) float32 images at ``indices``, in that order. UserError on NaN or Inf pixels."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of all pixels, equal for equal images whatever file they lie in."""
        ...


def geometry(images: ImageSet) -> npt.NDArray[np.float64]:
    """(N, C, 4): of each channel the coordinates along rows and along columns at which its first pixel begins, and the length of a pixel
    along either, in the source's own units (ticks and wires, or cm). NaN where it is not known."""
    found = getattr(images, "geometry", None)
    return np.full((len(images), images.shape[0], 4), np.nan) if found is None else found


def checked(images: npt.NDArray, name: str) -> FloatArray:
    """``images`` as float32, or a UserError if a pixel is NaN or infinite."""
    pixels = np.ascontiguousarray(images, dtype=np.float32)
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        message = f"{name}: {bad} pixels are NaN or infinite; pgen needs finite charge. Clean the file first."
        raise DamagedImage(message, "pixels that are NaN or infinite")
    return pixels


class FingerprintHasher:
    """The fingerprint of images that pass by in order."""

    def __init__(self) -> None:
        # Of each kind of number a digest of its own, so that where the parts begin and end is no matter.
        self._counts, self._places, self._charges = (hashlib.sha256() for _ in range(3))

    def add(self, lit: SparseImages) -> None:
        """The next images."""
        self._counts.update(np.diff(lit.offsets).astype("<i8").data)
        self._places.update(np.ascontiguousarray(lit.flat_index, "<i8").data)
        self._charges.update(np.ascontiguousarray(lit.value, "<f4").data)

    def of(self, images: ImageSet) -> str:
        """The fingerprint of ``images``, all of which have been added."""
        found = [repr((len(images), images.shape)), *(each.hexdigest() for each in (self._counts, self._places, self._charges))]
        return hashlib.sha256(" ".join(found).encode()).hexdigest()


class Fingerprinted:
    """Mix-in: the fingerprint of a set, read in chunks once and kept."""

    @cached_property
    def fingerprint(self: ImageSet) -> str:  # type: ignore[misc]
        digest = FingerprintHasher()
        for lit in lit_chunks(self):
            digest.add(lit)
        return digest.of(self)


class ImageSetBase(Fingerprinted):
    """Mix-in: what a container tells beyond its images, shown by ``pgen data info``."""

    left_out: Skipped = NOTHING  #: events of the file that gave no image
    about: Mapping[str, Any] = {"format": "array"}  #: format, and planes, producer, ... where a file has them
    geometry: npt.NDArray[np.float64] | None = None

    @property
    def skipped(self) -> int:
        """How many events of the file gave no image."""
        return len(self.left_out)


class ArrayImages(ImageSetBase):
    """An ImageSet over an array in memory, (N, H, W) or (N, C, H, W)."""

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
            raise PgenError(f"{name}: found an array of shape {images.shape}, wanted images as (N, H, W) or (N, C, H, W), none of them 0.")
        self.images = checked(images, name)
        self.name, self.unit, self.geometry = name, unit, geometry
        self.shape: tuple[int, int, int] = self.images.shape[1:]
        self.ids = np.asarray(np.arange(len(images)) if ids is None else ids).astype(str)
        self.events = self.ids if events is None else np.asarray(events).astype(str)
        self.labels: Mapping[str, npt.NDArray] = dict(labels or {})

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Indices) -> FloatArray:
        return self.images[np.asarray(indices, dtype=np.int64)]


class SparseImageSet(ImageSetBase):
    """An ImageSet in memory of lit pixels alone: of (channels, rows, columns) ``shape``."""

    def __init__(
        self,
        lit: SparseImages,
        shape: tuple[int, int, int],
        *,
        name: str,
        ids: npt.NDArray | None = None,
        events: npt.NDArray | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        unit: str = "ADC",
        geometry: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._lit, self.shape, self.name, self.unit, self.geometry = lit, shape, name, unit, geometry
        self.lit_counts = np.diff(lit.offsets)
        self.ids = np.asarray(np.arange(len(self)) if ids is None else ids).astype(str)
        self.events = self.ids if events is None else events
        self.labels: Mapping[str, npt.NDArray] = dict(labels or {})

    def __len__(self) -> int:
        return len(self.lit_counts)

    def read(self, indices: Indices) -> FloatArray:
        return self.lit(indices).dense(self.shape)

    def lit(self, indices: Indices) -> SparseImages:
        """Their lit pixels."""
        return self._lit.take(positions(indices, len(self)))


def in_memory(images: ImageSet, room: int) -> ImageSet:
    """The same images by their lit pixels in memory, so that a file is read once and not by each who looks at it; the images as they are
    if that takes more than ``room`` bytes, or they are in memory already."""
    counts = lit_counts(images)
    if isinstance(images, ArrayImages | SparseImageSet) or (counts is not None and 8 * int(counts.sum()) > room):
        return images
    kind = np.int32 if np.prod(images.shape) < 2**31 else np.int64
    held: list[SparseImages] = []
    for lit in lit_chunks(images):
        held.append(lit._replace(flat_index=lit.flat_index.astype(kind)))
        room -= held[-1].flat_index.nbytes + held[-1].value.nbytes
        if room < 0:
            return images
    return lit_part(images, range(len(images)), SparseImages.join(held))


def lit_part(images: ImageSet, part: range, lit: SparseImages) -> SparseImageSet:
    """The images of a part, whose lit pixels have been read."""
    view = Subset(images, part)
    read = SparseImageSet(
        lit, view.shape, name=view.name, ids=view.ids, events=view.events, labels=view.labels, unit=view.unit, geometry=view.geometry
    )
    read.left_out, read.about = view.left_out, view.about
    return read


class Subset(ImageSetBase):
    """The images of ``parent`` at ``indices``, in that order, still read on demand."""

    def __init__(self, parent: ImageSet, indices: Indices) -> None:
        self.parent, self.indices = parent, np.asarray(indices, dtype=np.int64)
        self.name, self.shape, self.unit = parent.name, parent.shape, parent.unit
        self.ids, self.events = parent.ids[self.indices], parent.events[self.indices]
        self.labels: Mapping[str, npt.NDArray] = {key: values[self.indices] for key, values in parent.labels.items()}
        self.left_out, self.about = getattr(parent, "left_out", NOTHING), getattr(parent, "about", {})
        known = getattr(parent, "geometry", None)
        self.geometry = None if known is None else known[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Indices) -> FloatArray:
        return self.parent.read(self.indices[np.asarray(indices, dtype=np.int64)])

    @property
    def lit_counts(self) -> npt.NDArray[np.int64] | None:
        """(N,) the number of each image, where that is known without reading it."""
        counts = lit_counts(self.parent)
        return None if counts is None else counts[self.indices]

    def lit(self, indices: Indices) -> SparseImages:
        """Their lit pixels."""
        return read_lit(self.parent, self.indices[np.asarray(indices, dtype=np.int64)])


def subset(images: ImageSet, indices: Indices) -> ImageSet:
    """A view of ``images`` at ``indices``. UserError if none are left."""
    if not len(indices):
        raise PgenError(f"{images.name}: the selection leaves none of its {len(images)} images; choose a wider one.")
    return Subset(images, indices)


def chunks(images: ImageSet, bytes_each: int = BYTES) -> Iterator[FloatArray]:
    """All images in order, as (n, C, H, W) arrays of about ``bytes_each`` bytes."""
    for part in chunk_ranges(images, bytes_each):
        yield images.read(part)


def iter_subsets(images: ImageSet, progress: Callable[[int, int], None] | None = None) -> Iterator[ImageSet]:
    """Views of all images in order, for :func:`pgen.data.io.write.write_images`; ``progress(done, total)`` is called after each."""
    for part in chunk_ranges(images):
        yield subset(images, part)
        if progress:
            progress(part.stop, len(images))


def columns(images: ImageSet) -> dict[str, npt.NDArray]:
    """What is written beside the pixels: (N, ...) arrays ``ids``, ``events``, ``geometry`` and ``labels/NAME``."""
    labels = {f"labels/{name}": np.asarray(values) for name, values in images.labels.items()}
    return {"ids": images.ids, "events": images.events, "geometry": geometry(images), **labels}


def joined_columns(chunk_ranges: Mapping[str, Sequence[npt.NDArray]]) -> dict[str, npt.NDArray]:
    """The columns of sets one after the other; geometry only where any of it is known."""
    whole = {name: np.concatenate(each) for name, each in chunk_ranges.items()}
    if not np.isfinite(whole["geometry"]).any():
        del whole["geometry"]
    return whole


def read_all(images: ImageSet) -> FloatArray:
    """Every image of a set, (N, C, H, W). UserError where memory does not suffice."""
    # Twice: a reader may sort them in a copy, and a caller that reads all of them needs room to compute.
    require_memory(8 * len(images) * int(np.prod(images.shape)), images.name, "give fewer images, as with the option :limit=1000")
    return images.read(range(len(images)))
