"""image2d, sparse2d and cluster2d of LArCV1 and LArCV2 files (ROOT), read with uproot alone.

Layout (checked on files of the genuine libraries): tree ``<product>_<producer>_tree``, one entry an event, a split vector of images;
pixels are column-major, and a voxel's id is its place among them. ``_meta._origin`` marks LArCV1, ``_meta._p1`` LArCV2. ``_id`` and
``_image_id`` can be uninitialised.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, reading
from pgen.data.formats.larcv.axes import larcv_root_axes
from pgen.data.formats.larcv.particle_labels import Labels, first_particles, not_chosen, pair_entries, producer_of
from pgen.data.formats.larcv.planes import Planes, choose, pixels_of, planes_of, product_of
from pgen.data.formats.larcv.root_streaming import decode_clusters, decode_sparse
from pgen.errors import DamagedImage, PgenError

WHAT = "LArCV (ROOT)"
Product = Literal["image2d", "sparse2d", "cluster2d"]
#: Of each kind of image the branch of the images, and what in it holds their pixels.
PRODUCTS: dict[str, tuple[str, str]] = {
    "image2d": ("_image_v", "_img"),
    "sparse2d": ("_tensor_v", "_voxel_v"),
    "cluster2d": ("_cluster_v", "_voxel_vv"),
}
#: Of each version what tells where an image lies, along rows and columns: its lowest corner, and its extent or its highest corner.
BOX = {1: ("_origin.y", "_origin.x", "_height", "_width"), 2: ("_p1.y", "_p1.x", "_p2.y", "_p2.x")}


def open_root(
    path: Path,
    name: str,
    *,
    product: Product | None = None,
    producer: str | None = None,
    plane: int | None = None,
    planes: str | None = None,
    tick_order: Literal["forward", "backward"] | None = None,
    labels: str | None = None,
) -> LazyImages:
    """An ImageSet of one producer's images: channels are planes, rows ticks, columns wires. cluster2d: the charge of all clusters.

    ``plane``: one plane. ``planes``: several, as "0+1+2"; events that lack one are skipped. Without either: all that most events have.
    ``labels``: producer of the particles that become labels, see :mod:`pgen.data.formats.larcv.particle_labels`; "none" for no labels.
    ``product``: image2d if there is one, else the first of the others that is there.
    ``tick_order`` is for LArCV1 alone, whose rows were stored in the other order before February 2019 and whose files do not say so:
    "backward" flips the rows (default "forward").
    """
    import uproot

    with reading(name, WHAT):
        file = uproot.open(path, array_cache=None, object_cache=None)
        keys = file.keys(cycle=False, recursive=False)
        kind, producer = product_of(keys, "tree", PRODUCTS, product, producer, name)
        key, (branch_of, pixels) = f"{kind}_{producer}_tree", PRODUCTS[kind]
        tree = file[key]
        branches = set(tree.keys(recursive=True, full_paths=False))

        def column(branch: str) -> Any:
            if branch not in branches:
                raise PgenError(
                    f"{name}: its {kind}_{producer} has no sub-branch {branch}, wanted a file written at split level 99; "
                    "write it again with LArCV's own settings."
                )
            return tree[branch].array(library="np")

        version, meta = _meta_branches(branches, branch_of)
        of_images = [column(branch) for branch in meta]
        box = [f"{branch_of}._meta.{member}" for member in BOX[version]]
        boxes = [np.concatenate(column(branch)).astype(np.float64) for branch in box] if branches.issuperset(box) else None
        events = event_names(column("_run"), column("_subrun"), column("_event"))
        of_events = _labels(file, keys, events, labels, name)
        unit = f"{branch_of}._meta._unit"
        units = np.unique(np.concatenate(column(unit))).tolist() if unit in branches and len(events) else list[int]()
    requested = planes_of(plane, planes, name)
    if tick_order and version == 2:
        raise PgenError(f"{name}: tick_order={tick_order} is for LArCV1, and this is a LArCV2 file, whose order is fixed; leave it out.")
    if not len(events):
        raise PgenError(f"{name}: its {kind}_{producer} holds 0 events, wanted at least one; give another file or producer.")

    with reading(name, WHAT):
        counts, flat = _flat(of_images)
        chosen = choose(*flat, events=len(events), requested=requested, name=name).without(of_events.skips(len(events), name))
        entries, first_image = chosen.entries, np.cumsum(counts) - counts  # the latter: flat index of each event's image 0
        place = np.full((len(events), len(chosen.planes)), -1, np.int64)
        place[entries] = chosen.images[entries] - first_image[entries][:, None]
        geometry = None
        if boxes is not None:
            geometry = _geometry(np.stack(boxes, -1)[chosen.images[entries]], version, chosen.size, backward=tick_order == "backward")

    # A tree takes longer to find in its file than a window of it to read.
    handle: ForkSafeHandle[Any] = ForkSafeHandle(lambda: uproot.open(path, array_cache=None, object_cache=None)[key], tree)

    def window(first: int, stop: int) -> Any:
        with reading(name, WHAT):
            branch = handle()[f"{branch_of}.{pixels}"]
            if kind == "image2d":
                images = branch.array(library="np", entry_start=first, entry_stop=stop)
            else:
                # What uproot cannot decode it gives as bytes.
                raw = branch.array(uproot.AsJagged(uproot.AsDtype("u1")), library="np", entry_start=first, entry_stop=stop)
                decode = decode_sparse if kind == "sparse2d" else decode_clusters
                images = [decode(entry.tobytes(), count) for entry, count in zip(raw, counts[first:stop], strict=True)]
            return _unpack(images, place[first:stop], chosen, flip=tick_order == "backward", name=name)

    values, note = of_events.of(entries)
    about = {"format": f"LArCV{version} ROOT", "product": kind, "producer": producer, "planes": list(chosen.planes)}
    about |= larcv_root_axes(version, int(units[0]) if len(units) == 1 else None, tick_order)
    if note:
        about["labels_from"] = note
    if version == 1:
        about["tick_order"] = tick_order or "forward"
    return LazyImages(
        window,
        (len(chosen.planes), *chosen.size),
        name=name,
        entries=entries,
        ids=entry_ids(events)[entries],
        events=events[entries],
        labels=values,
        geometry=geometry,
        left_out=chosen.left_out,
        about=about,
    )


def _meta_branches(branches: set[str], branch_of: str) -> tuple[int, list[str]]:
    """The version of LArCV, and the branches of planes, rows and columns."""
    version = 1 if f"{branch_of}._meta._origin.x" in branches else 2
    return version, [f"{branch_of}._meta.{member}" for member in ("_plane" if version == 1 else "_id", "_row_count", "_col_count")]


def _geometry(boxes: npt.NDArray[np.float64], version: int, size: tuple[int, int], *, backward: bool) -> npt.NDArray[np.float64]:
    """See :func:`pgen.data.images.geometry`; boxes (N, C, 4) as the members of BOX tell."""
    low, extent = boxes[..., :2].copy(), boxes[..., 2:] - (boxes[..., :2] if version == 2 else 0)
    if backward:  # the origin is at the last tick then
        low[..., 0] -= extent[..., 0]
    return np.concatenate([low, extent / size], -1)


def metas(tree: Any, product: str) -> tuple[npt.NDArray[np.int64], ...] | None:
    """(event, plane, rows, columns) of each image of a tree, each (K,); None where the tree is not split into branches."""
    branches = set(tree.keys(recursive=True, full_paths=False))
    _, meta = _meta_branches(branches, PRODUCTS[product][0])
    if not branches.issuperset(meta) or not tree.num_entries:
        return None
    return _flat([tree[branch].array(library="np") for branch in meta])[1]


def _flat(columns: list[Any]) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[np.int64], ...]]:
    """How many images each event has, and (event, *columns) of each image, of columns that are jagged by event."""
    counts = np.array([len(each) for each in columns[0]])
    return counts, (np.repeat(np.arange(len(counts)), counts), *(np.concatenate(each).astype(np.int64) for each in columns))


def _labels(file: Any, keys: list[str], events: npt.NDArray[np.str_], labels: str | None, name: str) -> Labels:
    """From the particles of LArCV2, or what LArCV1 calls partroi."""
    trees = {match[2]: key for key in keys if (match := re.fullmatch(r"(particle|partroi)_(.+)_tree", key))}
    producer = producer_of(list(trees), labels, name)
    if producer is None:
        return Labels(note=not_chosen(list(trees), labels))
    tree = file[trees[producer]]
    branches = set(tree.keys(recursive=True, full_paths=False))

    def member(label: str) -> Any | None:
        return tree[f"_part_v._{label}"].array(library="np") if f"_part_v._{label}" in branches else None

    lists = event_names(*(tree[key].array(library="np") for key in ("_run", "_subrun", "_event")))
    rows, note = pair_entries(events, lists, name)
    return first_particles(rows, member, asked=labels is not None, source=producer, note=note)


def _unpack(events: Any, place: Any, chosen: Planes, *, flip: bool, name: str) -> Any:
    """(n, C, rows, columns) float32 from the pixels or voxels of events; ``place`` (n, C) is each channel's position in its event."""
    rows, columns = chosen.size
    out = np.empty((len(events), len(chosen.planes), rows, columns), np.float32)
    for image, event, at in zip(out, events, place, strict=True):
        for channel, position in enumerate(at):
            pixels = event[int(position)]
            pixels = pixels_of(pixels[0], pixels[1], rows * columns, name) if isinstance(pixels, tuple) else np.asarray(pixels)
            if len(pixels) != rows * columns:
                message = f"{name}: an image holds {len(pixels)} pixels, wanted {rows} x {columns}; the file is damaged."
                raise DamagedImage(message, "pixels that are not rows x columns")
            image[channel] = pixels.reshape(columns, rows).T
    return out[:, :, ::-1] if flip else out
