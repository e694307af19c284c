"""Training and held-out images, with no event on both sides."""

from __future__ import annotations

import numpy as np

from pgen.data.images import ImageSet, Subset
from pgen.errors import ConfigError, DataError, listed


def split(images: ImageSet, held_out: int | float, *, by: str = "event", seed: int | None = 0) -> tuple[Subset, Subset]:
    """Split a set into training and held-out images; images of one event stay together.

    Args:
        images: The set.
        held_out: Events to hold out: a number (int), or a fraction between 0 and 1 (float) of all,
            at least one.
        by: What stays together and is counted: "event", or a label, such as "file".
        seed: Seed by which the events are drawn; None for the last ones of the set.

    Returns:
        Views of the training and of the held-out images, each in the order of the set.

    Raises:
        DataError: If there is no such label, or all images are of one event.
        ConfigError: If either side would be empty.
    """
    if by != "event" and by not in images.labels:
        raise DataError(f"{images.name}: cannot be divided by {by!r}; expected one of {listed(['event', *images.labels], 12)}.")
    groups = images.events if by == "event" else np.asarray(images.labels[by])
    if groups.ndim != 1:
        raise DataError(
            f"{images.name}: cannot be divided by {by!r}, whose values are of shape {groups.shape[1:]}; expected single values."
        )
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of first appearance
    is_fraction = isinstance(held_out, float)
    count = max(1, round(held_out * len(order))) if is_fraction and 0 < held_out < 1 else held_out
    if by == "event" and len(order) == 1 < len(images):
        raise DataError(
            f"{images.name}: all its {len(images):,} images are of the event {groups[0]}, which stays together; if they are not, add "
            "events=file where files number their events independently, or events=entry to treat each image as an event."
        )
    unit = "events" if by == "event" else f"values of {by}"
    if not (0 < count < len(order) and (not is_fraction or held_out < 1)):
        raise ConfigError(
            f"{images.name}: cannot hold out {held_out} of its {len(order)} {unit}; expected a number from 1 to {len(order) - 1} or a "
            "fraction between 0 and 1, with something left to train on."
        )
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    is_held_out = np.isin(group, order[-int(count) :])
    return Subset(images, np.flatnonzero(~is_held_out)), Subset(images, np.flatnonzero(is_held_out))
