"""Which images of jagged LArCV events become the channels of one ImageSet, and their pixels where a file has voxels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pgen.data.skipped import Skipped
from pgen.errors import ChoiceNeeded, DamagedImage, PgenError, listed

#: Pixels of an image, several times those of the largest detector planes: more is damage, and might exhaust memory.
LARGEST = 2**26
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Planes:
    """The planes chosen, and of each event why it is skipped, or where in the file's flat list of images its own lie.

    Attributes:
        planes: One a channel.
        size: (rows, columns) of every chosen image.
        images: (E, C) index into the flat list of images, -1 where there is none.
        reasons: (E,) why an event is skipped; empty for one that is kept.
        odd: (E,) whether that is odd, see :class:`pgen.data.skipped.Skipped`.
        advice: What to do where too many events are odd.
    """

    planes: tuple[int, ...]
    size: tuple[int, int]
    images: Ints
    reasons: npt.NDArray[np.str_]
    odd: npt.NDArray[np.bool_]
    advice: str = ""

    @property
    def entries(self) -> Ints:
        """(N,) the events that are kept."""
        return np.flatnonzero(self.reasons == "")

    @property
    def left_out(self) -> Skipped:
        """The events that are not."""
        return Skipped.of(self.reasons, self.odd, self.advice)

    def without(self, reasons: npt.NDArray[np.str_]) -> Planes:
        """Skip more events: those with one of ``reasons`` (E,)."""
        return replace(self, reasons=np.where(self.reasons == "", reasons, self.reasons))


def planes_of(plane: int | None, planes: str | None, name: str) -> tuple[int, ...] | None:
    """The planes that the options ``plane=2`` and ``planes=0+1+2`` name; None where neither is given."""
    if planes is None:
        return None if plane is None else (plane,)
    if plane is not None:
        raise PgenError(f"{name}: plane={plane} and planes={planes} are two ways to choose planes; give one of them.")
    numbers = planes.split("+")
    if not all(re.fullmatch(r"\d{1,9}", number, re.ASCII) for number in numbers) or len({*map(int, numbers)}) < len(numbers):
        raise PgenError(f"{name}: planes={planes} cannot be read; give different plane numbers joined by +, as in planes=0+1+2.")
    return tuple(map(int, numbers))


def choose(
    event: npt.NDArray,
    plane: npt.NDArray,
    rows: npt.NDArray,
    columns: npt.NDArray,
    *,
    events: int,
    requested: tuple[int, ...] | None,
    name: str,
    unsound: npt.NDArray[np.bool_] | None = None,
) -> Planes:
    """Choose by plane number, never by position in the event: events hold 0, 1, 2, 3 or more images.

    Args:
        event, plane, rows, columns: One value per image, (K,). An image of no pixels stands for one that is not there.
        events: How many the file has.
        requested: Planes that become channels; None: those that most events with any image have.
        unsound: (K,) images whose pixels do not fit their rows and columns.

    Returns:
        The choice. Events that lack a plane, hold one twice, hold other planes besides, or hold images of another size than most are
        skipped.

    Raises:
        UserError: No image, or none of the planes.
        ChoiceNeeded: No planes, or no size, that most events have.
    """
    there = (rows > 0) & (columns > 0)
    numbers, counts = _events_by_plane(event[there], plane[there])
    if not len(numbers):
        raise PgenError(f"{name}: found {events:,} events and no image in any of them; give another file or another producer.")
    with_images = np.bincount(event[there], minlength=events) > 0
    there_are = listed((f"{p} (in {n:,} events)" for p, n in zip(numbers, counts, strict=True)), 8)
    different = f"its events hold different planes: {there_are} of {events:,}"
    if requested is None:
        planes = tuple(int(p) for p in numbers[2 * counts > with_images.sum()])
        if not planes:
            raise ChoiceNeeded(f"{name}: {different}; choose one by adding plane={numbers[counts.argmax()]}.")
    else:
        planes = requested
        if missing := [p for p in planes if p not in numbers]:
            has = f"planes {listed(numbers)}" if len(numbers) > 1 else f"plane {numbers[0]}"
            raise PgenError(f"{name}: has no plane {listed(missing)}; found {has}. Give one of these as plane=, or several as planes=.")

    images = np.full((events, len(planes)), -1, np.int64)
    reasons = np.full(events, "", dtype="U80")
    odd = np.zeros(events, bool)

    def skip(at: npt.NDArray, reason: str, *, is_odd: bool = True) -> None:
        """Note a reason, unless an event has one already."""
        at = at & (reasons == "")
        reasons[at], odd[at] = reason, is_odd

    placeholder = np.zeros((events, len(planes)), bool)
    for channel, p in enumerate(planes):
        at = np.flatnonzero(there & (plane == p))
        skip(np.bincount(event[at], minlength=events) > 1, f"plane {p} twice or more")
        images[event[at], channel] = at
        placeholder[event[~there & (plane == p)], channel] = True
    if requested is None:
        strange = np.bincount(event[there & ~np.isin(plane, planes)], minlength=events) > 0
        skip(strange, "planes that most events lack")
        skip(~with_images & ~placeholder.any(1), "no image", is_odd=False)
    for channel, p in enumerate(planes):
        lacks = images[:, channel] < 0
        skip(lacks & placeholder[:, channel], f"plane {p} without pixels", is_odd=requested is None)
        skip(lacks, f"plane {p} missing", is_odd=requested is None)
    if unsound is not None:
        skip(np.any((images >= 0) & unsound[images], axis=1), "pixels that are not rows x columns")

    whole = np.flatnonzero(reasons == "")
    if not len(whole):
        raise ChoiceNeeded(
            f"{name}: {different}, and no event holds planes {listed(planes)} once each; choose one by adding plane={planes[0]}."
        )
    sizes = np.stack([rows[images[whole]], columns[images[whole]]], -1)  # (n, C, 2)
    size = _usual_size(sizes, name)
    for k in np.flatnonzero((sizes != size).any((1, 2))):
        r, c = sizes[k][(sizes[k] != size).any(1)][0]
        reasons[whole[k]], odd[whole[k]] = f"{r} x {c} pixels, not {size[0]} x {size[1]}", True
    if size[0] > LARGEST or size[1] > LARGEST or size[0] * size[1] > LARGEST:
        raise PgenError(f"{name}: holds images of {size[0]} x {size[1]} pixels, wanted {LARGEST} at most; the file is damaged.")
    advice = ""
    if requested is None and (strange | (with_images & (images < 0).any(1))).any():
        several = "" if len(planes) == 1 else f" or several by planes={'+'.join(map(str, planes))}"
        advice = f"{different}; choose one by adding plane={planes[0]}{several}"
    return Planes(planes, size, images, reasons, odd, advice)


def _events_by_plane(event: npt.NDArray, plane: npt.NDArray) -> tuple[Ints, Ints]:
    """The planes there are, and how many events hold each."""
    pairs = np.unique(np.stack([plane, event], 1).astype(np.int64), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    return numbers, counts


def _usual_size(sizes: Ints, name: str) -> tuple[int, int]:
    """The (rows, columns) that most images of each channel have. sizes: (n, C, 2)."""
    usual: list[tuple[int, int] | None] = []
    for channel in range(sizes.shape[1]):
        different, counts = np.unique(sizes[:, channel], axis=0, return_counts=True)
        rows, columns = different[counts.argmax()].tolist()
        usual.append((rows, columns) if 2 * counts.max() > len(sizes) else None)
    size = usual[0]
    if size is None or len(set(usual)) > 1:
        different = np.unique(sizes.reshape(-1, 2), axis=0)
        sizes_listed = listed(f"{r} x {c}" for r, c in different)
        raise ChoiceNeeded(
            f"{name}: holds images of different sizes ({sizes_listed}), wanted one size; choose one plane= or another producer."
        )
    return size


def describe_planes(event: npt.NDArray, plane: npt.NDArray, rows: npt.NDArray, columns: npt.NDArray) -> str:
    """For each plane how many events hold it, and its sizes; arguments as for :func:`choose`."""
    alike: dict[str, list[int]] = {}
    for p in np.unique(plane).tolist():
        at = plane == p
        sizes = sorted(set(zip(rows[at].tolist(), columns[at].tolist(), strict=True)))
        alike.setdefault(f"{listed((f'{r} x {c}' for r, c in sizes), 3)} in {len(np.unique(event[at])):,}", []).append(p)
    lines = (f"plane{'s' * (len(planes) > 1)} {listed(planes, 8)}: {what}" for what, planes in alike.items())
    return listed(lines, 6, between="; ", empty="no images")


def only(kind: str, there: list[str], wanted: str | None, name: str) -> str:
    """The one thing of ``kind`` to read: the one asked for, or the only one there is."""
    if not there:
        raise PgenError(f"{name}: found no {kind} in it, wanted one; is this the right file?")
    if wanted is not None and wanted not in there:
        raise PgenError(f"{name}: has no {kind} {wanted!r}; found {listed(there)}. Give one of these as {kind}=.")
    if wanted is None and len(there) > 1:
        raise ChoiceNeeded(f"{name}: holds more than one {kind} ({listed(there, 8)}); choose one by adding {kind}={there[0]}.")
    return wanted or there[0]


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
        raise PgenError(f"{name}: a LArCV file with no {product} {suffix} (found {listed(keys, empty='nothing')}), wanted LArCV images.")
    return product, only("producer", producers, producer, name)


def pixels_of(ids: npt.NDArray[np.uint64], values: npt.NDArray[np.float32], size: int, name: str) -> npt.NDArray[np.float32]:
    """The pixels of an image from its voxels, what shares an id added up."""
    if len(ids) and int(ids.max()) >= size:
        message = f"{name}: a voxel of id {ids.max()} lies outside of an image of {size} pixels; the file is damaged. Fetch it again."
        raise DamagedImage(message, "voxels outside of the image")
    return np.bincount(ids.astype(np.int64), values, minlength=size).astype(np.float32)
