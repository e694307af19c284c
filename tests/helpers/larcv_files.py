"""LArCV files for tests: LArCV3 files of any events, and copies of genuine ROOT files with other event numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import uproot

from pgen.data.formats.larcv.hdf5 import EVENT, EXTENTS, IMAGE_EXTENTS, IMAGE_META

#: (plane, image) of each image of an event.
Event = Sequence[tuple[int, np.ndarray]]


def write_larcv3(
    path: Path,
    events: Sequence[Event],
    numbers: Sequence[tuple[int, int, int]],
    *,
    particles: Sequence[Sequence[tuple[int, float]]] | None = None,
) -> Path:
    """A LArCV3 file. particles: of each event their (pdg, px)."""
    flat = [image for event in events for image in event]
    spans, extents, metas = np.zeros(len(flat), IMAGE_EXTENTS), _extents(events), np.zeros(len(flat), IMAGE_META)
    spans["N"] = [pixels.size for _, pixels in flat]
    spans["first"] = np.cumsum(spans["N"]) - spans["N"]
    metas["valid"], metas["projection_id"] = 1, [plane for plane, _ in flat]
    metas["number_of_voxels"] = metas["image_sizes"] = [pixels.shape for _, pixels in flat]
    with h5py.File(path, "w") as file:
        group = file.create_group("Data/image2d_data_group")
        group["extents"], group["image_extents"], group["image_meta"] = extents, spans, metas
        group["images"] = np.concatenate([pixels.ravel() for _, pixels in flat]).astype("<f4")
        file["Events/event_id"] = np.array(list(map(tuple, numbers)), EVENT)
        if particles is not None:
            table = [particle for event in particles for particle in event]
            file["Data/particle_truth_group/extents"] = _extents(particles)
            file["Data/particle_truth_group/particles"] = np.array(table, [("pdg", "<i4"), ("px", "<f8")])
    return path


def _extents(lists: Sequence[Sequence]) -> np.ndarray:
    extents = np.zeros(len(lists), EXTENTS)
    extents["N"] = list(map(len, lists))
    extents["first"] = np.cumsum(extents["N"]) - extents["N"]
    return extents


def renumber(path: Path, tree: str, branch: str, numbers: Sequence[int]) -> None:
    """Give the entries of a ROOT tree other numbers, in place: the compressed basket of a branch is replaced by a shorter one."""
    with uproot.open(path) as file:
        column = file[tree][branch]
        (seek,), (size,), header = (
            column.all_members["fBasketSeek"][:1],
            column.all_members["fBasketBytes"][:1],
            column.basket_key(0).fKeylen,
        )
        kind = column.interpretation.from_dtype
    raw = np.asarray(numbers, kind).tobytes()
    packed = zlib.compress(raw, 9)
    block = b"ZL\x08" + len(packed).to_bytes(3, "little") + len(raw).to_bytes(3, "little") + packed
    content = bytearray(path.read_bytes())
    assert len(block) <= size - header, "the new numbers do not compress well enough"
    content[seek + header : seek + header + len(block)] = block
    path.write_bytes(content)
