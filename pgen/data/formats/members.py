"""Which arrays of a file are its images, and what lies next to them: the same rules for npy, npz, torch and HDF5 files."""

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

from pgen.data.events import COLUMNS, events_in
from pgen.data.formats.base import LazyImages, make_window, plain, text
from pgen.data.formats.larcv.planes import only
from pgen.data.formats.layout import Layout
from pgen.data.skipped import Skipped
from pgen.data.transforms.zero_suppression import NOTE
from pgen.errors import ChoiceNeeded, PgenError, listed
from pgen.utils.paths import natural_key
from pgen.utils.untrusted import refuse_larger_than_memory

#: How a source says that it wants no labels, or each image as an event of its own.
No = Literal["none"]
Entries = npt.NDArray[np.int64]
#: Types of numbers, and those of text, by the letters of NumPy.
NUMBERS, TEXT = "biuf", "US"
#: What lies next to images, besides ``labels/NAME``.
COMPANIONS = ("ids", "events", "geometry", "labels", "unit")
#: What numbered arrays are called that belong to one event; others are taken for an event each.
PARTS_OF_EVENTS = re.compile(r"(?<![a-z])(plane|view|channel|chan|ch|layer|apa|tpc|crate|arr)s?[^a-z]*\*", re.IGNORECASE)
#: What arrays of vectors are called, and the columns that a table has but no image.
VECTORS, FEW_COLUMNS = ("codes",), 4
#: Bytes that the ids of an image take, at least.
ID_BYTES = 64


@dataclass(frozen=True)
class Member:
    """An array of a file, which is read when it is needed."""

    shape: tuple[int, ...]
    dtype: np.dtype  #: of what is read; U for text
    read: Callable[[Any], npt.NDArray]  #: takes an index, such as a slice or ``...``
    problem: str = ""  #: why it is left alone, where it is
    refusal: PgenError | None = None  #: raised where it would have to be read
    written: Callable[[int], npt.NDArray[np.bool_]] | None = None  #: along an axis at which places values were written; None: at all

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def refuse_reading(index: Any) -> npt.NDArray:
    """The ``read`` of a member that is left alone or refused."""
    raise ValueError("an array that is not to be read")


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
    """The images among the arrays of a file, with their ids, events, labels, geometry and unit.

    Args:
        members: Each array by its path in the file.
        path: The file.
        name: What the user typed, for messages.
        option: By which option the user chooses an array; empty where there is only one.
        choice: The value of that option: a path, the last part of several paths, or a pattern of them.
        layout: How the axes lie, see :class:`pgen.data.formats.layout.Layout`.
        labels: "none" for no labels.
        events: "none" for images that are an event each.
        about: What is known of the file.

    Returns:
        The images. What lies next to them and does not fit is left alone, and named in ``about["ignored"]``.

    Raises:
        UserError: Where there are no images, or several arrays that could be meant (ChoiceNeeded).
    """
    order = None if layout is None else Layout.parse(layout, name)
    keys = _choose(members, option, choice, order, name)
    chosen = [members[key] for key in keys]
    for key, member in zip(keys, chosen, strict=True):
        if member.refusal:
            raise member.refusal
        if member.problem:
            raise PgenError(f"{name}: {key} {member.problem}.")
    order = order or _default_layout(keys, chosen[0].shape, name)
    shape, counts = order.image_shape(chosen[0].shape), [order.count(member.shape) for member in chosen]
    for key, member in zip(keys, chosen, strict=True):
        if order.image_shape(member.shape) != shape:
            raise PgenError(f"{name}: {key} is of shape {member.shape} and {keys[0]} of {chosen[0].shape}, wanted images of one size.")
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
    if NOTE in members and members[NOTE].shape == () and members[NOTE].dtype.kind in "iuf":
        facts[NOTE] = float(members[NOTE].read(...))
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
        left_out=Skipped.of(np.where(written, "", "never written"), ~written, "write them"),
        about=facts,
    )


def _choose(members: Mapping[str, Member], option: str, choice: str | None, layout: Layout | None, name: str) -> list[str]:
    """The arrays that hold the images: one of them, or one for each image."""
    ranks = (2, 3, 4) if layout is None else (len(layout.axes),)
    fitting = [key for key, member in members.items() if member.dtype.kind in NUMBERS and len(member.shape) in ranks and not member.problem]
    if choice is None and "images" in members and (members["images"].refusal or members["images"].problem):
        return ["images"]
    if choice is not None:
        path = choice.strip("/")
        if path in members:
            if path not in fitting and not (members[path].problem or members[path].refusal):
                axes = "2 to 4 axes" if layout is None else f"the axes {layout.axes}"
                raise PgenError(f"{name}: {path} is {members[path]}, wanted real numbers with {axes}; give another {option}= or layout=.")
            return [path]
        matches = [key for key in fitting if key.rpartition("/")[2] == path or fnmatchcase(key, path)]
        return sorted(matches, key=natural_key) or [only(option, list(_group_series(fitting)), choice, name)]
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
                return [only(option, [pattern, *others], None, name)]
            if PARTS_OF_EVENTS.search(pattern):
                raise ChoiceNeeded(
                    f"{name}: its {len(candidates)} arrays {pattern} may belong to one event; add {option}={pattern} if each is one image, "
                    f"or choose one, as {option}={candidates[0]}."
                )
            return sorted(candidates, key=natural_key)
    if refusal := next((member.refusal for member in members.values() if member.refusal), None):
        raise refusal
    listing = listed((f"{key} {member}" for key, member in members.items()), empty="nothing")
    raise PgenError(f"{name}: found {listing}, wanted images as an array of real numbers, (N, H, W), (N, C, H, W) or (H, W), see layout=.")


def _group_series(keys: Iterable[str]) -> dict[str, list[str]]:
    """Arrays whose names differ in numbers alone, by a pattern for their names; others by their names."""
    series: dict[str, list[str]] = {}
    for key in keys:
        series.setdefault(re.sub("[0-9]+", "*", key), []).append(key)
    return {pattern if len(members) > 1 else members[0]: members for pattern, members in series.items()}


def _default_layout(keys: Sequence[str], shape: tuple[int, ...], name: str) -> Layout:
    """The layout of arrays of which nothing is known. ChoiceNeeded where several could be meant."""
    if len(shape) == 2 and (keys[0].rpartition("/")[2] in VECTORS or shape[1] <= FEW_COLUMNS):
        raise ChoiceNeeded(
            f"{name}: {keys[0]} of shape {shape} looks like vectors or a table; add layout=hw if it is an image, or give it as --targets."
        )
    if len(shape) == 3 and len(keys) > 1:
        raise ChoiceNeeded(
            f"{name}: {keys[0]} and {len(keys) - 1} others are arrays of shape {shape}; add layout=chw if the first axis counts planes, "
            "layout=nhw if it counts images."
        )
    return Layout.default(shape, name)


def _make_ids(keys: Sequence[str], counts: Sequence[int] | None, path: Path) -> list[str]:
    """Ids of images in arrays of their own: the names of the arrays without their common end, or of a lone one the name of its file.

    Args:
        counts: How many images each array holds, which are numbered then; None for one each.
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
    """What lies next to images, as far as it fits."""

    ids: npt.NDArray | None = None
    events: npt.NDArray | None = None
    labels: dict[str, npt.NDArray] = field(default_factory=dict)
    geometry: npt.NDArray | None = None
    unit: str = "ADC"
    ignored: dict[str, str] = field(default_factory=dict)  #: what does not, and why


class _Misfit(Exception):
    """Why an array does not fit the images that it lies next to."""


def _read_companions(
    members: Mapping[str, Member], count: int, entries: Entries | None, channels: int, labels: No | None, events: No | None
) -> _Companions:
    """What lies next to ``count`` images, of which those at ``entries`` are used; None if no array has a row for each image."""
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
    companions.events = events_in(numbers, count)
    return companions


def _read_rows(member: Member, count: int, entries: Entries | None) -> npt.NDArray:
    """Numbers or text, one or a row of them for each image."""
    if member.refusal:
        raise member.refusal
    if member.problem:
        raise _Misfit(member.problem)
    if entries is None:
        raise _Misfit("images are arrays of their own here, which no row belongs to")
    if not member.shape or member.shape[0] != count:
        raise _Misfit(f"of shape {member.shape} for {count} images")
    if len(member.shape) > 2 or member.dtype.kind not in NUMBERS + TEXT:
        raise _Misfit(f"{member}, wanted one number or text for each image, or a row of them")
    refuse_larger_than_memory([(member.shape, max(member.dtype.itemsize, 1))])
    if member.written and not member.written(0)[entries].all():
        raise _Misfit("never written for some of the images, so HDF5 would give zeros")
    try:
        return plain(member.read(...))
    except UnicodeDecodeError:
        raise _Misfit("text in another encoding than UTF-8") from None


def _make_names(values: npt.NDArray) -> npt.NDArray[np.str_]:
    """A text for each image: of several numbers, as of run, subrun and event, "run/subrun/event"."""
    if values.dtype.kind == "f":
        if not np.all(np.isfinite(values) & (values == np.rint(values))):
            raise _Misfit("numbers that are not whole")
        values = values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] > 3:
        raise _Misfit(f"{values.shape[1]} values for each image, wanted run, subrun and event at most")
    values = values.astype(str)
    return values if values.ndim == 1 else np.array(["/".join(row) for row in values.tolist()])


def _read_events(key: str, member: Member, count: int, entries: Entries | None) -> npt.NDArray:
    """What numbers or names events: one or more columns, or records of run, subrun and event."""
    if member.dtype.names and {"run", "subrun", "event"} <= set(member.dtype.names) and member.shape == (count,):
        return member.read(...)
    values = _read_rows(member, count, entries)
    values = values[:, 0] if values.shape == (count, 1) else values
    names = _make_names(values)
    if values.dtype.kind in TEXT:
        return names
    if values.shape != (count, 3) and key not in ("run", "subrun") and count > 1 and not values.any():
        raise _Misfit("0 for all images, as if nobody had set them")
    if values.shape not in ((count,), (count, 3)):
        return names
    return values.astype(np.int64) if values.dtype.kind in "bf" else values


def _read_geometry(member: Member, count: int, channels: int) -> npt.NDArray[np.float64]:
    """See :func:`pgen.data.images.geometry`."""
    if member.refusal:
        raise member.refusal
    if member.problem or member.shape != (count, channels, 4) or member.dtype.kind != "f":
        raise _Misfit(member.problem or f"{member}, wanted fractional numbers of shape {(count, channels, 4)}")
    refuse_larger_than_memory([(member.shape, 8)])
    return plain(member.read(...)).astype(np.float64)


def _read_unit(member: Member) -> str:
    if member.refusal:
        raise member.refusal
    if member.problem or prod(member.shape) != 1 or member.dtype.kind not in TEXT:
        raise _Misfit(member.problem or f"{member}, wanted one text")
    return text(member.read(...))
