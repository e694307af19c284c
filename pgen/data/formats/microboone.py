"""Wire images of MicroBooNE's open data sets (HDF5, those "with wire"), by the tables' documented columns: arXiv:2309.15362."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, reading
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.data.formats.larcv.particle_labels import NONE, WITHOUT, Labels
from pgen.data.skipped import Skipped
from pgen.errors import PgenError, listed

WHAT = "MicroBooNE open data (HDF5)"
WIRES = (2400, 2400, 3456)  #: of planes 0 and 1 (induction) and 2 (collection)
LABELS = ("is_cc", "nu_pdg", "nu_energy", "lep_energy")  #: one number an event, energies in GeV
ROWS = 256  #: wires read at a time


def is_microboone(file: Any) -> bool:
    """Whether an open HDF5 file has waveforms of wires."""
    return "wire_table/adc" in file


def open_microboone(
    path: Path,
    name: str,
    *,
    plane: int = 2,
    ticks: int = 6,
    threshold: float = 10.0,
    saturation: float = 100.0,
    signed: bool = False,
    labels: Literal["event_table", "none"] | None = None,
) -> LazyImages:
    """An ImageSet of one image an event: row = ``ticks`` ticks added up (what remains of the 6,400 is dropped), column = wire.

    ``plane``: 0 or 1 (induction, 2,400 wires) or 2 (collection, 3,456). Sums below ``threshold`` ADC become 0, negative ones too, and sums
    above ``saturation`` become that; if ``signed``, both go by the magnitude of a sum, which keeps its sign. Wires that the file does not
    list are 0. Labels of the event's neutrino are read where the table of events has all events:
    is_cc, nu_pdg, nu_energy, lep_energy (GeV). ``labels``: event_table skips events that it lacks, none reads no labels. Events with a wire
    that is doubled or out of range are skipped. UserError if no event has a wire of the plane.
    """
    if plane not in range(len(WIRES)):
        raise PgenError(f"{name}: plane={plane} is not there, wanted 0 or 1 (induction) or 2 (collection).")
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, WHAT))
    with reading(name, WHAT):
        table = handle()["wire_table"]
        wire, of_plane, identity = (table[key][:] for key in ("local_wire", "local_plane", "event_id"))
        wire, of_plane, identity = wire.reshape(-1).astype(np.int64), of_plane.reshape(-1), identity.reshape(-1, 3)
        adc = table["adc"]
        if adc.ndim != 2 or not len(adc) == len(wire) == len(of_plane) == len(identity):
            raise PgenError(f"{name}: its wire_table has columns of different lengths; the file is damaged. Fetch it again.")
        rows = adc.shape[1] // ticks if ticks > 0 else 0
        if not rows:
            raise PgenError(f"{name}: ticks={ticks} cannot be added up, wanted a number from 1 to {adc.shape[1]}.")
        at = np.flatnonzero(of_plane == plane)
        events, first, event = np.unique(identity, axis=0, return_index=True, return_inverse=True)
        event = event.reshape(-1)
        # In the file's order, not in that of the numbers.
        order = np.argsort(first)
        rank = np.argsort(order)
        events, event = events[order], rank[event[at]]
        names = event_names(*events.T)
        reasons = np.full(len(events), "", dtype="U80")
        reasons[np.bincount(event, minlength=len(events)) == 0] = f"no wire of plane {plane}"
        outside = (wire[at] < 0) | (wire[at] >= WIRES[plane])
        reasons[event[outside]] = f"wires beyond the {WIRES[plane]} of plane {plane}"
        order_of_wires = np.lexsort((wire[at], event))
        repeats = (np.diff(event[order_of_wires]) == 0) & (np.diff(wire[at][order_of_wires]) == 0)
        reasons[event[order_of_wires][1:][repeats]] = f"a wire of plane {plane} twice"
        odd = (reasons != "") & (np.bincount(event, minlength=len(events)) > 0)
        # The table's rows of each event, in the file's order.
        rows_of = np.split(at[np.argsort(event, kind="stable")], np.cumsum(np.bincount(event, minlength=len(events)))[:-1])
        if not len(at):
            raise PgenError(f"{name}: found {len(events)} events and no wire of plane {plane} in any; choose another plane=.")
        if np.all(reasons != ""):
            raise PgenError(f"{name}: no event can be read ({listed(dict.fromkeys(reasons[odd].tolist()))}); the file is damaged.")
        of_events = _labels(handle().get("event_table", {}), names, labels, name)
        reasons = np.where(reasons == "", of_events.skips(len(events), name), reasons)
        kept = np.flatnonzero(reasons == "")

    def picture(at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        image = np.zeros((rows, WIRES[plane]), np.float32)
        adc = handle().dataset("wire_table/adc")
        for begin in range(int(at[0]), int(at[-1]) + 1, ROWS):
            here = at[(at >= begin) & (at < begin + ROWS)]
            if len(here):
                waves = adc[begin : min(begin + ROWS, len(adc))][here - begin, : rows * ticks].astype(np.float32)
                image[:, wire[here]] = waves.reshape(len(here), rows, ticks).sum(2).T
        if signed:
            return np.where(np.abs(image) < threshold, 0, np.clip(image, -saturation, saturation)).astype(np.float32)
        return np.where(image < threshold, 0, np.minimum(image, saturation)).astype(np.float32)

    def window(start: int, stop: int) -> npt.NDArray[np.float32]:
        with reading(name, WHAT):
            return np.stack([picture(rows_of[entry]) for entry in range(start, stop)])[:, None]

    values, note = of_events.of(kept)
    about = {"format": WHAT, "plane": plane, "ticks": ticks, "threshold": threshold, "saturation": saturation, "signed": signed}
    about |= {"layout": "events, 1, rows, columns", "rows": f"sums of {ticks} ticks", "columns": f"wires of plane {plane}"}
    return LazyImages(
        window,
        (1, rows, WIRES[plane]),
        name=name,
        entries=kept,
        ids=entry_ids(names)[kept],
        events=names[kept],
        labels=values,
        left_out=Skipped.of(reasons, odd),
        about=about | ({"labels_from": note} if note else {}),
    )


def _labels(table: Any, events: npt.NDArray[np.str_], labels: str | None, name: str) -> Labels:
    """Those of LABELS that the table of events has, joined by run, subrun and event."""
    columns = [label for label in LABELS if label in table]
    if labels == NONE or "event_id" not in table or not columns:
        if labels not in (None, NONE):
            raise PgenError(f"{name}: has no event_table with {listed(LABELS)}; {WITHOUT}.")
        return Labels()
    listed_events = event_names(*table["event_id"][:].reshape(-1, 3).T)
    row = {event: k for k, event in enumerate(listed_events.tolist()) if event}
    if len(row) < np.sum(listed_events != ""):
        raise PgenError(f"{name}: its event_table lists an event more than once, so that labels cannot be told apart; {WITHOUT}.")
    rows = np.array([row.get(event, -1) for event in events.tolist()])
    lacking = np.where(rows < 0, "not in event_table", "")
    # The row -1 stands for one that is missing; its value is never used.
    values = {label: np.append(table[label][:].reshape(len(listed_events)), 0)[rows] for label in columns}
    return Labels(values, dict.fromkeys(columns, lacking), asked=labels is not None, source="event_table")
