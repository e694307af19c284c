"""Sources that are a word instead of a file: ``mnist``, ``simulate``, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from pgen.data.images import FloatArray, ImageSet, Indices
from pgen.data.skipped import NONE_SKIPPED
from pgen.data.sparse import SparseImages
from pgen.plugins.entry_points import SOURCES, find_entry, load_entry, names, plugin_error

#: What a source that is no ImageSet must have; geometry, about, left_out, lit and lit_counts are
#: optional.
REQUIRED = ("name", "shape", "ids", "events", "labels", "unit", "read", "fingerprint")


def scheme_names() -> list[str]:
    """Return the words that a source may be."""
    return names(SOURCES)


def get_source(name: str) -> Callable[..., ImageSet]:
    """Return the function that opens the source ``name``, or ``name:key=value,...``.

    A package offers one by an entry point in the group ``pgen.sources``, whose name is the word::

        [project]
        name = "pgen-rings"
        version = "0.1"
        dependencies = ["pgen-lartpc"]

        [project.entry-points."pgen.sources"]
        rings = "pgen_rings:open_rings"

        [tool.setuptools]
        py-modules = ["pgen_rings"]

    with a function of the source as it was typed and of ``--data-root`` (a path or None). Its
    keyword-only parameters are the options that may follow the colon; they are str, int, float,
    bool or a Literal of words, each possibly ``| None``. In ``pgen_rings.py``::

        import numpy as np
        from pgen.data import ArrayImages

        def open_rings(src, root, *, n: int = 100, size: int = 32):
            row, column = np.indices((size, size)) - size / 2
            distance = np.hypot(row, column)
            radius = np.random.default_rng(0).uniform(4, size / 2, n)
            images = 100.0 * (abs(distance - radius[:, None, None]) < 1)
            return ArrayImages(images[:, None].astype("float32"), name=src, unit="ADC")

    ``--data rings:n=500`` then works like any source. Images are (N, C, H, W) float32 in charge
    units; the same source must always give the same images. For a set that does not fit into
    memory, return an own subclass of :class:`pgen.data.ImageSet`.
    """
    entry = find_entry(SOURCES, name)
    assert entry is not None  # one of scheme_names()
    opener = load_entry(entry)
    if not callable(opener):
        raise plugin_error(entry, f"it offers {opener!r}, expected a function of the source and --data-root")
    return opener


def as_image_set(name: str, images: Any) -> ImageSet:
    """Return what the source ``name`` opened as an ImageSet.

    Raises:
        PluginError: If it lacks an attribute of an ImageSet.
    """
    if isinstance(images, ImageSet):
        return images
    entry = find_entry(SOURCES, name)
    assert entry is not None
    if missing := [attribute for attribute in REQUIRED if not hasattr(images, attribute)]:
        raise plugin_error(entry, f"it opened a {type(images).__name__}, which lacks {', '.join(missing)}; expected a pgen.data.ImageSet")
    return _AdaptedImages(images)


class _AdaptedImages(ImageSet):
    """A set of a plug-in that has the attributes of an ImageSet but is no subclass."""

    def __init__(self, images: Any) -> None:
        self._images = images
        for attribute in ("name", "shape", "ids", "events", "labels", "unit"):
            setattr(self, attribute, getattr(images, attribute))
        self.geometry = getattr(images, "geometry", None)
        self.about, self.left_out = getattr(images, "about", {}), getattr(images, "left_out", NONE_SKIPPED)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all pixels."""
        return self._images.fingerprint

    def __len__(self) -> int:
        return len(self._images)

    @property
    def nonzero_counts(self) -> Any:
        """(N,) number of nonzero pixels of each image, if the set knows it."""
        return getattr(self._images, "nonzero_counts", getattr(self._images, "lit_counts", None))

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        return self._images.read(indices)

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``."""
        read = getattr(self._images, "read_sparse", getattr(self._images, "lit", None))
        return super().read_sparse(indices) if read is None else SparseImages(*read(indices))
