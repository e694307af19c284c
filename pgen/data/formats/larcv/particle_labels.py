"""Labels of images from the particles of their events, as LArCV files and MicroBooNE's tables list them.

A label is never made up. An event whose list of particles is empty has ``particles`` 0 and no other label; one that has no list has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats.larcv.planes import only
from pgen.errors import PgenError, listed

#: Labels, and the type of each: of an event's first particle, in the file's own units. Members grow with versions; what is not there is
#: left out.
MEMBERS = {"pdg": np.int64, "px": np.float64, "py": np.float64, "pz": np.float64, "energy_init": np.float64, "energy_deposit": np.float64}
#: What particles are called, by their PDG numbers.
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
#: How a source says that it wants no labels.
NONE = "none"
WITHOUT = f"read the images without, by labels={NONE}"


def producer_of(producers: Sequence[str], labels: str | None, name: str) -> str | None:
    """Whose particles are the labels: the only producer's, if none is named. UserError for one that is not there."""
    if labels == NONE or (labels is None and len(producers) != 1):
        return None
    return only("labels", list(producers), labels, name)


def not_chosen(producers: Sequence[str], labels: str | None) -> str:
    """Why a file with particles has no labels, for people; empty where it has none, or none were wanted."""
    if labels == NONE or not producers:
        return ""
    return f"none: particles of {listed(producers)}; choose by labels={producers[0]}"


@dataclass(frozen=True)
class Labels:
    """Labels of all events of a file, (E,) each, before images are chosen.

    Attributes:
        columns: Name -> values. What an event lacks is 0 here, and never leaves :meth:`of`.
        lacking: Name of a label -> (E,) why an event has no value of it; empty where it has one.
        asked: Whether the user asked for them: events without are then skipped, else labels are left out.
        source: Where they come from, as the option ``labels=`` names it.
        note: How events were paired, for people.
    """

    columns: Mapping[str, npt.NDArray] = field(default_factory=dict)
    lacking: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    asked: bool = False
    source: str = ""
    note: str = ""

    def skips(self, events: int, name: str) -> npt.NDArray[np.str_]:
        """(E,) why events are skipped for lack of labels; empty for those that are not. UserError where none has any."""
        reasons = np.full(events, "", dtype="U80")
        if self.asked:
            for why in self.lacking.values():
                reasons = np.where(reasons == "", why, reasons)
        if events and np.all(reasons != ""):
            raise PgenError(f"{name}: no event has labels of {self.source!r} ({reasons[0]}); {WITHOUT}.")
        return reasons

    def of(self, entries: npt.NDArray[np.int64]) -> tuple[dict[str, npt.NDArray], str]:
        """The labels of these events, each only if all of them have it, and for people where they come from and what was left out."""
        kept = {name: values[entries] for name, values in self.columns.items() if not np.any(self.lacking[name][entries] != "")}
        notes = [self.note] if self.note else []
        if dropped := [name for name in self.columns if name not in kept]:
            why = self.lacking[dropped[-1]][entries]
            reasons, counts = np.unique(why[why != ""], return_counts=True)
            causes = listed(f"{reason}: {count:,} of {len(entries):,} events" for reason, count in zip(reasons, counts, strict=True))
            notes.append(f"left out {listed(dropped)} ({causes}); labels={self.source} skips these events")
        return kept, "; ".join(notes)


def first_particles(
    rows: npt.NDArray[np.int64], member: Callable[[str], Any | None], *, asked: bool = False, source: str = "", note: str = ""
) -> Labels:
    """What MEMBERS says of each event's first particle, ``momentum`` where its parts are there, and ``particles``, how many there are.

    Args:
        rows: (E,) each event's place among the lists of particles, -1 where it has none.
        member: A name to that member of each list's particles, or None.
        asked, source, note: See :class:`Labels`.

    A member with a value that is not finite, as of memory that nobody set, is left out.
    """
    members = {label: values for label in MEMBERS if (values := member(label)) is not None}
    if not members:
        return Labels(note=note)
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
    return Labels(columns, {label: unlisted if label == "particles" else empty for label in columns}, asked, source, note)


def pair_entries(images: npt.NDArray[np.str_], lists: npt.NDArray[np.str_], name: str) -> tuple[npt.NDArray[np.int64], str]:
    """Pair the events of two tables of one file as LArCV does: entry i of either is event i.

    Args:
        images, lists: (E,) and (L,) the events of the entries, as :func:`pgen.data.events.event_names` gives them.

    Returns:
        (E,) the list of each event, -1 where it has none, and for people how they were paired where that is not by equal entries.

    Raises:
        UserError: Numbers contradict the order of entries, or do not say which belong together.
    """
    if len(images) != len(lists):
        return _pair_numbers(images, lists, name)
    differ = (images != lists) & (images != "") & (lists != "")
    if not differ.any():
        return np.arange(len(images)), "" if np.array_equal(images, lists) else "paired by entry: not all events are numbered"
    # A number that the other table has too, in another entry, contradicts the order; one that it does not have says nothing.
    if not (set(images[differ].tolist()) & set(lists.tolist())) | (set(lists[differ].tolist()) & set(images.tolist())):
        k = int(differ.argmax())
        return np.arange(len(images)), f"paired by entry, though event numbers differ ({lists[k]} for image {images[k]})"
    if len(set(lists.tolist())) == len(lists) and set(images.tolist()) == set(lists.tolist()) and "" not in set(lists.tolist()):
        return _pair_numbers(images, lists, name)[0], "paired by event number: entries come in another order"
    raise PgenError(
        f"{name}: its particles and images list the same events in other entries (event {lists[differ][0]} where the image is of "
        f"{images[differ][0]}), so that labels cannot be paired; {WITHOUT}."
    )


def _pair_numbers(images: npt.NDArray[np.str_], lists: npt.NDArray[np.str_], name: str) -> tuple[npt.NDArray[np.int64], str]:
    """The same by event numbers alone, which must be unique."""
    counted = f"{len(images):,} events of images and {len(lists):,} of particles"
    row = {event: k for k, event in enumerate(lists.tolist()) if event}
    if len(row) < len(lists) or "" in set(images.tolist()):
        raise PgenError(f"{name}: holds {counted}, whose numbers do not say which belong together; {WITHOUT}.")
    rows = np.array([row.get(event, -1) for event in images.tolist()], np.int64)
    if np.all(rows < 0):
        raise PgenError(f"{name}: holds {counted}, none of which are the same; {WITHOUT}.")
    return rows, f"paired by event number: {counted}"
