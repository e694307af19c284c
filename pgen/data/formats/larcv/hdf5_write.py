"""Writing LArCV3 files: what the tools of an experiment read samples back from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.data.images import ImageSet, geometry, read_all
from pgen.utils.files import require_space
from pgen.utils.hdf5_tables import open_output

PRODUCER = "pgen"
#: The types of the genuine library's tables, padding included.
EVENT = np.dtype([("run", "<i8"), ("subrun", "<i8"), ("event", "<i8")])
EXTENTS = np.dtype({"names": ["first", "N"], "formats": ["<u8", "<u4"], "offsets": [0, 8], "itemsize": 16})
IMAGE_EXTENTS = np.dtype([("first", "<u8"), ("N", "<u4"), ("ID", "<u4")])
IMAGE_META = np.dtype(
    {
        "names": ["valid", "projection_id", "image_sizes", "number_of_voxels", "origin"],
        "formats": ["u1", "<u8", ("<f8", (2,)), ("<u8", (2,)), ("<f8", (2,))],
        "offsets": [0, 8, 16, 32, 48],
        "itemsize": 72,
    }
)
#: Entries of a compressed HDF5 chunk of pixels, and of the other tables.
CHUNK, ROWS = 2**16, 1000


def write_larcv3(path: Path, iter_subsets: Iterable[ImageSet]) -> None:
    """One entry per image, one projection per channel, rows and columns as they are. Where the geometry of an image is not known, a pixel
    becomes the unit of length and its corner the origin.

    An entry has the run, subrun and event of its image's event; events without numbers get a run of their own, subrun 0, and count up.
    Labels have no place here.
    """
    with open_output(path) as output:
        count, names = 0, list[str]()
        group = f"Data/image2d_{PRODUCER}_group"
        for piece in iter_subsets:
            pixels = read_all(piece)
            require_space(path, pixels.nbytes)
            events, (channels, *size) = len(piece), piece.shape
            number = count + np.arange(events)
            extents = np.zeros(events, EXTENTS)
            extents["first"], extents["N"] = number * channels, channels
            spans = np.zeros(events * channels, IMAGE_EXTENTS)
            spans["N"] = size[0] * size[1]
            spans["first"] = (count * channels + np.arange(len(spans))) * spans["N"].astype(np.uint64)
            spans["ID"] = np.tile(np.arange(channels), events)
            meta = np.zeros(len(spans), IMAGE_META)
            place = geometry(piece).reshape(-1, 4)
            known = np.isfinite(place).all(1) & np.all(place[:, 2:] > 0, axis=1)
            place = np.where(known[:, None], place, (0, 0, 1, 1))
            meta["valid"], meta["projection_id"], meta["number_of_voxels"] = 1, spans["ID"], size
            meta["origin"], meta["image_sizes"] = place[:, :2], place[:, 2:] * size
            for name, values in (("extents", extents), ("image_extents", spans), ("image_meta", meta), ("images", pixels.ravel())):
                output.append(f"{group}/{name}", values, chunk=CHUNK if name == "images" else ROWS, compression="gzip")
            count += events
            names += piece.events.tolist()
        output.append("Events/event_id", _numbers(names), chunk=ROWS, compression="gzip")


def _numbers(names: list[str]) -> npt.NDArray:
    """(N,) run, subrun and event of each image; one event has the same, and two have not."""
    known, counts = dict[str, tuple[int, ...]](), dict[str, int]()
    for name in dict.fromkeys(names):
        # At most 18 digits, which fit into 64 bits.
        match = re.fullmatch("([0-9]{1,18})/([0-9]{1,18})/([0-9]{1,18})", name)
        if match:
            known[name] = tuple(map(int, match.groups()))
        else:
            counts[name] = len(counts)
    run = 1 + max((numbers[0] for numbers in known.values()), default=0)
    return np.array([known.get(name) or (run, 0, counts[name]) for name in names], EVENT)
