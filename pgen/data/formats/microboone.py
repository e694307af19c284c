"""Wire images of MicroBooNE's open data sets (HDF5, those "with wire"), see arXiv:2309.15362."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.hdf5_safe import Hdf5File, describe_datasets
from pgen.data.formats.larcv.particle_labels import NONE, WITHOUT, EventLabels
from pgen.data.skipped import Skipped
from pgen.errors import DataError, listed

KIND = "MicroBooNE open data (HDF5)"
#: Wires of planes 0 and 1 (induction) and 2 (collection).
WIRES = (2400, 2400, 3456)
#: One number per event, energies in GeV.
LABELS = ("is_cc", "nu_pdg", "nu_energy", "lep_energy")
#: Wires read at a time.
ROWS = 256


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
    """Open one image (1, rows, wires) per event, of sums of ``ticks`` ticks.

    Wires that the file does not list are 0. Events with a wire that occurs twice or is out of range
    are skipped. Labels are the neutrino's is_cc, nu_pdg, nu_energy and lep_energy (GeV), if the
    table of events has all events.

    Args:
        path: The file.
        name: What the user typed.
        plane: 0 or 1 (induction, 2,400 wires) or 2 (collection, 3,456 wires).
        ticks: Ticks summed in a row; the rest of the 6,400 is dropped.
        threshold: Sums below it (ADC), also negative ones, become 0.
        saturation: Sums above it (ADC) become this.
        signed: Whether both go by the magnitude of a sum, which keeps its sign.
        labels: "event_table" skips events that the table lacks, "none" reads no labels.

    Raises:
        DataError: If no event has a wire of the plane, or the file is damaged.
    """
    if plane not in range(len(WIRES)):
        raise DataError(f"{name}: plane={plane} is not there, expected 0 or 1 (induction) or 2 (collection).")
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, KIND))
    with wrap_read_errors(name, KIND):
        table = handle()["wire_table"]
        wire, of_plane, identity = (table[key][:] for key in ("local_wire", "local_plane", "event_id"))
        wire, of_plane, identity = wire.reshape(-1).astype(np.int64), of_plane.reshape(-1), identity.reshape(-1, 3)
        adc = table["adc"]
        if adc.ndim != 2 or not len(adc) == len(wire) == len(of_plane) == len(identity):
            raise DataError(f"{name}: its wire_table has columns of different lengths; the file is damaged. Fetch it again.")
        rows = adc.shape[1] // ticks if ticks > 0 else 0
        if not rows:
            raise DataError(f"{name}: ticks={ticks} cannot be added up, expected a number from 1 to {adc.shape[1]}.")
        selected = np.flatnonzero(of_plane == plane)
        events, first, event = np.unique(identity, axis=0, return_index=True, return_inverse=True)
        event = event.reshape(-1)
        # In the order of the file, not of the numbers.
        order = np.argsort(first)
        rank = np.argsort(order)
        events, event = events[order], rank[event[selected]]
        names = event_names(*events.T)
        reasons = np.full(len(events), "", dtype="U80")
        reasons[np.bincount(event, minlength=len(events)) == 0] = f"no wire of plane {plane}"
        outside = (wire[selected] < 0) | (wire[selected] >= WIRES[plane])
        reasons[event[outside]] = f"wires beyond the {WIRES[plane]} of plane {plane}"
        order_of_wires = np.lexsort((wire[selected], event))
        repeats = (np.diff(event[order_of_wires]) == 0) & (np.diff(wire[selected][order_of_wires]) == 0)
        reasons[event[order_of_wires][1:][repeats]] = f"a wire of plane {plane} twice"
        odd = (reasons != "") & (np.bincount(event, minlength=len(events)) > 0)
        # The table's rows of each event, in the file's order.
        rows_of = np.split(selected[np.argsort(event, kind="stable")], np.cumsum(np.bincount(event, minlength=len(events)))[:-1])
        if not len(selected):
            raise DataError(f"{name}: found {len(events)} events and no wire of plane {plane} in any; choose another plane=.")
        if np.all(reasons != ""):
            raise DataError(f"{name}: no event can be read ({listed(dict.fromkeys(reasons[odd].tolist()))}); the file is damaged.")
        event_labels = _read_labels(handle().get("event_table", {}), names, labels, name)
        reasons = np.where(reasons == "", event_labels.skips(len(events), name), reasons)
        entries = np.flatnonzero(reasons == "")

    def read_image(rows_of_event: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        image = np.zeros((rows, WIRES[plane]), np.float32)
        adc = handle().dataset("wire_table/adc")
        for begin in range(int(rows_of_event[0]), int(rows_of_event[-1]) + 1, ROWS):
            here = rows_of_event[(rows_of_event >= begin) & (rows_of_event < begin + ROWS)]
            if len(here):
                waves = adc[begin : min(begin + ROWS, len(adc))][here - begin, : rows * ticks].astype(np.float32)
                image[:, wire[here]] = waves.reshape(len(here), rows, ticks).sum(2).T
        if signed:
            return np.where(np.abs(image) < threshold, 0, np.clip(image, -saturation, saturation)).astype(np.float32)
        return np.where(image < threshold, 0, np.minimum(image, saturation)).astype(np.float32)

    def window(start: int, stop: int) -> npt.NDArray[np.float32]:
        with wrap_read_errors(name, KIND):
            return np.stack([read_image(rows_of[entry]) for entry in range(start, stop)])[:, None]

    values, note = event_labels.select(entries)
    about = {"format": KIND, "plane": plane, "ticks": ticks, "threshold": threshold, "saturation": saturation, "signed": signed}
    about |= {"layout": "events, 1, rows, columns", "rows": f"sums of {ticks} ticks", "columns": f"wires of plane {plane}"}
    return LazyImages(
        window,
        (1, rows, WIRES[plane]),
        name=name,
        entries=entries,
        ids=entry_ids(names)[entries],
        events=names[entries],
        labels=values,
        left_out=Skipped.from_reasons(reasons, odd),
        about=about | ({"labels_from": note} if note else {}),
    )


def _read_labels(table: Any, events: npt.NDArray[np.str_], labels: str | None, name: str) -> EventLabels:
    """Read those of LABELS that the table of events has, matched by run, subrun and event."""
    columns = [label for label in LABELS if label in table]
    if labels == NONE or "event_id" not in table or not columns:
        if labels not in (None, NONE):
            raise DataError(f"{name}: has no event_table with {listed(LABELS)}; {WITHOUT}.")
        return EventLabels()
    listed_events = event_names(*table["event_id"][:].reshape(-1, 3).T)
    row = {event: k for k, event in enumerate(listed_events.tolist()) if event}
    if len(row) < np.sum(listed_events != ""):
        raise DataError(f"{name}: its event_table lists an event more than once, so that labels cannot be told apart; {WITHOUT}.")
    rows = np.array([row.get(event, -1) for event in events.tolist()])
    lacking = np.where(rows < 0, "not in event_table", "")
    # Row -1 is the appended value, which is never used.
    values = {label: np.append(table[label][:].reshape(len(listed_events)), 0)[rows] for label in columns}
    return EventLabels(values, dict.fromkeys(columns, lacking), is_requested=labels is not None, source="event_table")


FORMAT = Format(
    "microboone", lambda probe: probe.hdf5 is not None and is_microboone(probe.hdf5), open_microboone, contents=describe_datasets
)
