"""Which arrays of a file are images, and what lies next to them, in npy, npz, torch and HDF5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import COLUMNS, find_events
from pgen.data.formats.base import LazyImages, make_window, select_one, to_native, to_text
from pgen.data.formats.layout import Layout
from pgen.data.images import ZERO_SUPPRESSION
from pgen.data.skipped import Skipped
from pgen.errors import ChoiceNeeded, DataError, PgenError, listed
from pgen.utils.paths import natural_key
from pgen.utils.untrusted import refuse_larger_than_memory

#: Value of an option for no labels, or for each image as an event of its own.
No = Literal["none"]
Entries = npt.NDArray[np.int64]
#: Kinds of NumPy types: numbers, and text.
NUMBERS, TEXT = "biuf", "US"
#: Arrays that lie next to images, besides ``labels/NAME``.
COMPANIONS = ("ids", "events", "geometry", "labels", "unit")
#: Names of numbered arrays that belong to one event; of others, each is an event.
PARTS_OF_EVENTS = re.compile(r"(?<![a-z])(plane|view|channel|chan|ch|layer|apa|tpc|crate|arr)s?[^a-z]*\*", re.IGNORECASE)
#: Names of arrays of vectors, and the most columns of a table, which no image has.
VECTOR_NAMES, MAX_TABLE_COLUMNS = ("codes",), 4
#: Bytes that the id of an image takes, at least.
ID_BYTES = 64


@dataclass(frozen=True)
class Member:
    """An array of a file, read on demand.

    Attributes:
        shape: Its shape.
        dtype: Type of what is read; U for text.
        read: Reads it at an index, such as a slice or ``...``.
        problem: Why it is not used, if it is not.
        refusal: Raised if it would have to be read.
        written: Returns at which positions along an axis values were written; None if at all.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], npt.NDArray]
    problem: str = ""
    refusal: PgenError | None = None
    written: Callable[[int], npt.NDArray[np.bool_]] | None = None

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def refuse_reading(index: Any) -> npt.NDArray:
    """Serve as the ``read`` of a member that is not used or refused."""
    raise ValueError("this array must not be read")


def open_members(
    members: Mapping[str, Member],
    *,
    path: Path,
    name: str,
    option: str,
    choice: str | None,
    layout: str | None,
    labels: No | None,
    events: No | None,
    about: Mapping[str, Any],
) -> LazyImages:
    """Open the images among the arrays of a file, with ids, events, labels, geometry and unit.

    Args:
        members: Each array by its path in the file.
        path: The file.
        name: What the user typed, for messages.
        option: Name of the option that selects an array; empty if there is only one array.
        choice: Value of that option: a path, the last part of several paths, or a pattern for them.
        layout: Order of the axes, see :class:`pgen.data.formats.layout.Layout`.
        labels: "none" for no labels.
        events: "none" for each image as an event of its own.
        about: What is known about the file.

    Returns:
        The images. What lies next to them and does not fit is ignored, and named in
        ``about["ignored"]``.

    Raises:
        DataError: If there are no images.
        ChoiceNeeded: If several arrays, or several layouts, are possible.
    """
    order = None if layout is None else Layout.parse(layout, name)
    keys = _select_images(members, option, choice, order, name)
    chosen = [members[key] for key in keys]
    for key, member in zip(keys, chosen, strict=True):
        if member.refusal:
            raise member.refusal
        if member.problem:
            raise DataError(f"{name}: {key} {member.problem}.")
    order = order or _default_layout(keys, chosen[0].shape, name)
    shape, counts = order.image_shape(chosen[0].shape), [order.count(member.shape) for member in chosen]
    for key, member in zip(keys, chosen, strict=True):
        if order.image_shape(member.shape) != shape:
            raise DataError(f"{name}: {key} is of shape {member.shape} and {keys[0]} of {chosen[0].shape}; expected images of one size.")
    total = sum(counts)
    refuse_larger_than_memory([((total,), ID_BYTES)])
    written = np.ones(total, bool)
    if chosen[0].written and order.images_axis is not None and len(keys) == 1:
        written = chosen[0].written(order.images_axis)
    entries = np.flatnonzero(written)
    facts: dict[str, Any] = dict(about)
    if option:
        facts[option] = keys[0] if len(keys) == 1 else choice or next(iter(_group_series(keys)))
    facts |= order.about()
    if (note := members.get(ZERO_SUPPRESSION)) and note.shape == () and note.dtype.kind in "iuf":
        facts[ZERO_SUPPRESSION] = float(note.read(...))
    others = {key: members[key] for key in members.keys() - set(keys)}
    rows = entries if len(keys) == 1 and order.images_axis is not None else None
    companions = _read_companions(others, total, rows, shape[0], labels, events)
    if rows is None:
        companions.ids = np.array(_make_ids(keys, None if order.images_axis is None else counts, path))
    refused = {key: str(member.refusal).removeprefix(f"{name}: ") for key, member in others.items() if member.refusal}
    if ignored := refused | companions.ignored:
        facts["ignored"] = listed((f"{key} ({ignored[key]})" for key in sorted(ignored)), between="; ")

    def of_entries(values: npt.NDArray | None) -> npt.NDArray | None:
        return values if values is None else values[entries]

    return LazyImages(
        make_window(counts, lambda k, first, stop: order.arrange(chosen[k].read(order.index(first, stop)))),
        shape,
        name=name,
        entries=entries,
        ids=of_entries(companions.ids),
        events=of_entries(companions.events),
        labels={label: values[entries] for label, values in companions.labels.items()},
        unit=companions.unit,
        geometry=of_entries(companions.geometry),
        left_out=Skipped.from_reasons(np.where(written, "", "never written"), ~written, "write them"),
        about=facts,
    )


def _select_images(members: Mapping[str, Member], option: str, choice: str | None, layout: Layout | None, name: str) -> list[str]:
    """Return the arrays that hold the images: a single one, or one for each image."""
    ranks = (2, 3, 4) if layout is None else (len(layout.axes),)
    fitting = [key for key, member in members.items() if member.dtype.kind in NUMBERS and len(member.shape) in ranks and not member.problem]
    if choice is None and "images" in members and (members["images"].refusal or members["images"].problem):
        return ["images"]
    if choice is not None:
        path = choice.strip("/")
        if path in members:
            if path not in fitting and not (members[path].problem or members[path].refusal):
                axes = "2 to 4 axes" if layout is None else f"the axes {layout.axes}"
                raise DataError(f"{name}: {path} is {members[path]}; expected real numbers with {axes}. Give another {option}= or layout=.")
            return [path]
        matches = [key for key in fitting if key.rpartition("/")[2] == path or fnmatchcase(key, path)]
        return sorted(matches, key=natural_key) or [select_one(option, list(_group_series(fitting)), choice, name)]
    # Arrays of many images come before single ones, and both before what may lie next to them.
    many, single = ([key for key in fitting if (len(members[key].shape) > 2) == is_many] for is_many in (True, False))
    if "images" in many or ("images" in single and not many):
        return ["images"]
    for candidates in (many + [key for key in single if key == "images"], single):
        others = [key for key in candidates if key.partition("/")[0] not in COMPANIONS]
        # Images themselves may be called events or labels.
        if candidates := others or [key for key in candidates if key in ("events", "labels") and len(members[key].shape) > 2]:
            pattern, *others = _group_series(candidates)
            if others:
                return [select_one(option, [pattern, *others], None, name)]
            if PARTS_OF_EVENTS.search(pattern):
                raise ChoiceNeeded(
                    f"{name}: its {len(candidates)} arrays {pattern} may belong to one event; add {option}={pattern} if each is one image, "
                    f"or choose one, as {option}={candidates[0]}."
                )
            return sorted(candidates, key=natural_key)
    if refusal := next((member.refusal for member in members.values() if member.refusal), None):
        raise refusal
    listing = listed((f"{key} {member}" for key, member in members.items()), empty="nothing")
    raise DataError(
        f"{name}: found {listing}; expected images as an array of real numbers, (N, H, W), (N, C, H, W) or (H, W), see layout=."
    )


def _group_series(keys: Iterable[str]) -> dict[str, list[str]]:
    """Group arrays whose names differ only in numbers, by a pattern; others by their names."""
    series: dict[str, list[str]] = {}
    for key in keys:
        series.setdefault(re.sub("[0-9]+", "*", key), []).append(key)
    return {pattern if len(members) > 1 else members[0]: members for pattern, members in series.items()}


def _default_layout(keys: Sequence[str], shape: tuple[int, ...], name: str) -> Layout:
    """Return the layout of arrays of which nothing is known, unless several are possible."""
    if len(shape) == 2 and (keys[0].rpartition("/")[2] in VECTOR_NAMES or shape[1] <= MAX_TABLE_COLUMNS):
        raise ChoiceNeeded(
            f"{name}: {keys[0]} of shape {shape} looks like vectors or a table; add layout=hw if it is an image, or give it as `targets`."
        )
    if len(shape) == 3 and len(keys) > 1:
        raise ChoiceNeeded(
            f"{name}: {keys[0]} and {len(keys) - 1} others are arrays of shape {shape}; add layout=chw if the first axis counts planes, "
            "layout=nhw if it counts images."
        )
    return Layout.default(shape, name)


def _make_ids(keys: Sequence[str], counts: Sequence[int] | None, path: Path) -> list[str]:
    """Make ids of images in arrays of their own.

    They are the names of the arrays without their common end, or the name of the file if there is
    one array, followed by numbers unless each array is one image (``counts`` is None).
    """
    if len(keys) == 1:
        names = [path.stem]
    else:
        parts = [key.split("/") for key in keys]
        while all(len(path) > 1 and path[-1] == parts[0][-1] for path in parts):
            parts = [path[:-1] for path in parts]
        names = ["/".join(path) for path in parts]
    return names if counts is None else [f"{name}/{k}" for name, count in zip(names, counts, strict=True) for k in range(count)]


@dataclass
class _Companions:
    """What lies next to images and fits.

    Attributes:
        ignored: What does not fit, and why.
    """

    ids: npt.NDArray | None = None
    events: npt.NDArray | None = None
    labels: dict[str, npt.NDArray] = field(default_factory=dict)
    geometry: npt.NDArray | None = None
    unit: str = "ADC"
    ignored: dict[str, str] = field(default_factory=dict)


class _Misfit(Exception):
    """Why an array does not fit the images that it lies next to."""


def _read_companions(
    members: Mapping[str, Member], count: int, entries: Entries | None, channels: int, labels: No | None, events: No | None
) -> _Companions:
    """Read what lies next to ``count`` images.

    ``entries`` are the images that are used; None if arrays have no row for each image.
    """
    companions = _Companions()
    numbers: dict[str, npt.NDArray] = {}
    for key, member in members.items():
        kind, _, label = key.partition("/")
        try:
            if key == "unit":
                companions.unit = _read_unit(member)
            elif key == "ids":
                companions.ids = _make_names(_read_rows(member, count, entries))
            elif key == "geometry":
                companions.geometry = _read_geometry(member, count, channels)
            elif key in COLUMNS and events != "none":
                numbers[key] = _read_events(key, member, count, entries)
            elif kind == "labels" and labels != "none":
                companions.labels[label or kind] = _read_rows(member, count, entries)
        except _Misfit as misfit:
            companions.ignored[key] = str(misfit)
    companions.events = find_events(numbers, count)
    return companions


def _read_rows(member: Member, count: int, entries: Entries | None) -> npt.NDArray:
    """Read numbers or text, one or a row of them for each image."""
    if member.refusal:
        raise member.refusal
    if member.problem:
        raise _Misfit(member.problem)
    if entries is None:
        raise _Misfit("images are arrays of their own here, which no row belongs to")
    if not member.shape or member.shape[0] != count:
        raise _Misfit(f"of shape {member.shape} for {count} images")
    if len(member.shape) > 2 or member.dtype.kind not in NUMBERS + TEXT:
        raise _Misfit(f"{member}, expected one number or text for each image, or a row of them")
    refuse_larger_than_memory([(member.shape, max(member.dtype.itemsize, 1))])
    if member.written and not member.written(0)[entries].all():
        raise _Misfit("never written for some of the images, so HDF5 would give zeros")
    try:
        return to_native(member.read(...))
    except UnicodeDecodeError:
        raise _Misfit("text in another encoding than UTF-8") from None


def _make_names(values: npt.NDArray) -> npt.NDArray[np.str_]:
    """Make one text for each image; several numbers become "run/subrun/event"."""
    if values.dtype.kind == "f":
        if not np.all(np.isfinite(values) & (values == np.rint(values))):
            raise _Misfit("numbers that are not whole")
        values = values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] > 3:
        raise _Misfit(f"{values.shape[1]} values for each image, expected run, subrun and event at most")
    values = values.astype(str)
    return values if values.ndim == 1 else np.array(["/".join(row) for row in values.tolist()])


def _read_events(key: str, member: Member, count: int, entries: Entries | None) -> npt.NDArray:
    """Read what identifies events: one or more columns, or records of run, subrun and event."""
    if member.dtype.names and {"run", "subrun", "event"} <= set(member.dtype.names) and member.shape == (count,):
        return member.read(...)
    values = _read_rows(member, count, entries)
    values = values[:, 0] if values.shape == (count, 1) else values
    names = _make_names(values)
    if values.dtype.kind in TEXT:
        return names
    if values.shape != (count, 3) and key not in ("run", "subrun") and count > 1 and not values.any():
        raise _Misfit("0 for all images, as if never set")
    if values.shape not in ((count,), (count, 3)):
        return names
    return values.astype(np.int64) if values.dtype.kind in "bf" else values


def _read_geometry(member: Member, count: int, channels: int) -> npt.NDArray[np.float64]:
    """Read the geometry, (N, C, 4)."""
    if member.refusal:
        raise member.refusal
    if member.problem or member.shape != (count, channels, 4) or member.dtype.kind != "f":
        raise _Misfit(member.problem or f"{member}, expected floats of shape {(count, channels, 4)}")
    refuse_larger_than_memory([(member.shape, 8)])
    return to_native(member.read(...)).astype(np.float64)


def _read_unit(member: Member) -> str:
    if member.refusal:
        raise member.refusal
    if member.problem or prod(member.shape) != 1 or member.dtype.kind not in TEXT:
        raise _Misfit(member.problem or f"{member}, expected one text")
    return to_text(member.read(...))
