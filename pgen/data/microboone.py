"""Wire images of MicroBooNE's open data sets (HDF5, those "with wire"), by the tables' documented columns: arXiv:2309.15362."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.planes import event_ids
from pgen.data.reading import Handle, LazyImages, reading
from pgen.errors import UserError

WHAT = "MicroBooNE open data (HDF5)"
WIRES = (2400, 2400, 3456)  #: of planes 0 and 1 (induction) and 2 (collection)
LABELS = ("is_cc", "nu_pdg", "nu_energy", "lep_energy")  #: one number an event, energies in GeV
ROWS = 256  #: wires read at a time


def is_microboone(file: Any) -> bool:
    """Whether an open HDF5 file has waveforms of wires."""
    return "wire_table/adc" in file


def open_microboone(
    path: Path, name: str, *, plane: int = 2, ticks: int = 6, threshold: float = 10.0, saturation: float = 100.0, signed: bool = False
) -> LazyImages:
    """An ImageSet of one image an event: row = ``ticks`` ticks added up (what remains of the 6,400 is dropped), column = wire.

    ``plane``: 0 or 1 (induction, 2,400 wires) or 2 (collection, 3,456). Sums below ``threshold`` ADC become 0, negative ones too, and sums
    above ``saturation`` become that; if ``signed``, both go by the magnitude of a sum, which keeps its sign. Wires that the file does not
    list are 0. Labels of the event's neutrino are read where they are there: is_cc, nu_pdg, nu_energy, lep_energy (GeV). UserError if no
    event has a wire of the plane, or wires are doubled or out of range.
    """
    import h5py

    if plane not in range(len(WIRES)):
        raise UserError(f"{name}: plane={plane} is not there, wanted 0 or 1 (induction) or 2 (collection).")
    handle: Handle[Any] = Handle(lambda: h5py.File(path, "r"))
    with reading(name, WHAT):
        table = handle()["wire_table"]
        wire, of_plane, identity = (table[key][:] for key in ("local_wire", "local_plane", "event_id"))
        wire, of_plane, identity = wire.reshape(-1).astype(np.int64), of_plane.reshape(-1), identity.reshape(-1, 3)
        adc = table["adc"]
        if adc.ndim != 2 or not len(adc) == len(wire) == len(of_plane) == len(identity):
            raise UserError(f"{name}: its wire_table has columns of different lengths; the file is damaged. Fetch it again.")
        rows = adc.shape[1] // ticks if ticks > 0 else 0
        if not rows:
            raise UserError(f"{name}: ticks={ticks} cannot be added up, wanted a number from 1 to {adc.shape[1]}.")
        at = np.flatnonzero(of_plane == plane)
        if np.any((wire[at] < 0) | (wire[at] >= WIRES[plane])):
            raise UserError(f"{name}: a wire of plane {plane} is none of its {WIRES[plane]}; the file is damaged. Fetch it again.")
        events, first, event = np.unique(identity, axis=0, return_index=True, return_inverse=True)
        event = event.reshape(-1)
        # In the file's order, not in that of the numbers.
        order = np.argsort(first)
        rank = np.argsort(order)
        events, event = events[order], rank[event[at]]
        if len(np.unique(event * WIRES[plane] + wire[at])) < len(at):
            raise UserError(f"{name}: an event lists a wire of plane {plane} twice; the file is damaged. Fetch it again.")
        # The table's rows of each event, in the file's order.
        rows_of = np.split(at[np.argsort(event, kind="stable")], np.cumsum(np.bincount(event, minlength=len(events)))[:-1])
        kept = np.flatnonzero([len(each) > 0 for each in rows_of])
        if not len(kept):
            raise UserError(f"{name}: found {len(events)} events and no wire of plane {plane} in any; choose another plane=.")
        labels = _labels(handle().get("event_table", {}), events[kept])

    def picture(at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        image = np.zeros((rows, WIRES[plane]), np.float32)
        adc = handle()["wire_table/adc"]
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

    return LazyImages(
        window,
        (1, rows, WIRES[plane]),
        name=name,
        entries=kept,
        ids=event_ids(*events[kept].T),
        labels=labels,
        skipped=len(events) - len(kept),
        about={"format": WHAT, "plane": plane, "ticks": ticks, "threshold": threshold, "saturation": saturation, "signed": signed},
    )


def _labels(table: Any, events: npt.NDArray) -> Mapping[str, npt.NDArray]:
    """Those of LABELS that the table of events has, joined by run, subrun and event; none if an event is not in it."""
    if "event_id" not in table:
        return {}
    row = {tuple(event): k for k, event in enumerate(table["event_id"][:].reshape(-1, 3).tolist())}
    at = [row.get(tuple(event), -1) for event in events.tolist()]
    if -1 in at:
        return {}
    return {label: table[label][:].reshape(len(row))[at] for label in LABELS if label in table}
