"""Reading every image of a source once, so that those that cannot be read are skipped instead of ending the work."""

from __future__ import annotations

import numpy as np

from pgen.data.chunks import chunk_ranges
from pgen.data.images import ImageSet, Subset
from pgen.data.skipped import NOTHING
from pgen.errors import DamagedImage, PgenError


def sound_images(images: ImageSet) -> ImageSet:
    """A view of the images that can be read; the others are odd events, counted with those that the file left out."""
    reasons = np.full(len(images), "", dtype="U80")
    for part in chunk_ranges(images):
        try:
            images.read(part)
        except PgenError:
            for index in part:
                reasons[index] = _why_not(images, index)
    if not np.any(reasons != ""):
        return images
    if np.all(reasons != ""):
        raise PgenError(f"{images.name}: none of its {len(images):,} images can be read ({reasons[0]}).")
    view = Subset(images, np.flatnonzero(reasons == ""))
    view.left_out = getattr(images, "left_out", NOTHING).also(reasons)
    return view


def _why_not(images: ImageSet, index: int) -> str:
    try:
        images.read([index])
    except DamagedImage as error:
        return error.reason
    except PgenError:
        return "image that cannot be read"
    return ""
