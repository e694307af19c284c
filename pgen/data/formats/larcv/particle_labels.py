"""Labels of images from the particles of their events, as files of LArCV and MicroBooNE list them.

A label is never made up. An event whose list of particles is empty has ``particles`` 0 and no other
label; an event without a list has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import select_one
from pgen.errors import DataError, listed

#: Labels of an event's first particle and their types, in the file's own units. Earlier versions
#: lack some, which are left out.
MEMBERS = {"pdg": np.int64, "px": np.float64, "py": np.float64, "pz": np.float64, "energy_init": np.float64, "energy_deposit": np.float64}
#: Names of particles, by PDG number.
NAMES = {
    11: "electron",
    -11: "positron",
    13: "muon",
    -13: "antimuon",
    22: "photon",
    111: "pi0",
    211: "pi+",
    -211: "pi-",
    321: "K+",
    -321: "K-",
    2112: "neutron",
    2212: "proton",
}
#: Value of the option ``labels=`` for no labels.
NONE = "none"
WITHOUT = f"read the images without, by labels={NONE}"


def select_producer(producers: Sequence[str], labels: str | None, name: str) -> str | None:
    """Select whose particles become labels: the requested or the only producer; None for none."""
    if labels == NONE or (labels is None and len(producers) != 1):
        return None
    return select_one("labels", list(producers), labels, name)


def explain_no_labels(producers: Sequence[str], labels: str | None) -> str:
    """Explain why particles give no labels; empty if there are none, or none were requested."""
    if labels == NONE or not producers:
        return ""
    return f"none: particles of {listed(producers)}; choose by labels={producers[0]}"


@dataclass(frozen=True)
class EventLabels:
    """Labels of all events of a file, (E,) each, before images are selected.

    Attributes:
        columns: Name to values. A missing value is 0 here, and never leaves :meth:`select`.
        lacking: Name to (E,) why an event has no value; empty if it has one.
        is_requested: Whether the user asked for labels. If so, events without are skipped; if not,
            labels that some events lack are left out.
        source: Where they come from, as the option ``labels=`` names it.
        note: How events were paired, for people.
    """

    columns: Mapping[str, npt.NDArray] = field(default_factory=dict)
    lacking: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    is_requested: bool = False
    source: str = ""
    note: str = ""

    def skips(self, events: int, name: str) -> npt.NDArray[np.str_]:
        """Return (E,) why events are skipped for lack of labels; empty for those that are not.

        Raises:
            DataError: If all events would be skipped.
        """
        reasons = np.full(events, "", dtype="U80")
        if self.is_requested:
            for lacking in self.lacking.values():
                reasons = np.where(reasons == "", lacking, reasons)
        if events and np.all(reasons != ""):
            raise DataError(f"{name}: no event has labels of {self.source!r} ({reasons[0]}); {WITHOUT}.")
        return reasons

    def select(self, entries: npt.NDArray[np.int64]) -> tuple[dict[str, npt.NDArray], str]:
        """Return the labels that all these events have, and a note on what is left out."""
        labels = {name: values[entries] for name, values in self.columns.items() if not np.any(self.lacking[name][entries] != "")}
        notes = [self.note] if self.note else []
        if dropped := [name for name in self.columns if name not in labels]:
            lacking = self.lacking[dropped[-1]][entries]
            reasons, counts = np.unique(lacking[lacking != ""], return_counts=True)
            causes = listed(f"{reason}: {count:,} of {len(entries):,} events" for reason, count in zip(reasons, counts, strict=True))
            notes.append(f"left out {listed(dropped)} ({causes}); labels={self.source} skips these events")
        return labels, "; ".join(notes)


def label_by_first_particle(
    rows: npt.NDArray[np.int64], member: Callable[[str], Any | None], *, is_requested: bool = False, source: str = "", note: str = ""
) -> EventLabels:
    """Label events by MEMBERS and momentum of their first particle, and number of particles.

    A member with a value that is not finite, as of uninitialised memory, is left out.

    Args:
        rows: (E,) position of each event among the lists of particles, -1 if it has none.
        member: Returns a member of each list's particles by its name, or None.
        is_requested: See :class:`EventLabels`.
        source: See :class:`EventLabels`.
        note: See :class:`EventLabels`.
    """
    members = {label: values for label in MEMBERS if (values := member(label)) is not None}
    if not members:
        return EventLabels(note=note)
    any_member = next(iter(members.values()))
    counts = np.array([len(any_member[k]) if k >= 0 else 0 for k in rows], np.int64)
    unlisted = np.where(rows < 0, "no list of particles", "")
    empty = np.where((counts == 0) & (rows >= 0), "no particle", unlisted)
    columns: dict[str, npt.NDArray] = {"particles": counts}
    for label, values in members.items():
        first = np.array([values[k][0] if n else 0 for k, n in zip(rows, counts, strict=True)], MEMBERS[label])
        if np.isfinite(first).all():
            columns[label] = first
    if {"px", "py", "pz"} <= columns.keys():
        columns["momentum"] = np.sqrt(columns["px"] ** 2 + columns["py"] ** 2 + columns["pz"] ** 2)
    return EventLabels(columns, {label: unlisted if label == "particles" else empty for label in columns}, is_requested, source, note)


def pair_entries(images: npt.NDArray[np.str_], lists: npt.NDArray[np.str_], name: str) -> tuple[npt.NDArray[np.int64], str]:
    """Pair the events of two tables of one file as LArCV does: entry i of either is event i.

    Args:
        images: (E,) events of the images, as :func:`pgen.data.events.event_names` returns them.
        lists: (L,) events of the lists of particles.
        name: What the user typed.

    Returns:
        (E,) the list of each event, -1 if it has none; and how they were paired, for people, if not
        by equal entries.

    Raises:
        DataError: If event numbers contradict the order of entries, or do not say which belong
            together.
    """
    if len(images) != len(lists):
        return _pair_numbers(images, lists, name)
    differ = (images != lists) & (images != "") & (lists != "")
    if not differ.any():
        return np.arange(len(images)), "" if np.array_equal(images, lists) else "paired by entry: not all events are numbered"
    # A number that the other table has in another entry contradicts the order; one that it lacks
    # says nothing.
    if not (set(images[differ].tolist()) & set(lists.tolist())) | (set(lists[differ].tolist()) & set(images.tolist())):
        k = int(differ.argmax())
        return np.arange(len(images)), f"paired by entry, though event numbers differ ({lists[k]} for image {images[k]})"
    if len(set(lists.tolist())) == len(lists) and set(images.tolist()) == set(lists.tolist()) and "" not in set(lists.tolist()):
        return _pair_numbers(images, lists, name)[0], "paired by event number: entries come in another order"
    raise DataError(
        f"{name}: its particles and images list the same events in other entries (event {lists[differ][0]} where the image is of "
        f"{images[differ][0]}), so that labels cannot be paired; {WITHOUT}."
    )


def _pair_numbers(images: npt.NDArray[np.str_], lists: npt.NDArray[np.str_], name: str) -> tuple[npt.NDArray[np.int64], str]:
    """Pair events only by their numbers, which must be unique."""
    counted = f"{len(images):,} events of images and {len(lists):,} of particles"
    row = {event: k for k, event in enumerate(lists.tolist()) if event}
    if len(row) < len(lists) or "" in set(images.tolist()):
        raise DataError(f"{name}: holds {counted}, whose numbers do not say which belong together; {WITHOUT}.")
    rows = np.array([row.get(event, -1) for event in images.tolist()], np.int64)
    if np.all(rows < 0):
        raise DataError(f"{name}: holds {counted}, none of which are the same; {WITHOUT}.")
    return rows, f"paired by event number: {counted}"
