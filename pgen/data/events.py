"""Which event an image belongs to.

An event is named "run/subrun/event" wherever these are known: one name is one event, in whatever
file it comes. Where they are unknown, an image is an event of its own, named by its file and its
position there. Ids are unique ("7/1/3#2"), events need not be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.errors import ConfigError

Names = npt.NDArray[np.str_]
#: What identifies an event, as the option ``events=`` of every source: its number; its number
#: within a file, if files number their events independently; or each image by itself, if numbers
#: mean nothing.
Naming = Literal["number", "file", "entry"]
#: Columns of other programs' files that number events: names, (N, 3) numbers, or one column for
#: each of run, subrun and event.
COLUMNS = ("events", "event_id", "run_subrun_event", "run", "subrun", "event")
#: What LArCV and others write for a number that was never set.
UNSET = (2**31 - 1, 2**32 - 1, 2**63 - 1)


def event_names(run: npt.NDArray, subrun: npt.NDArray, number: npt.NDArray) -> Names:
    """Name events "run/subrun/event", (N,).

    The name is empty if a number is negative or unset, or if all events of the file are 0/0/0.
    """
    columns = [np.asarray(column).reshape(-1) for column in (run, subrun, number)]
    is_known = np.ones(len(columns[0]), bool)
    for column in columns:
        is_known &= (column >= 0) & (column <= 2**63 - 1)
        for placeholder in UNSET:
            is_known &= column != placeholder
    if not any(np.any(column[is_known]) for column in columns):
        is_known[:] = False
    numbers = zip(is_known, *(column.tolist() for column in columns), strict=True)
    return np.array(["/".join(map(str, event)) if has_name else "" for has_name, *event in numbers], dtype=str)


def unique_ids(names: Names) -> Names:
    """Make names unique: the second and later of one kind get "#2", "#3", ..."""
    taken = set(names.tolist())
    if len(taken) == len(names):
        return names
    counts: dict[str, int] = {}
    ids: list[str] = []
    for name in names.tolist():
        count = counts[name] = counts.get(name, 0) + 1
        while count > 1 and f"{name}#{count}" in taken:
            count = counts[name] = counts[name] + 1
        ids.append(name if count == 1 else f"{name}#{count}")
    return np.array(ids, dtype=str)


def entry_ids(names: Names) -> Names:
    """Make unique ids for the entries of a file: their events, or else their positions."""
    return unique_ids(np.where(names == "", np.arange(len(names)).astype(str), names))


def find_events(columns: Mapping[str, Any], count: int) -> Names | None:
    """Name the events of ``count`` images by the COLUMNS of a file; None if it has none."""
    arrays = {key: np.asarray(columns[key]) for key in COLUMNS if columns.get(key) is not None}
    fitting = {key: values for key, values in arrays.items() if values.shape[:1] == (count,)}
    for key in ("events", "event_id", "run_subrun_event"):
        values = fitting.get(key)
        if values is not None and values.dtype.names and {"run", "subrun", "event"} <= set(values.dtype.names):
            return event_names(values["run"], values["subrun"], values["event"])
        if values is not None and values.shape == (count, 3) and _is_whole(values):
            return event_names(*values.astype(np.int64).T)
    if "events" in arrays:
        return arrays["events"]
    if "event" in fitting and all(values.ndim == 1 and _is_whole(values) for values in fitting.values()):
        zeros = np.zeros(count, np.int64)
        return event_names(*(fitting.get(key, zeros).astype(np.int64) for key in ("run", "subrun", "event")))
    return None


def _is_whole(values: npt.NDArray) -> bool:
    """Whether all values are whole numbers, of integer or float type."""
    return values.dtype.kind in "iu" or (
        values.dtype.kind == "f" and bool(np.isfinite(values).all() and np.all(values == np.floor(values)))
    )


def strip_unique_suffix(names: Names) -> Names:
    """Restore events of an earlier pgen, which made them unique too: "7/1/3#2" is event 7/1/3."""
    if names.ndim != 1 or not np.any(np.char.find(names, "#") >= 0):
        return names
    return np.array([re.sub(r"^(\d+/\d+/\d+)#\d+$", r"\1", name) for name in names.tolist()], dtype=str)


def rename_events(events: Names, ids: Names, files: Names | str, naming: Naming) -> Names:
    """Rename events, (N,), by ``naming``; ``files`` is the file of each image, or of all."""
    if naming == "number":
        return events
    names = ids if naming == "entry" else events
    prefix = np.char.add(files, "/")
    return np.where(np.char.startswith(names, prefix), names, np.char.add(prefix, names))


def describe_names(names: Names) -> str:
    """Describe how events were identified, for people; ``names`` are from :func:`event_names`."""
    unknown = int(np.sum(names == ""))
    if unknown == names.size:
        return "one per image (no run/subrun/event in the file)"
    sample = names[names != ""][:100]
    kind = "run/subrun/event" if all(re.fullmatch(r"\d+/\d+/\d+", name) for name in sample.tolist()) else "as named in the file"
    return f"{kind}, and one per image for {unknown:,} without" if unknown else kind


def parse_naming(text: str, src: str) -> Naming:
    """Parse the option ``events=``; none means entry."""
    if text == "none":
        return "entry"
    if text not in ("number", "file", "entry"):
        raise ConfigError(f"{src}: events={text} is unknown; expected number, file or entry (none means entry).")
    return text  # type: ignore[return-value]
