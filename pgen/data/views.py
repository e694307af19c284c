"""Image sets made of other image sets: concatenated, renamed, relabelled, or held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.events import unique_ids
from pgen.data.images import ArrayImages, FloatArray, ImageSet, Indices, SparseImageSet, Subset, common_zero_suppression, positions
from pgen.data.labels import convert_labels
from pgen.data.skipped import Skipped
from pgen.data.sparse import SparseImages
from pgen.errors import DataError, listed
from pgen.utils.text import shorten

#: Images with the same id that are compared at most, to find sets given twice.
MAX_COMPARED = 16


class ConcatImages(ImageSet):
    """The images of several sets, one set after the other, read on demand.

    Ids that several sets share are made unique ("7/1/3#2"). Events stay as they are, since planes
    of one event may come in separate files.

    Args:
        sets: At least one set; all of one shape, unit and kind of labels.
        name: What to call the whole in messages.

    Raises:
        DataError: If shapes, units or labels differ, or sets hold the same images.
    """

    def __init__(self, sets: Sequence[ImageSet], name: str) -> None:
        first = sets[0]
        for images in sets[1:]:
            _require_same_kind(images, first)
        self.sets = [first, *(match_labels(images, first) for images in sets[1:])]
        self.name, self.shape, self.unit = name, first.shape, first.unit
        self.ids, self.events = (np.concatenate([getattr(images, key) for images in self.sets]) for key in ("ids", "events"))
        self._ends = np.cumsum([len(images) for images in self.sets])
        if len(np.unique(self.ids)) < len(self.ids):
            self._refuse_copies()
            self.ids = unique_ids(self.ids)
            ids_by_set = np.split(self.ids, self._ends[:-1])
            self.sets = [with_ids(images, ids) for images, ids in zip(self.sets, ids_by_set, strict=True)]
        self.labels = {label: np.concatenate([np.asarray(images.labels[label]) for images in self.sets]) for label in first.labels}
        self.geometry = np.concatenate([images.geometry_or_nan() for images in self.sets])
        self.left_out = Skipped.concatenate([images.left_out for images in self.sets], list(map(len, self.sets)))
        self.about = {**first.about, "sets": len(self.sets)}
        self.zero_suppression = common_zero_suppression(self.sets)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nonzero_counts(self) -> npt.NDArray[np.int64] | None:
        """(N,) number of nonzero pixels of each image, if all sets know it."""
        counts = [images.nonzero_counts for images in self.sets]
        return None if any(part is None for part in counts) else np.concatenate(counts)  # type: ignore[arg-type]

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        requested = positions(indices, len(self))
        pixels = np.empty((len(requested), *self.shape), np.float32)
        for images, rows, inside in self._divide(requested):
            pixels[rows] = images.read(inside)
        return pixels

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``."""
        parts = [(rows, images.read_sparse(inside)) for images, rows, inside in self._divide(positions(indices, len(self)))]
        if not parts:
            return self.sets[0].read_sparse([])
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return SparseImages.concatenate([pixels for _, pixels in parts]).take(order)

    def _refuse_copies(self) -> None:
        """Compare some images that share an id: of a set that is given twice they are equal."""
        _, group, counts = np.unique(self.ids, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts > 1)
        for k in shared[:: max(1, len(shared) // MAX_COMPARED)]:
            members = np.flatnonzero(group == k)[:MAX_COMPARED]
            pixels = self.read(members)
            if any(np.any(image) and np.array_equal(image, other) for i, image in enumerate(pixels) for other in pixels[:i]):
                raise DataError(f"The image {self.ids[members[0]]} is in these sets {counts[k]} times; join sets that share no image.")

    def _divide(self, requested: npt.NDArray[np.int64]) -> list[tuple[ImageSet, npt.NDArray, npt.NDArray]]:
        """Return each touched set, the rows of its images in ``requested``, their indices in it."""
        number = np.searchsorted(self._ends, requested, side="right")
        parts = []
        for k in np.unique(number):
            rows = np.flatnonzero(number == k)
            parts.append((self.sets[k], rows, requested[rows] - (self._ends[k] - len(self.sets[k]))))
        return parts


def cache_in_memory(images: ImageSet, max_bytes: int) -> ImageSet:
    """Read a set into memory by its nonzero pixels, so that its file is read once.

    Returns:
        The set in memory; or the same set if it is in memory already or takes more than
        ``max_bytes``.
    """
    counts = images.nonzero_counts
    if isinstance(images, ArrayImages | SparseImageSet) or (counts is not None and 8 * int(counts.sum()) > max_bytes):
        return images
    index_type = np.int32 if np.prod(images.shape) < 2**31 else np.int64
    chunks: list[SparseImages] = []
    room = max_bytes
    for pixels in images.sparse_chunks():
        chunks.append(pixels._replace(flat_index=pixels.flat_index.astype(index_type)))
        room -= chunks[-1].flat_index.nbytes + chunks[-1].value.nbytes
        if room < 0:
            return images
    return SparseImageSet.from_images(images, range(len(images)), SparseImages.concatenate(chunks))


def with_ids(images: ImageSet, ids: npt.NDArray[np.str_]) -> Subset:
    """Return a view of a set with other ids."""
    view = Subset(images, np.arange(len(images)))
    view.ids = ids
    return view


def prefix_names(names: npt.NDArray[np.str_], file: str) -> npt.NDArray[np.str_]:
    """Put the name of a file before ids or events, unless a single image has it already."""
    return np.array([file]) if names.tolist() == [file.rpartition("/")[2]] else np.char.add(f"{file}/", names)


def prefix_ids(images: ImageSet, file: str) -> ImageSet:
    """Return a view of a file's images, whose name is put before ids and is the label ``file``."""
    view = with_ids(images, prefix_names(images.ids, file))
    view.labels = {**view.labels, "file": np.full(len(view), file)}
    return view


def match_labels(images: ImageSet, reference: ImageSet) -> ImageSet:
    """Return a set with labels converted to the types of those of ``reference``."""
    labels = {name: np.asarray(values) for name, values in images.labels.items()}
    kinds = {name: np.asarray(values).dtype.kind for name, values in reference.labels.items()}
    if {name: values.dtype.kind for name, values in labels.items()} == kinds:
        return images
    view = Subset(images, np.arange(len(images)))
    view.labels = {
        name: convert_labels(values, reference.labels[name], f"{images.name}: label {shorten(name)}") for name, values in labels.items()
    }
    return view


def count_events_in_several_files(images: ImageSet) -> int:
    """Count the events with images in several sets, or in several files by the label ``file``."""
    if isinstance(images, ConcatImages) and "file" not in images.labels:
        files = np.repeat(np.arange(len(images.sets)), [len(part) for part in images.sets])
    else:
        files = np.asarray(images.labels.get("file", []))
    if files.ndim != 1 or len(files) != len(images):
        return 0
    _, event = np.unique(images.events, return_inverse=True)
    pairs = np.unique(np.stack([event, np.unique(files, return_inverse=True)[1]], 1), axis=0)
    return int(np.sum(np.bincount(pairs[:, 0]) > 1))


def shared_events_note(images: ImageSet) -> str:
    """Return what the user should know if files share event numbers; empty if they do not."""
    shared, events = count_events_in_several_files(images), len(np.unique(images.events))
    if not shared:
        return ""
    return (
        f"{shared:,} of {events:,} events have images in more than one file, and stay together. If the files number their events "
        "independently, as those of separate simulation jobs do, add events=file."
    )


def _require_same_kind(images: ImageSet, first: ImageSet) -> None:
    for attribute, value, expected, advice in (
        ("shape", images.shape, first.shape, ""),
        ("unit", images.unit, first.unit, ""),
        ("labels", _label_shapes(images), _label_shapes(first), ", or leave those of LArCV files out by labels=none"),
    ):
        if value != expected:
            difference = f"its {attribute} {_format(value)} differs from {_format(expected)} of {first.name}"
            raise DataError(f"{images.name}: {difference}; join sets of one kind{advice}.")


def _label_shapes(images: ImageSet) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(values)[1:] for name, values in sorted(images.labels.items())}


def _format(value: Any) -> str:
    """Format a shape, a unit, or label shapes for a message, however many there are."""
    if not isinstance(value, dict):
        return str(value)
    return listed(f"{name} {shape}" if shape else name for name, shape in value.items())
