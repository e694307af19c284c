"""Labels of images from the particles of their events, as LArCV files list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.planes import only

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


def producer_of(producers: Sequence[str], labels: str | None, name: str) -> str | None:
    """Whose particles are the labels: the only producer's, if none is named. UserError for one that is not there."""
    if labels == NONE or (labels is None and len(producers) != 1):
        return None
    return only("labels", list(producers), labels, name)


def join(wanted: npt.NDArray[np.str_], found: npt.NDArray[np.str_], member: Callable[[str], Any | None]) -> Mapping[str, npt.NDArray]:
    """Labels (N,) of the events ``wanted``: what MEMBERS says, ``momentum`` where its parts are there, and ``particles``, how many there
    are. 0 for an event without a particle.

    found: (E,) ids of the events that particles are listed for. member: a name to that member of each event's particles, or None. A member
    with a value that is not finite, as of memory that nobody set, is left out.
    """
    row = {event: k for k, event in enumerate(found.tolist())}
    at = [row.get(event, -1) for event in wanted.tolist()]
    members = {label: values for label in MEMBERS if (values := member(label)) is not None}
    if not members:
        return {}
    any_member = next(iter(members.values()))
    counts = np.array([len(any_member[k]) if k >= 0 else 0 for k in at], np.int64)
    labels: dict[str, npt.NDArray] = {"particles": counts}
    for label, values in members.items():
        first = np.array([values[k][0] if n else 0 for k, n in zip(at, counts, strict=True)], MEMBERS[label])
        if np.isfinite(first).all():
            labels[label] = first
    if {"px", "py", "pz"} <= labels.keys():
        labels["momentum"] = np.sqrt(labels["px"] ** 2 + labels["py"] ** 2 + labels["pz"] ** 2)
    return labels
