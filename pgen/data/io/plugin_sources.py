"""Sources that are named by a word instead of a file: pgen's ``mnist`` and ``simulate``, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgen.data.images import ImageSet
from pgen.plugins.entry_points import SOURCES, imported, names, only, plugin_error


def scheme_names() -> list[str]:
    """The words that a source may be."""
    return names(SOURCES)


def get_source(name: str) -> Callable[..., ImageSet]:
    """The function that opens the source ``name``, or ``name:key=value,...``.

    A package offers one by an entry point in the group ``pgen.sources``, whose name is the word::

        [project]
        name = "pgen-rings"
        version = "0.1"
        dependencies = ["pgen-lartpc"]

        [project.entry-points."pgen.sources"]
        rings = "pgen_rings:open_rings"

        [tool.setuptools]
        py-modules = ["pgen_rings"]

    with a function of the source as it was typed and of ``--data-root`` (a path or None). Its keyword-only parameters are the options that
    may follow the colon; they are str, int, float, bool or a Literal of words, each perhaps ``| None``. In ``pgen_rings.py``::

        import numpy as np
        from pgen.data import ArrayImages

        def open_rings(src, root, *, n: int = 100, size: int = 32):
            row, column = np.indices((size, size)) - size / 2
            distance = np.hypot(row, column)
            radius = np.random.default_rng(0).uniform(4, size / 2, n)
            images = 100.0 * (abs(distance - radius[:, None, None]) < 1)
            return ArrayImages(images[:, None].astype("float32"), name=src, unit="ADC")

    ``--data rings:n=500`` then works wherever images are asked for. The images are (N, C, H, W) float32 in charge units; what the same
    words open must always be the same images. A set that does not fit into memory is a :class:`pgen.data.ImageSet` of its own.
    """
    entry = only(SOURCES, name)
    assert entry is not None  # one of scheme_names()
    opener = imported(entry)
    if not callable(opener):
        raise plugin_error(entry, f"it offers {opener!r}, wanted a function of the source and --data-root")
    return opener


def checked_set(name: str, images: Any) -> ImageSet:
    """What the source ``name`` opened. UserError where it is no set of images."""
    entry = only(SOURCES, name)
    assert entry is not None
    if lacks := [each for each in ("name", "shape", "ids", "events", "labels", "unit", "read", "fingerprint") if not hasattr(images, each)]:
        raise plugin_error(entry, f"it opened a {type(images).__name__}, which lacks {', '.join(lacks)}; wanted a pgen.data.ImageSet")
    return images
