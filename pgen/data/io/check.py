"""Reading every image of a source once, to skip those that cannot be read."""

from __future__ import annotations

import numpy as np

from pgen.data.images import ImageSet, Subset, chunk_ranges
from pgen.errors import DamagedImage, DataError, PgenError


def skip_unreadable(images: ImageSet) -> ImageSet:
    """Return a view of the images that can be read; the others are skipped as odd events.

    Raises:
        DataError: If none can be read.
    """
    reasons = np.full(len(images), "", dtype="U80")
    for chunk in chunk_ranges(images):
        try:
            images.read(chunk)
        except PgenError:
            for index in chunk:
                reasons[index] = _find_reason(images, index)
    if not np.any(reasons != ""):
        return images
    if np.all(reasons != ""):
        raise DataError(f"{images.name}: none of its {len(images):,} images can be read ({reasons[0]}).")
    view = Subset(images, np.flatnonzero(reasons == ""))
    view.left_out = images.left_out.add(reasons)
    return view


def _find_reason(images: ImageSet, index: int) -> str:
    try:
        images.read([index])
    except DamagedImage as error:
        return error.reason
    except PgenError:
        return "image that cannot be read"
    return ""
