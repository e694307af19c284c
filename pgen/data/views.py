"""Several sets of images as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.events import unique_ids
from pgen.data.images import FloatArray, ImageSet, ImageSetBase, Indices, Subset, geometry, positions
from pgen.data.labels import convert_labels
from pgen.data.skipped import NOTHING, Skipped
from pgen.data.sparse import SparseImages, lit_counts, read_lit
from pgen.data.transforms.zero_suppression import least_suppression, note_suppression
from pgen.errors import PgenError, listed
from pgen.utils.text import shorten


class ConcatImages(ImageSetBase):
    """The images of all ``sets``, one set after the other, still read on demand.

    Ids that several sets have are made unique ("7/1/3#2"); events are left as they are, since planes of an event may come in separate
    files. UserError where shapes, units or labels differ from the first set's, or sets hold the same images.
    """

    def __init__(self, sets: Sequence[ImageSet], name: str) -> None:
        first = sets[0]
        for images in sets[1:]:
            for what, found, wanted, way_out in (
                ("shape", images.shape, first.shape, ""),
                ("unit", images.unit, first.unit, ""),
                ("labels", _kinds(images), _kinds(first), ", or leave those of LArCV files out by labels=none"),
            ):
                if found != wanted:
                    told = f"its {what} {_shown(found)} differs from {_shown(wanted)} of {first.name}"
                    raise PgenError(f"{images.name}: {told}; join sets of one kind{way_out}.")
        sets = [first, *(with_labels_of(images, first) for images in sets[1:])]
        self.sets = list(sets)
        self.name, self.shape, self.unit = name, first.shape, first.unit
        self.ids, self.events = (np.concatenate([getattr(images, key) for images in sets]) for key in ("ids", "events"))
        self._ends = np.cumsum([len(images) for images in sets])
        if len(np.unique(self.ids)) < len(self.ids):
            self._refuse_copies()
            self.ids = unique_ids(self.ids)
            self.sets = [with_ids(images, ids) for images, ids in zip(sets, np.split(self.ids, self._ends[:-1]), strict=True)]
        self.labels: Mapping[str, npt.NDArray] = {
            label: np.concatenate([np.asarray(images.labels[label]) for images in sets]) for label in first.labels
        }
        self.geometry = np.concatenate([geometry(images) for images in sets])
        self.left_out = Skipped.join([getattr(images, "left_out", NOTHING) for images in sets], list(map(len, sets)))
        self.about: Mapping[str, Any] = {**getattr(first, "about", {}), "sets": len(sets)}
        note_suppression(self, least_suppression(sets))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lit_counts(self) -> npt.NDArray[np.int64] | None:
        """(N,) the number of each image, where all sets know it without reading."""
        counts = [found for images in self.sets if (found := lit_counts(images)) is not None]
        return np.concatenate(counts) if len(counts) == len(self.sets) else None

    def read(self, indices: Indices) -> FloatArray:
        wanted = positions(indices, len(self))
        out = np.empty((len(wanted), *self.shape), np.float32)
        for images, at, inside in self._shared_out(wanted):
            out[at] = images.read(inside)
        return out

    def lit(self, indices: Indices) -> SparseImages:
        """Their lit pixels."""
        parts = [(at, read_lit(images, inside)) for images, at, inside in self._shared_out(positions(indices, len(self)))]
        if not parts:
            return read_lit(self.sets[0], [])
        return SparseImages.join([lit for _, lit in parts]).take(np.argsort(np.concatenate([at for at, _ in parts])))

    def _refuse_copies(self) -> None:
        """UserError where images of one id are the same image too, as of a set that is given twice; some of them are compared."""
        _, where, counts = np.unique(self.ids, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts > 1)
        for k in shared[:: max(1, len(shared) // COMPARED)]:
            at = np.flatnonzero(where == k)[:COMPARED]
            pixels = self.read(at)
            if any(np.any(image) and np.array_equal(image, other) for i, image in enumerate(pixels) for other in pixels[:i]):
                raise PgenError(f"The image {self.ids[at[0]]} is in these sets {counts[k]} times; join sets that share no image.")

    def _shared_out(self, wanted: npt.NDArray[np.int64]) -> list[tuple[ImageSet, npt.NDArray, npt.NDArray]]:
        """Of each set that is touched: the set, places in ``wanted``, and indices in the set."""
        of = np.searchsorted(self._ends, wanted, side="right")
        touched = [(self.sets[k], np.flatnonzero(of == k), self._ends[k] - len(self.sets[k])) for k in np.unique(of)]
        return [(images, at, wanted[at] - start) for images, at, start in touched]


#: Images of one id that are compared, of those that sets share.
COMPARED = 16


def with_ids(images: ImageSet, ids: npt.NDArray[np.str_]) -> Subset:
    """The same images by other ids."""
    view = Subset(images, np.arange(len(images)))
    view.ids = ids
    return view


def prefix_file(ids: npt.NDArray[np.str_], file: str) -> npt.NDArray[np.str_]:
    """Ids, or events, of the images in a file among others: they begin with its name, unless a lone image has that name already."""
    return np.array([file]) if ids.tolist() == [file.rpartition("/")[2]] else np.char.add(f"{file}/", ids)


def named(images: ImageSet, file: str) -> ImageSet:
    """The images of a file among others: its name goes before ids, and is the label ``file``."""
    view = with_ids(images, prefix_file(images.ids, file))
    view.labels = {**view.labels, "file": np.full(len(view), file)}
    return view


def with_labels_of(images: ImageSet, first: ImageSet) -> ImageSet:
    """The images with labels of the types that another set has, which has labels of the same names."""
    labels = {name: np.asarray(values) for name, values in images.labels.items()}
    types = {name: np.asarray(values).dtype for name, values in first.labels.items()}
    if {name: values.dtype.kind for name, values in labels.items()} == {name: dtype.kind for name, dtype in types.items()}:
        return images
    view = Subset(images, np.arange(len(images)))
    view.labels = {
        name: convert_labels(values, first.labels[name], f"{images.name}: label {shorten(name)}") for name, values in labels.items()
    }
    return view


def events_in_several(images: ImageSet) -> int:
    """How many events have images in more than one of several sets, or of several files by the label ``file``."""
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
    """What to know where files share event numbers: such images stay together. Empty where they do not."""
    shared, events = events_in_several(images), len(np.unique(images.events))
    if not shared:
        return ""
    return (
        f"{shared:,} of {events:,} events have images in more than one file, and stay together. If the files number their events "
        "independently, as those of separate simulation jobs do, add events=file."
    )


def _shown(value: Any) -> str:
    """A shape, a unit or labels in a message, however many there are."""
    if not isinstance(value, dict):
        return str(value)
    return listed(f"{name} {shape}" if shape else name for name, shape in value.items())


def _kinds(images: ImageSet) -> dict[str, tuple[int, ...]]:
    """Name to shape of an image's label."""
    return {name: np.shape(values)[1:] for name, values in sorted(images.labels.items())}
