"""Training and held-out images, with no event on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgen.data.images import ImageSet
from pgen.errors import PgenError, listed

Int64s = npt.NDArray[np.int64]


def split(images: ImageSet, held_out: int | float, seed: int | None = None, by: str = "event") -> tuple[Int64s, Int64s]:
    """(training, held-out) indices, each in ascending order.

    ``held_out`` is a number of events (int) or a fraction of them (float, at least one event): the last ones of the set, or random ones
    with a ``seed``. Tiles of one plane share its event, and so stay together. ``by``: "event", or a label, as "file" of sets that a
    pattern named; images of one value then stay together, and are counted as an event. UserError if either side would be empty, or
    there is no such label.
    """
    if by != "event" and by not in images.labels:
        raise PgenError(f"{images.name}: cannot be divided by {by!r}, wanted one of {listed(['event', *images.labels], 12)}.")
    groups = images.events if by == "event" else np.asarray(images.labels[by])
    if groups.ndim != 1:
        raise PgenError(f"{images.name}: cannot be divided by {by!r}, whose values are of shape {groups.shape[1:]}; wanted single values.")
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first)  # groups in order of appearance
    fraction = isinstance(held_out, float)
    count = max(1, round(held_out * len(order))) if fraction and 0 < held_out < 1 else held_out
    if by == "event" and len(order) == 1 < len(images):
        raise PgenError(
            f"{images.name}: all its {len(images):,} images are of the event {groups[0]}, which stays together; if they are not, add "
            "events=file where files number their events independently, or events=entry to treat each image as an event."
        )
    what = "events" if by == "event" else f"values of {by}"
    if not (0 < count < len(order) and (not fraction or held_out < 1)):
        raise PgenError(
            f"{images.name}: cannot hold out {held_out} of its {len(order)} {what}, wanted a number from 1 to {len(order) - 1} or a "
            "fraction between 0 and 1, with something left to train on."
        )
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    out = np.isin(group, order[-int(count) :])
    return np.flatnonzero(~out), np.flatnonzero(out)
