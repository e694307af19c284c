"""Several sets of images as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.images import Described, FloatArray, ImageSet, Indices, Subset, geometry, positions
from pgen.data.labels import convert_labels
from pgen.data.lit import Lit, lit_counts, read_lit
from pgen.data.suppress import least_suppression, note_suppression
from pgen.errors import UserError
from pgen.text import shortened


class Joined(Described):
    """The images of all ``sets``, one set after the other, still read on demand.

    UserError where shapes, units or labels differ from the first set's, or an id is there twice.
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
                    told = f"its {what} {found} differs from {wanted} of {first.name}"
                    raise UserError(f"{images.name}: {told}; join sets of one kind{way_out}.")
        sets = [first, *(with_labels_of(images, first) for images in sets[1:])]
        self.sets = list(sets)
        self.name, self.shape, self.unit = name, first.shape, first.unit
        self.ids, self.events = (np.concatenate([getattr(images, key) for images in sets]) for key in ("ids", "events"))
        ids, counts = np.unique(self.ids, return_counts=True)
        if np.any(counts > 1):
            raise UserError(f"The id {ids[counts.argmax()]} is in these sets {counts.max()} times; join sets that share no image.")
        self.labels: Mapping[str, npt.NDArray] = {
            label: np.concatenate([np.asarray(images.labels[label]) for images in sets]) for label in first.labels
        }
        self.geometry = np.concatenate([geometry(images) for images in sets])
        self.skipped = sum(getattr(images, "skipped", 0) for images in sets)
        self.about: Mapping[str, Any] = {**getattr(first, "about", {}), "sets": len(sets)}
        note_suppression(self, least_suppression(sets))
        self._ends = np.cumsum([len(images) for images in sets])

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

    def lit(self, indices: Indices) -> Lit:
        """Their lit pixels."""
        parts = [(at, read_lit(images, inside)) for images, at, inside in self._shared_out(positions(indices, len(self)))]
        if not parts:
            return read_lit(self.sets[0], [])
        return Lit.join([lit for _, lit in parts]).take(np.argsort(np.concatenate([at for at, _ in parts])))

    def _shared_out(self, wanted: npt.NDArray[np.int64]) -> list[tuple[ImageSet, npt.NDArray, npt.NDArray]]:
        """Of each set that is touched: the set, places in ``wanted``, and indices in the set."""
        of = np.searchsorted(self._ends, wanted, side="right")
        touched = [(self.sets[k], np.flatnonzero(of == k), self._ends[k] - len(self.sets[k])) for k in np.unique(of)]
        return [(images, at, wanted[at] - start) for images, at, start in touched]


def named(images: ImageSet, file: str) -> ImageSet:
    """The images of a file among others: its name goes before ids and events, which files number by themselves, and is the label
    ``file``."""
    view = Subset(images, np.arange(len(images)))
    view.ids, view.events = (np.char.add(f"{file}/", each) for each in (view.ids, view.events))
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
        name: convert_labels(values, first.labels[name], f"{images.name}: label {shortened(name)}") for name, values in labels.items()
    }
    return view


def _kinds(images: ImageSet) -> dict[str, tuple[int, ...]]:
    """Name to shape of an image's label."""
    return {name: np.shape(values)[1:] for name, values in sorted(images.labels.items())}
