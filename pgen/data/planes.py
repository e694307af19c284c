"""Which images of jagged LArCV events become the channels of one ImageSet, and their pixels where a file has voxels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import ChoiceNeeded, UserError

#: Pixels of an image, several times those of the largest detector planes: more is damage, and might exhaust memory.
LARGEST = 2**26


@dataclass(frozen=True)
class Planes:
    """The plane(s) chosen, the events that hold them all, and where in the file's flat list of images they lie."""

    planes: tuple[int, ...]  #: one a channel
    entries: npt.NDArray[np.int64]  #: (N,) events kept
    images: npt.NDArray[np.int64]  #: (N, C) index into the flat list of images
    size: tuple[int, int]  #: (rows, columns) of every chosen image
    skipped: int  #: events left out because they lack the plane


def choose(
    event: npt.NDArray, plane: npt.NDArray, rows: npt.NDArray, columns: npt.NDArray, *, events: int, wanted: int | None, name: str
) -> Planes:
    """Chooses by plane number, never by position in the event: events hold 0, 1, 2, 3 or more images.

    ``event``, ``plane``, ``rows``, ``columns`` have one value an image. With ``wanted`` None, all planes become channels if every event
    that holds any image holds the same planes. UserError if planes are missing, ambiguous, doubled, or differ in size.
    """
    found = tuple(int(p) for p in np.unique(plane))
    if not found:
        raise UserError(f"{name}: found {events} events and no image in any of them; give another file or another producer.")
    if wanted is not None and wanted not in found:
        raise UserError(f"{name}: has no plane {wanted}; found planes {', '.join(map(str, found))}. Give one of these as plane=.")
    planes = found if wanted is None else (wanted,)
    position = np.full((events, len(planes)), -1, np.int64)
    for channel, p in enumerate(planes):
        at = np.flatnonzero(plane == p)
        doubled = np.flatnonzero(np.bincount(event[at], minlength=1) > 1)
        if len(doubled):
            raise UserError(
                f"{name}: event number {doubled[0]} of the file holds plane {p} more than once, wanted one image a plane; choose another "
                "plane or producer, or leave the event out of the file."
            )
        position[event[at], channel] = at
    have = (position >= 0).sum(1)
    if wanted is None and np.any((have > 0) & (have < len(planes))):
        counts = ", ".join(f"{p} (in {int(np.sum(position[:, c] >= 0))} events)" for c, p in enumerate(planes))
        raise ChoiceNeeded(f"{name}: its events hold different planes: {counts} of {events}; choose one by adding plane={planes[0]}.")
    entries = np.flatnonzero(have == len(planes))
    images = position[entries]
    sizes = np.unique(np.stack([rows[images].ravel(), columns[images].ravel()], 1), axis=0)
    if len(sizes) > 1:
        listed = ", ".join(f"{r} x {c}" for r, c in sizes[:6])
        raise ChoiceNeeded(f"{name}: holds images of different sizes ({listed}), wanted one size; choose one plane= or another producer.")
    if sizes[0].prod() > LARGEST or sizes.max() > LARGEST:
        raise UserError(f"{name}: holds images of {sizes[0, 0]} x {sizes[0, 1]} pixels, wanted {LARGEST} at most; the file is damaged.")
    return Planes(planes, entries, images, (int(sizes[0, 0]), int(sizes[0, 1])), events - len(entries))


def by_plane(event: npt.NDArray, plane: npt.NDArray, rows: npt.NDArray, columns: npt.NDArray) -> str:
    """Of each plane how many events hold it, and its sizes; arguments as for :func:`choose`."""
    told = []
    for p in np.unique(plane):
        at = plane == p
        sizes = sorted(set(zip(rows[at].tolist(), columns[at].tolist(), strict=True)))
        listed = ", ".join(f"{r} x {c}" for r, c in sizes[:3]) + (", ..." if len(sizes) > 3 else "")
        told.append(f"plane {p}: {listed} in {len(np.unique(event[at]))}")
    return "; ".join(told) or "no images"


def event_ids(run: npt.NDArray, subrun: npt.NDArray, event: npt.NDArray) -> npt.NDArray[np.str_]:
    """(N,) "run/subrun/event"; a file that repeats an event gets "#2", "#3", ... so that ids stay unique."""
    ids: list[str] = []
    seen: dict[str, int] = {}
    for numbers in zip(run.tolist(), subrun.tolist(), event.tolist(), strict=True):
        text = "/".join(map(str, numbers))
        seen[text] = seen.get(text, 0) + 1
        ids.append(text if seen[text] == 1 else f"{text}#{seen[text]}")
    return np.asarray(ids).astype(str)


def only(kind: str, found: list[str], wanted: str | None, name: str) -> str:
    """The one thing of ``kind`` to read: the one asked for, or the only one there is."""
    listed = ", ".join(found)
    if not found:
        raise UserError(f"{name}: found no {kind} in it, wanted one; is this the right file?")
    if wanted is not None and wanted not in found:
        raise UserError(f"{name}: has no {kind} {wanted!r}; found {listed}. Give one of these as {kind}=.")
    if wanted is None and len(found) > 1:
        raise ChoiceNeeded(f"{name}: holds more than one {kind} ({listed}); choose one by adding {kind}={found[0]}.")
    return wanted or found[0]


def product_of(
    keys: Iterable[str], suffix: str, products: Iterable[str], product: str | None, producer: str | None, name: str
) -> tuple[str, str]:
    """(product, producer) to read, of things that a file calls <product>_<producer>_<suffix>: those asked for, else the first of
    ``products`` that is there, and its only producer."""
    keys, products = list(keys), list(products)
    there = [(match[1], match[2]) for key in keys if (match := re.fullmatch(rf"({'|'.join(products)})_(.+)_{suffix}", key))]
    product = product or next((each for each in products if each in dict(there)), products[0])
    producers = [of for kind, of in there if kind == product]
    if not producers:
        raise UserError(f"{name}: a LArCV file with no {product} {suffix} (found {', '.join(keys) or 'nothing'}), wanted LArCV images.")
    return product, only("producer", producers, producer, name)


def pixels_of(ids: npt.NDArray[np.uint64], values: npt.NDArray[np.float32], size: int, name: str) -> npt.NDArray[np.float32]:
    """The pixels of an image from its voxels, what shares an id added up."""
    if len(ids) and int(ids.max()) >= size:
        raise UserError(
            f"{name}: a voxel of id {ids.max()} lies outside of an image of {size} pixels; the file is damaged. Fetch it again."
        )
    return np.bincount(ids.astype(np.int64), values, minlength=size).astype(np.float32)
