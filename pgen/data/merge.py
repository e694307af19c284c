"""Several sets of images as one, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pgen.data.images import ImageSet, subset
from pgen.data.parts import parts
from pgen.errors import UserError


def _labels(images: ImageSet) -> dict[str, str]:
    """Name to kind and shape of an image's value."""
    return {name: f"{values.dtype.kind} {values.shape[1:]}" for name, values in sorted(images.labels.items())}


def merge(sets: Sequence[ImageSet], progress: Callable[[int, int], None] | None = None) -> Iterator[ImageSet]:
    """The images of all sets, one set after the other, in pieces for :func:`pgen.data.write.write_images`.

    UserError where shapes, units or labels differ from the first set's, or an id is there twice. ``progress(done, total)`` is called after
    each piece.
    """
    first = sets[0]
    for images in sets[1:]:
        for what, found, wanted in (
            ("shape", images.shape, first.shape),
            ("unit", images.unit, first.unit),
            ("labels", _labels(images), _labels(first)),
        ):
            if found != wanted:
                raise UserError(f"{images.name}: its {what} {found} differs from {wanted} of {first.name}; merge sets of one kind.")
    ids, counts = np.unique(np.concatenate([images.ids for images in sets]), return_counts=True)
    if len(sets) > 1 and np.any(counts > 1):
        raise UserError(f"The id {ids[counts.argmax()]} is in these sets {counts.max()} times; merge sets that share no image.")
    done, total = 0, sum(map(len, sets))
    for images in sets:
        for part in parts(images):
            yield subset(images, part)
            done += len(part)
            if progress:
                progress(done, total)
