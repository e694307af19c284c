"""Which event an image belongs to.

An event is named "run/subrun/event" wherever these are known: the same name is the same event, in whatever file it comes. Where they are
not known an image is an event of its own, named by its file and its place there. Ids are unique ("7/1/3#2"), events need not be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.errors import PgenError

Names = npt.NDArray[np.str_]
#: What makes an event, as the option ``events=`` of every source: its number; its number within a file, where files number their events
#: independently; or each image for itself, where numbers mean nothing.
Naming = Literal["number", "file", "entry"]
#: Columns of foreign files that number events: one name each, (N, 3), or one column for run, subrun and event.
COLUMNS = ("events", "event_id", "run_subrun_event", "run", "subrun", "event")
#: What LArCV and others write for a number that was never set.
UNSET = (2**31 - 1, 2**32 - 1, 2**63 - 1)


def event_names(run: npt.NDArray, subrun: npt.NDArray, number: npt.NDArray) -> Names:
    """(N,) "run/subrun/event"; empty for an event without numbers: one of them negative or unset, or 0/0/0 throughout the file."""
    numbers = [np.asarray(column).reshape(-1) for column in (run, subrun, number)]
    known = np.ones(len(numbers[0]), bool)
    for column in numbers:
        known &= (column >= 0) & (column <= 2**63 - 1)
        for placeholder in UNSET:
            known &= column != placeholder
    if not any(np.any(column[known]) for column in numbers):
        known[:] = False
    columns = [column.tolist() for column in numbers]
    return np.array(["/".join(map(str, event)) if ok else "" for ok, *event in zip(known, *columns, strict=True)], dtype=str)


def unique_ids(names: Names) -> Names:
    """Names, of which the second and later of one kind get "#2", "#3", ..."""
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
    """Unique ids of a file's entries: their events, or their places in the file where these have no names."""
    return unique_ids(np.where(names == "", np.arange(len(names)).astype(str), names))


def events_in(columns: Mapping[str, Any], count: int) -> Names | None:
    """The events of ``count`` images by the columns of a foreign file, see COLUMNS; None where it has none."""
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
    """Whether these are whole numbers, as floats too."""
    return values.dtype.kind in "iu" or (
        values.dtype.kind == "f" and bool(np.isfinite(values).all() and np.all(values == np.floor(values)))
    )


def named_as_stored(names: Names) -> Names:
    """Events as an earlier pgen stored them: it made these unique too, so that "7/1/3#2" was no longer the event 7/1/3."""
    if names.ndim != 1 or not np.any(np.char.find(names, "#") >= 0):
        return names
    return np.array([re.sub(r"^(\d+/\d+/\d+)#\d+$", r"\1", name) for name in names.tolist()], dtype=str)


def renamed(events: Names, ids: Names, files: Names | str, naming: Naming) -> Names:
    """Events by ``naming``. files: the file that each image, or all of them, come from."""
    if naming == "number":
        return events
    names = ids if naming == "entry" else events
    of_file = np.char.add(files, "/")
    return np.where(np.char.startswith(names, of_file), names, np.char.add(of_file, names))


def about_events(names: Names) -> str:
    """How events were told apart, for people. names: as :func:`event_names` gives them."""
    unknown = int(np.sum(names == ""))
    if unknown == names.size:
        return "one per image (no run/subrun/event in the file)"
    known = names[names != ""][:100]  # enough to tell by
    what = "run/subrun/event" if all(re.fullmatch(r"\d+/\d+/\d+", name) for name in known.tolist()) else "as named in the file"
    return f"{what}, and one per image for {unknown:,} without" if unknown else what


def check_naming(text: str, src: str) -> Naming:
    """The value of the option ``events=``; none means entry."""
    if text == "none":
        return "entry"
    if text not in ("number", "file", "entry"):
        raise PgenError(f"{src}: events={text} is not known, wanted number, file or entry (none means entry).")
    return text  # type: ignore[return-value]
