"""LArCV3 files (HDF5): image2d and sparse2d, read in windows; image2d, written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.hdf5_safe import Hdf5File
from pgen.data.formats.larcv.axes import larcv3_axes
from pgen.data.formats.larcv.particle_labels import WITHOUT, EventLabels, explain_no_labels, label_by_first_particle, select_producer
from pgen.data.formats.larcv.planes import (
    count_events,
    describe_planes,
    parse_planes,
    select_planes,
    select_product,
    voxels_to_pixels,
)
from pgen.data.images import ImageSet, read_all
from pgen.errors import DataError, listed
from pgen.utils.files import require_space
from pgen.utils.hdf5_tables import open_output

KIND = "LArCV3 (HDF5)"
Product = Literal["image2d", "sparse2d"]
#: By product: the tables of where an image's pixels are, and of the pixels (all of them, or ids and
#: values).
PRODUCTS: dict[str, tuple[str, str]] = {"image2d": ("image_extents", "images"), "sparse2d": ("voxel_extents", "voxels")}

#: Producer of the images that pgen writes.
PRODUCER = "pgen"
#: Types of the original library's tables, padding included.
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
#: Rows of a compressed HDF5 chunk of pixels, and of the other tables.
CHUNK, ROWS = 2**16, 1000


def is_larcv3(file: Any) -> bool:
    """Whether an open HDF5 file has the layout of LArCV3."""
    return "Events/event_id" in file and "Data" in file


def open_larcv3(
    path: Path,
    name: str,
    *,
    product: Product | None = None,
    producer: str | None = None,
    plane: int | None = None,
    planes: str | None = None,
    transpose: bool = False,
    labels: str | None = None,
) -> LazyImages:
    """Open one producer's images, of which channels are planes.

    Args:
        path: The file.
        name: What the user typed.
        product: By default image2d if there is one, else sparse2d.
        producer: By default the only one.
        plane: One plane (projection_id). Without ``plane`` and ``planes``: all that most events
            have.
        planes: Several planes, as "0+1+2"; events that lack one are skipped.
        transpose: Whether to swap rows and columns, whose order differs between writers.
        labels: Producer of the particles that become labels, see
            :mod:`pgen.data.formats.larcv.particle_labels`; "none" for no labels.

    Raises:
        DataError: If the file holds no such images, or is damaged.
        ChoiceNeeded: If an option is needed.
    """
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, KIND))
    with wrap_read_errors(name, KIND):
        kind, producer = select_product(handle()["Data"], "group", PRODUCTS, product, producer, name)
        key, (span_table, pixel_table) = f"Data/{kind}_{producer}_group", PRODUCTS[kind]
        spans = handle()[key][span_table][:]
        identity = handle()["Events/event_id"][:]
        names = event_names(identity["run"], identity["subrun"], identity["event"])

        events = len(handle()[key]["extents"])
        if len(names) != events:
            raise DataError(f"{name}: holds {len(names)} event ids for {events} events; the file is damaged. Write it again.")
        event_labels = _read_labels(handle()["Data"], events, labels, name)
        *metas, index = read_metas(handle()[key], name)
        _, _, rows, columns = metas
        unsound = rows * columns != spans["N"][index] if kind == "image2d" else None
        selection = select_planes(*metas, events=events, requested=parse_planes(plane, planes, name), name=name, unsound=unsound)
        selection = selection.skip(event_labels.skips(events, name))
        entries, images = selection.entries, selection.images[selection.entries]

        # Where the pixels of each event's images begin, and how many there are.
        firsts, numbers = np.zeros((2, events, len(selection.planes)), np.int64)
        firsts[entries], numbers[entries] = (spans[field][index[images]] for field in ("first", "N"))
        count = selection.size[0] * selection.size[1]
        pixel_count = len(handle()[key][pixel_table])
        if np.any((firsts < 0) | (numbers < 0) | (numbers > pixel_count) | (firsts > pixel_count - numbers)):
            raise DataError(f"{name}: an image lies beyond the {pixel_count} pixels of the file, which is damaged. Write it again.")
        meta = handle()[key]["image_meta"][:][index[images]]
        axes = [1, 0] if transpose else [0, 1]
        geometry = np.concatenate([meta["origin"][..., axes], (meta["image_sizes"] / meta["number_of_voxels"])[..., axes]], -1)

    def image(pixels: Any, first: int, number: int) -> Any:
        values = pixels[first : first + number]
        if kind == "sparse2d":
            values = voxels_to_pixels(values["id"], values["value"], count, name)
        return values.reshape(selection.size)

    def window(first: int, stop: int) -> Any:
        with wrap_read_errors(name, KIND):
            pixels = handle().dataset(f"{key}/{pixel_table}")
            places = zip(firsts[first:stop].ravel().tolist(), numbers[first:stop].ravel().tolist(), strict=True)
            out = np.stack([image(pixels, *place) for place in places]).reshape(stop - first, len(selection.planes), *selection.size)
            return out.swapaxes(2, 3) if transpose else out

    size_out = selection.size[::-1] if transpose else selection.size
    label_values, note = event_labels.select(entries)
    about = {"format": "LArCV3 HDF5", "product": kind, "producer": producer, "planes": list(selection.planes), "transpose": transpose}
    about |= larcv3_axes(size_out, transposed=transpose)
    if note:
        about["labels_from"] = note
    return LazyImages(
        window,
        (len(selection.planes), *size_out),
        name=name,
        entries=entries,
        ids=entry_ids(names)[entries],
        events=names[entries],
        labels=label_values,
        left_out=selection.left_out,
        geometry=geometry,
        about=about,
    )


def read_metas(group: Any, name: str) -> tuple[npt.NDArray[np.int64], ...]:
    """Return event, plane, rows, columns and index of all valid images of a group, (K,) each."""
    events, meta = group["extents"][:], group["image_meta"][:]
    if events["N"].sum(dtype=np.uint64) > len(meta):
        raise DataError(f"{name}: its events count more than the {len(meta)} images there are; the file is damaged. Write it again.")
    event = np.repeat(np.arange(len(events)), events["N"])
    index = np.concatenate([np.arange(e["first"], e["first"] + e["N"]) for e in events] or [np.zeros(0)]).astype(np.int64)
    valid = meta["valid"][index] != 0
    event, index = event[valid], index[valid]
    rows, columns = meta["number_of_voxels"][index].astype(np.int64).T
    return event, meta["projection_id"][index].astype(np.int64), rows, columns, index


def _read_labels(data: Any, events: int, labels: str | None, name: str) -> EventLabels:
    """Read labels from the particles, which are listed event by event."""
    groups = {match[1]: key for key in data if (match := re.fullmatch(r"particle_(.+)_group", key))}
    producer = select_producer(list(groups), labels, name)
    if producer is None:
        return EventLabels(note=explain_no_labels(list(groups), labels))
    particles, extents = data[groups[producer]]["particles"][:], data[groups[producer]]["extents"][:]
    total = np.uint64(len(particles))
    if len(extents) != events:
        raise DataError(f"{name}: lists particles of {len(extents):,} events and images of {events:,}, which cannot be paired; {WITHOUT}.")
    if np.any(extents["N"] > total) or np.any(extents["first"] > total - np.minimum(extents["N"], total)):
        raise DataError(f"{name}: its particles lie beyond their table; the file is damaged. You can {WITHOUT}.")

    def member(label: str) -> Any | None:
        if label not in particles.dtype.names:
            return None
        return [particles[label][int(e["first"]) : int(e["first"]) + int(e["N"])] for e in extents]

    return label_by_first_particle(np.arange(events), member, is_requested=labels is not None, source=producer)


def write_larcv3(path: Path, sets: Iterable[ImageSet]) -> None:
    """Write one entry per image and one projection per channel, with rows and columns as they are.

    If the geometry of an image is unknown, a pixel is the unit of length and its corner the origin.
    An entry has the run, subrun and event of its image; events without numbers get a run of their
    own, subrun 0, and count up. Labels are not written.
    """
    with open_output(path) as output:
        count, names = 0, list[str]()
        group = f"Data/image2d_{PRODUCER}_group"
        for images in sets:
            pixels = read_all(images)
            require_space(path, pixels.nbytes)
            events, (channels, *size) = len(images), images.shape
            number = count + np.arange(events)
            extents = np.zeros(events, EXTENTS)
            extents["first"], extents["N"] = number * channels, channels
            spans = np.zeros(events * channels, IMAGE_EXTENTS)
            spans["N"] = size[0] * size[1]
            spans["first"] = (count * channels + np.arange(len(spans))) * spans["N"].astype(np.uint64)
            spans["ID"] = np.tile(np.arange(channels), events)
            meta = np.zeros(len(spans), IMAGE_META)
            geometry = images.geometry_or_nan().reshape(-1, 4)
            is_known = np.isfinite(geometry).all(1) & np.all(geometry[:, 2:] > 0, axis=1)
            geometry = np.where(is_known[:, None], geometry, (0, 0, 1, 1))
            meta["valid"], meta["projection_id"], meta["number_of_voxels"] = 1, spans["ID"], size
            meta["origin"], meta["image_sizes"] = geometry[:, :2], geometry[:, 2:] * size
            for name, values in (("extents", extents), ("image_extents", spans), ("image_meta", meta), ("images", pixels.ravel())):
                output.append(f"{group}/{name}", values, chunk=CHUNK if name == "images" else ROWS, compression="gzip")
            count += events
            names += images.events.tolist()
        output.append("Events/event_id", _number_events(names), chunk=ROWS, compression="gzip")


def _number_events(names: list[str]) -> npt.NDArray:
    """Return run, subrun and event of each image, (N,), different for different events."""
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


def _describe_groups(path: Path, name: str) -> dict[str, str]:
    """List the groups of a file, with their events, and the planes of images."""
    contents = {}
    with Hdf5File(path, name) as file:
        for key, group in file["Data"].items():
            contents[key] = count_events(len(group["extents"])) if "extents" in group else listed(group)
            if "extents" in group and key.partition("_")[0] in PRODUCTS:
                contents[key] += f"; {describe_planes(*read_metas(group, name)[:4])}"
    return contents


FORMAT = Format(
    "larcv3",
    lambda probe: probe.hdf5 is not None and is_larcv3(probe.hdf5),
    open_larcv3,
    contents=_describe_groups,
    write=write_larcv3,
    suffixes=(".h5", ".hdf5"),
)
