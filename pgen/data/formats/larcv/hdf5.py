"""image2d and sparse2d of LArCV3 files (HDF5), read in windows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, reading
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.data.formats.larcv.axes import larcv3_axes
from pgen.data.formats.larcv.particle_labels import WITHOUT, Labels, first_particles, not_chosen, producer_of
from pgen.data.formats.larcv.planes import choose, pixels_of, planes_of, product_of
from pgen.errors import PgenError

Product = Literal["image2d", "sparse2d"]
#: Of each kind of image the tables of where its pixels are, and of its pixels: all of an image in turn, or ids among them and values.
PRODUCTS: dict[str, tuple[str, str]] = {"image2d": ("image_extents", "images"), "sparse2d": ("voxel_extents", "voxels")}


def is_larcv3(file: Any) -> bool:
    """Whether an open HDF5 file is laid out as LArCV3 does."""
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
    """An ImageSet of one producer's images; ``plane`` is the projection_id, ``transpose`` swaps the axes (writers differ in it).

    ``planes``: several, as "0+1+2"; events that lack one are skipped. Without either: all that most events have.
    ``product``: image2d if there is one, else sparse2d. ``labels``: producer of the particles that become labels, see
    :mod:`pgen.data.formats.larcv.particle_labels`; "none" for no labels.
    """
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, "LArCV3 (HDF5)"))
    with reading(name, "LArCV3 (HDF5)"):
        kind, producer = product_of(handle()["Data"], "group", PRODUCTS, product, producer, name)
        key, (table_of_spans, table_of_pixels) = f"Data/{kind}_{producer}_group", PRODUCTS[kind]
        spans = handle()[key][table_of_spans][:]
        identity = handle()["Events/event_id"][:]
        names = event_names(identity["run"], identity["subrun"], identity["event"])

        events = len(handle()[key]["extents"])
        if len(names) != events:
            raise PgenError(f"{name}: holds {len(names)} event ids for {events} events; the file is damaged. Write it again.")
        of_events = _labels(handle()["Data"], events, labels, name)
        *image_metas, index = metas(handle()[key], name)
        _, _, rows, columns = image_metas
        unsound = rows * columns != spans["N"][index] if kind == "image2d" else None
        chosen = choose(*image_metas, events=events, requested=planes_of(plane, planes, name), name=name, unsound=unsound)
        chosen = chosen.without(of_events.skips(events, name))
        entries, images = chosen.entries, chosen.images[chosen.entries]

        # Where each event's pixels begin among all, and how many there are.
        firsts, numbers = np.zeros((2, events, len(chosen.planes)), np.int64)
        firsts[entries], numbers[entries] = (spans[field][index[images]] for field in ("first", "N"))
        count = chosen.size[0] * chosen.size[1]
        pixels_held = len(handle()[key][table_of_pixels])
        if np.any((firsts < 0) | (numbers < 0) | (numbers > pixels_held) | (firsts > pixels_held - numbers)):
            raise PgenError(f"{name}: an image lies beyond the {pixels_held} pixels of the file, which is damaged. Write it again.")
        meta = handle()[key]["image_meta"][:][index[images]]
        axes = [1, 0] if transpose else [0, 1]
        geometry = np.concatenate([meta["origin"][..., axes], (meta["image_sizes"] / meta["number_of_voxels"])[..., axes]], -1)

    def image(pixels: Any, first: int, number: int) -> Any:
        found = pixels[first : first + number]
        if kind == "sparse2d":
            found = pixels_of(found["id"], found["value"], count, name)
        return found.reshape(chosen.size)

    def window(first: int, stop: int) -> Any:
        with reading(name, "LArCV3 (HDF5)"):
            pixels = handle().dataset(f"{key}/{table_of_pixels}")
            places = zip(firsts[first:stop].ravel().tolist(), numbers[first:stop].ravel().tolist(), strict=True)
            out = np.stack([image(pixels, *place) for place in places]).reshape(stop - first, len(chosen.planes), *chosen.size)
            return out.swapaxes(2, 3) if transpose else out

    size_out = chosen.size[::-1] if transpose else chosen.size
    values, note = of_events.of(entries)
    about = {"format": "LArCV3 HDF5", "product": kind, "producer": producer, "planes": list(chosen.planes), "transpose": transpose}
    about |= larcv3_axes(size_out, transposed=transpose)
    if note:
        about["labels_from"] = note
    return LazyImages(
        window,
        (len(chosen.planes), *size_out),
        name=name,
        entries=entries,
        ids=entry_ids(names)[entries],
        events=names[entries],
        labels=values,
        left_out=chosen.left_out,
        geometry=geometry,
        about=about,
    )


def metas(group: Any, name: str) -> tuple[npt.NDArray[np.int64], ...]:
    """(event, plane, rows, columns, place in the file's list of images) of each valid image of a group, each (K,)."""
    events, meta = group["extents"][:], group["image_meta"][:]
    if events["N"].sum(dtype=np.uint64) > len(meta):
        raise PgenError(f"{name}: its events count more than the {len(meta)} images there are; the file is damaged. Write it again.")
    event = np.repeat(np.arange(len(events)), events["N"])
    index = np.concatenate([np.arange(e["first"], e["first"] + e["N"]) for e in events] or [np.zeros(0)]).astype(np.int64)
    valid = meta["valid"][index] != 0
    event, index = event[valid], index[valid]
    rows, columns = meta["number_of_voxels"][index].astype(np.int64).T
    return event, meta["projection_id"][index].astype(np.int64), rows, columns, index


def _labels(data: Any, events: int, labels: str | None, name: str) -> Labels:
    """From the particles, which are listed event by event."""
    groups = {match[1]: key for key in data if (match := re.fullmatch(r"particle_(.+)_group", key))}
    producer = producer_of(list(groups), labels, name)
    if producer is None:
        return Labels(note=not_chosen(list(groups), labels))
    particles, extents = data[groups[producer]]["particles"][:], data[groups[producer]]["extents"][:]
    held = np.uint64(len(particles))
    if len(extents) != events:
        raise PgenError(f"{name}: lists particles of {len(extents):,} events and images of {events:,}, which cannot be paired; {WITHOUT}.")
    if np.any(extents["N"] > held) or np.any(extents["first"] > held - np.minimum(extents["N"], held)):
        raise PgenError(f"{name}: its particles lie beyond their table; the file is damaged. You can {WITHOUT}.")

    def member(label: str) -> Any | None:
        if label not in particles.dtype.names:
            return None
        return [particles[label][int(e["first"]) : int(e["first"]) + int(e["N"])] for e in extents]

    return first_particles(np.arange(events), member, asked=labels is not None, source=producer)
