"""Which images of LArCV events, of which there can be any number, become channels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import select_one
from pgen.data.skipped import Skipped
from pgen.errors import ChoiceNeeded, ConfigError, DamagedImage, DataError, listed

#: Several times the pixels of the largest detector planes: more is damage, and might exhaust
#: memory.
MAX_PIXELS = 2**26
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Planes:
    """The selected planes, and for each event its images, or why it is skipped.

    Attributes:
        planes: One per channel.
        size: (rows, columns) of every selected image.
        images: (E, C) index into the flat list of images, -1 if there is none.
        reasons: (E,) why an event is skipped; empty for one that is used.
        odd: (E,) whether that is odd, see :class:`pgen.data.skipped.Skipped`.
        advice: What to do if too many events are odd.
    """

    planes: tuple[int, ...]
    size: tuple[int, int]
    images: Ints
    reasons: npt.NDArray[np.str_]
    odd: npt.NDArray[np.bool_]
    advice: str = ""

    @property
    def entries(self) -> Ints:
        """(N,) the events that are used."""
        return np.flatnonzero(self.reasons == "")

    @property
    def left_out(self) -> Skipped:
        """The events that are skipped."""
        return Skipped.from_reasons(self.reasons, self.odd, self.advice)

    def skip(self, reasons: npt.NDArray[np.str_]) -> Planes:
        """Skip more events: those with one of ``reasons``, (E,)."""
        return replace(self, reasons=np.where(self.reasons == "", reasons, self.reasons))


def parse_planes(plane: int | None, planes: str | None, name: str) -> tuple[int, ...] | None:
    """Parse the options ``plane=2`` and ``planes=0+1+2``; None if neither is given."""
    if planes is None:
        return None if plane is None else (plane,)
    if plane is not None:
        raise ConfigError(f"{name}: plane={plane} and planes={planes} are two ways to choose planes; give one of them.")
    numbers = planes.split("+")
    if not all(re.fullmatch(r"\d{1,9}", number, re.ASCII) for number in numbers) or len({*map(int, numbers)}) < len(numbers):
        raise ConfigError(f"{name}: planes={planes} cannot be read; give different plane numbers joined by +, as in planes=0+1+2.")
    return tuple(map(int, numbers))


def select_planes(
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
    """Select images by plane number, not by position: events hold any number of images.

    Args:
        event: (K,) event of each image.
        plane: (K,) plane of each image.
        rows: (K,) rows of each image. An image without pixels counts as missing.
        columns: (K,) columns of each image.
        events: Number of events in the file.
        requested: Planes that become channels; None for those that most events with images have.
        name: What the user typed.
        unsound: (K,) images whose pixels do not fit their rows and columns.

    Returns:
        The selection. Events that lack a plane, hold one twice, hold other planes besides, or hold
        images of an unusual size are skipped.

    Raises:
        DataError: If there is no image, or not a requested plane.
        ChoiceNeeded: If no planes, or no size, are those of most events.
    """
    has_pixels = (rows > 0) & (columns > 0)
    numbers, counts = _events_by_plane(event[has_pixels], plane[has_pixels])
    if not len(numbers):
        raise DataError(f"{name}: found {events:,} events and no image in any of them; give another file or another producer.")
    with_images = np.bincount(event[has_pixels], minlength=events) > 0
    planes_listed = listed((f"{p} (in {n:,} events)" for p, n in zip(numbers, counts, strict=True)), 8)
    different = f"its events hold different planes: {planes_listed} of {events:,}"
    if requested is None:
        planes = tuple(int(p) for p in numbers[2 * counts > with_images.sum()])
        if not planes:
            raise ChoiceNeeded(f"{name}: {different}; choose one by adding plane={numbers[counts.argmax()]}.")
    else:
        planes = requested
        if missing := [p for p in planes if p not in numbers]:
            has = f"planes {listed(numbers)}" if len(numbers) > 1 else f"plane {numbers[0]}"
            raise DataError(f"{name}: has no plane {listed(missing)}; found {has}. Give one of these as plane=, or several as planes=.")

    images = np.full((events, len(planes)), -1, np.int64)
    reasons = np.full(events, "", dtype="U80")
    odd = np.zeros(events, bool)

    def skip(is_skipped: npt.NDArray, reason: str, *, is_odd: bool = True) -> None:
        """Note a reason, unless an event has one already."""
        is_new = is_skipped & (reasons == "")
        reasons[is_new], odd[is_new] = reason, is_odd

    placeholder = np.zeros((events, len(planes)), bool)
    for channel, p in enumerate(planes):
        index = np.flatnonzero(has_pixels & (plane == p))
        skip(np.bincount(event[index], minlength=events) > 1, f"plane {p} twice or more")
        images[event[index], channel] = index
        placeholder[event[~has_pixels & (plane == p)], channel] = True
    if requested is None:
        has_other_planes = np.bincount(event[has_pixels & ~np.isin(plane, planes)], minlength=events) > 0
        skip(has_other_planes, "planes that most events lack")
        skip(~with_images & ~placeholder.any(1), "no image", is_odd=False)
    for channel, p in enumerate(planes):
        lacks = images[:, channel] < 0
        skip(lacks & placeholder[:, channel], f"plane {p} without pixels", is_odd=requested is None)
        skip(lacks, f"plane {p} missing", is_odd=requested is None)
    if unsound is not None:
        skip(np.any((images >= 0) & unsound[images], axis=1), "pixels that are not rows x columns")

    complete = np.flatnonzero(reasons == "")
    if not len(complete):
        raise ChoiceNeeded(
            f"{name}: {different}, and no event holds planes {listed(planes)} once each; choose one by adding plane={planes[0]}."
        )
    sizes = np.stack([rows[images[complete]], columns[images[complete]]], -1)  # (n, C, 2)
    size = _usual_size(sizes, name)
    for k in np.flatnonzero((sizes != size).any((1, 2))):
        r, c = sizes[k][(sizes[k] != size).any(1)][0]
        reasons[complete[k]], odd[complete[k]] = f"{r} x {c} pixels, not {size[0]} x {size[1]}", True
    if size[0] > MAX_PIXELS or size[1] > MAX_PIXELS or size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{name}: holds images of {size[0]} x {size[1]} pixels, expected {MAX_PIXELS} at most; the file is damaged.")
    advice = ""
    if requested is None and (has_other_planes | (with_images & (images < 0).any(1))).any():
        several = "" if len(planes) == 1 else f" or several by planes={'+'.join(map(str, planes))}"
        advice = f"{different}; choose one by adding plane={planes[0]}{several}"
    return Planes(planes, size, images, reasons, odd, advice)


def _events_by_plane(event: npt.NDArray, plane: npt.NDArray) -> tuple[Ints, Ints]:
    """Return the planes, and how many events hold each."""
    pairs = np.unique(np.stack([plane, event], 1).astype(np.int64), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    return numbers, counts


def _usual_size(sizes: Ints, name: str) -> tuple[int, int]:
    """Return the (rows, columns) of most images of each channel, of ``sizes`` (n, C, 2)."""
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
            f"{name}: holds images of different sizes ({sizes_listed}), expected one size; choose one plane= or another producer."
        )
    return size


def describe_planes(event: npt.NDArray, plane: npt.NDArray, rows: npt.NDArray, columns: npt.NDArray) -> str:
    """Describe how many events hold each plane, and its sizes, see :func:`select_planes`."""
    alike: dict[str, list[int]] = {}
    for p in np.unique(plane).tolist():
        is_plane = plane == p
        sizes = sorted(set(zip(rows[is_plane].tolist(), columns[is_plane].tolist(), strict=True)))
        alike.setdefault(f"{listed((f'{r} x {c}' for r, c in sizes), 3)} in {len(np.unique(event[is_plane])):,}", []).append(p)
    lines = (f"plane{'s' * (len(planes) > 1)} {listed(planes, 8)}: {sizes}" for sizes, planes in alike.items())
    return listed(lines, 6, between="; ", empty="no images")


def count_events(count: int) -> str:
    """Format a number of events."""
    return f"{count:,} event{'s' * (count != 1)}"


def select_product(
    keys: Iterable[str], suffix: str, products: Iterable[str], product: str | None, producer: str | None, name: str
) -> tuple[str, str]:
    """Select the product and producer to read.

    Args:
        keys: Names in the file, <product>_<producer>_<suffix>.
        suffix: "tree" or "group".
        products: Known products, in order of preference.
        product: The requested product; None for the first that the file has.
        producer: The requested producer; None for the only one.
        name: What the user typed.
    """
    keys, products = list(keys), list(products)
    pairs = [(match[1], match[2]) for key in keys if (match := re.fullmatch(rf"({'|'.join(products)})_(.+)_{suffix}", key))]
    product = product or next((item for item in products if item in dict(pairs)), products[0])
    producers = [of for kind, of in pairs if kind == product]
    if not producers:
        raise DataError(f"{name}: a LArCV file with no {product} {suffix} (found {listed(keys, empty='nothing')}), expected LArCV images.")
    return product, select_one("producer", producers, producer, name)


def voxels_to_pixels(ids: npt.NDArray[np.uint64], values: npt.NDArray[np.float32], size: int, name: str) -> npt.NDArray[np.float32]:
    """Sum voxels into an image of ``size`` pixels, (size,), by their ids.

    Raises:
        DamagedImage: If an id lies outside of the image.
    """
    if len(ids) and int(ids.max()) >= size:
        message = f"{name}: a voxel of id {ids.max()} lies outside of an image of {size} pixels; the file is damaged. Fetch it again."
        raise DamagedImage(message, "voxels outside of the image")
    return np.bincount(ids.astype(np.int64), values, minlength=size).astype(np.float32)
