"""image2d, sparse2d and cluster2d of LArCV1 and LArCV2 files (ROOT), read with uproot only.

Layout, verified on files of the original libraries: a tree ``<product>_<producer>_tree`` has one
entry per event, a split vector of images. Pixels are column-major, and a voxel's id is its position
among them. ``_meta._origin`` marks LArCV1, ``_meta._p1`` LArCV2. ``_id`` and ``_image_id`` can be
uninitialised.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.events import entry_ids, event_names
from pgen.data.formats.base import ForkSafeHandle, LazyImages, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.larcv.axes import larcv_root_axes
from pgen.data.formats.larcv.particle_labels import (
    EventLabels,
    explain_no_labels,
    label_by_first_particle,
    pair_entries,
    select_producer,
)
from pgen.data.formats.larcv.planes import (
    Planes,
    count_events,
    describe_planes,
    parse_planes,
    select_planes,
    select_product,
    voxels_to_pixels,
)
from pgen.data.formats.larcv.root_streaming import decode_clusters, decode_sparse
from pgen.errors import ConfigError, DamagedImage, DataError

KIND = "LArCV (ROOT)"
Product = Literal["image2d", "sparse2d", "cluster2d"]
#: By product: the branch of the images, and the member of it that holds their pixels.
PRODUCTS: dict[str, tuple[str, str]] = {
    "image2d": ("_image_v", "_img"),
    "sparse2d": ("_tensor_v", "_voxel_v"),
    "cluster2d": ("_cluster_v", "_voxel_vv"),
}
#: By version: members for the position of an image along rows and columns: its lowest corner, and
#: its extent (LArCV1) or highest corner (LArCV2).
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
    """Open one producer's images: channels are planes, rows ticks, columns wires.

    Args:
        path: The file.
        name: What the user typed.
        product: By default image2d if there is one, else the first of the others. The image of
            cluster2d is the charge of all clusters.
        producer: By default the only one.
        plane: One plane. Without ``plane`` and ``planes``: all that most events have.
        planes: Several planes, as "0+1+2"; events that lack one are skipped.
        tick_order: For LArCV1, whose rows were stored in the other order before February 2019,
            which its files do not say: "backward" flips the rows. The default is "forward".
        labels: Producer of the particles that become labels, see
            :mod:`pgen.data.formats.larcv.particle_labels`; "none" for no labels.

    Raises:
        DataError: If the file holds no such images, or is damaged.
        ChoiceNeeded: If an option is needed.
    """
    import uproot

    with wrap_read_errors(name, KIND):
        file = uproot.open(path, array_cache=None, object_cache=None)
        keys = file.keys(cycle=False, recursive=False)
        kind, producer = select_product(keys, "tree", PRODUCTS, product, producer, name)
        key, (image_branch, pixels) = f"{kind}_{producer}_tree", PRODUCTS[kind]
        tree = file[key]
        branches = set(tree.keys(recursive=True, full_paths=False))

        def column(branch: str) -> Any:
            if branch not in branches:
                raise DataError(
                    f"{name}: its {kind}_{producer} has no sub-branch {branch}, expected a file written at split level 99; "
                    "write it again with LArCV's own settings."
                )
            return tree[branch].array(library="np")

        version, meta = _meta_branches(branches, image_branch)
        image_columns = [column(branch) for branch in meta]
        box = [f"{image_branch}._meta.{member}" for member in BOX[version]]
        boxes = [np.concatenate(column(branch)).astype(np.float64) for branch in box] if branches.issuperset(box) else None
        events = event_names(column("_run"), column("_subrun"), column("_event"))
        event_labels = _read_labels(file, keys, events, labels, name)
        unit = f"{image_branch}._meta._unit"
        units = np.unique(np.concatenate(column(unit))).tolist() if unit in branches and len(events) else list[int]()
    requested = parse_planes(plane, planes, name)
    if tick_order and version == 2:
        raise ConfigError(f"{name}: tick_order={tick_order} is for LArCV1, and this is a LArCV2 file, whose order is fixed; leave it out.")
    if not len(events):
        raise DataError(f"{name}: its {kind}_{producer} holds 0 events, expected at least one; give another file or producer.")

    with wrap_read_errors(name, KIND):
        counts, flat = _flatten(image_columns)
        selection = select_planes(*flat, events=len(events), requested=requested, name=name).skip(event_labels.skips(len(events), name))
        entries, first_image = selection.entries, np.cumsum(counts) - counts  # flat index of each event's image 0
        place = np.full((len(events), len(selection.planes)), -1, np.int64)
        place[entries] = selection.images[entries] - first_image[entries][:, None]
        geometry = None
        if boxes is not None:
            geometry = _geometry(np.stack(boxes, -1)[selection.images[entries]], version, selection.size, backward=tick_order == "backward")

    # The tree is kept open: finding it takes longer than reading a window of it.
    handle: ForkSafeHandle[Any] = ForkSafeHandle(lambda: uproot.open(path, array_cache=None, object_cache=None)[key], tree)

    def window(first: int, stop: int) -> Any:
        with wrap_read_errors(name, KIND):
            branch = handle()[f"{image_branch}.{pixels}"]
            if kind == "image2d":
                images = branch.array(library="np", entry_start=first, entry_stop=stop)
            else:
                # uproot returns what it cannot decode as bytes.
                raw = branch.array(uproot.AsJagged(uproot.AsDtype("u1")), library="np", entry_start=first, entry_stop=stop)
                decode = decode_sparse if kind == "sparse2d" else decode_clusters
                images = [decode(entry.tobytes(), count) for entry, count in zip(raw, counts[first:stop], strict=True)]
            return _unpack(images, place[first:stop], selection, flip=tick_order == "backward", name=name)

    values, note = event_labels.select(entries)
    about = {"format": f"LArCV{version} ROOT", "product": kind, "producer": producer, "planes": list(selection.planes)}
    about |= larcv_root_axes(version, int(units[0]) if len(units) == 1 else None, tick_order)
    if note:
        about["labels_from"] = note
    if version == 1:
        about["tick_order"] = tick_order or "forward"
    return LazyImages(
        window,
        (len(selection.planes), *selection.size),
        name=name,
        entries=entries,
        ids=entry_ids(events)[entries],
        events=events[entries],
        labels=values,
        geometry=geometry,
        left_out=selection.left_out,
        about=about,
    )


def _meta_branches(branches: set[str], image_branch: str) -> tuple[int, list[str]]:
    """Return the version of LArCV, and the branches of planes, rows and columns."""
    version = 1 if f"{image_branch}._meta._origin.x" in branches else 2
    return version, [f"{image_branch}._meta.{member}" for member in ("_plane" if version == 1 else "_id", "_row_count", "_col_count")]


def _geometry(boxes: npt.NDArray[np.float64], version: int, size: tuple[int, int], *, backward: bool) -> npt.NDArray[np.float64]:
    """Return the geometry (N, C, 4) from boxes (N, C, 4) of the members BOX."""
    low, extent = boxes[..., :2].copy(), boxes[..., 2:] - (boxes[..., :2] if version == 2 else 0)
    if backward:  # then the origin is at the last tick
        low[..., 0] -= extent[..., 0]
    return np.concatenate([low, extent / size], -1)


def read_metas(tree: Any, product: str) -> tuple[npt.NDArray[np.int64], ...] | None:
    """Return event, plane, rows, columns of all images of a tree, (K,) each; None if not split."""
    branches = set(tree.keys(recursive=True, full_paths=False))
    _, meta = _meta_branches(branches, PRODUCTS[product][0])
    if not branches.issuperset(meta) or not tree.num_entries:
        return None
    return _flatten([tree[branch].array(library="np") for branch in meta])[1]


def _flatten(columns: list[Any]) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[np.int64], ...]]:
    """Flatten columns of jagged events.

    Returns:
        The number of images of each event; and (event, *columns) of all images.
    """
    counts = np.array([len(images) for images in columns[0]])
    return counts, (np.repeat(np.arange(len(counts)), counts), *(np.concatenate(column).astype(np.int64) for column in columns))


def _read_labels(file: Any, keys: list[str], events: npt.NDArray[np.str_], labels: str | None, name: str) -> EventLabels:
    """Read labels from the particles of LArCV2, or what LArCV1 calls partroi."""
    trees = {match[2]: key for key in keys if (match := re.fullmatch(r"(particle|partroi)_(.+)_tree", key))}
    producer = select_producer(list(trees), labels, name)
    if producer is None:
        return EventLabels(note=explain_no_labels(list(trees), labels))
    tree = file[trees[producer]]
    branches = set(tree.keys(recursive=True, full_paths=False))

    def member(label: str) -> Any | None:
        return tree[f"_part_v._{label}"].array(library="np") if f"_part_v._{label}" in branches else None

    lists = event_names(*(tree[key].array(library="np") for key in ("_run", "_subrun", "_event")))
    rows, note = pair_entries(events, lists, name)
    return label_by_first_particle(rows, member, is_requested=labels is not None, source=producer, note=note)


def _unpack(events: Any, place: Any, selection: Planes, *, flip: bool, name: str) -> Any:
    """Return images (n, C, H, W) of the pixels or voxels of events.

    Args:
        events: Pixels or voxels of each event's images.
        place: (n, C) position of each channel in its event.
        selection: The planes.
        flip: Whether to flip the rows.
        name: What the user typed.
    """
    rows, columns = selection.size
    out = np.empty((len(events), len(selection.planes), rows, columns), np.float32)
    for image, event, event_place in zip(out, events, place, strict=True):
        for channel, position in enumerate(event_place):
            pixels = event[int(position)]
            pixels = voxels_to_pixels(pixels[0], pixels[1], rows * columns, name) if isinstance(pixels, tuple) else np.asarray(pixels)
            if len(pixels) != rows * columns:
                message = f"{name}: an image holds {len(pixels)} pixels, expected {rows} x {columns}; the file is damaged."
                raise DamagedImage(message, "pixels that are not rows x columns")
            image[channel] = pixels.reshape(columns, rows).T
    return out[:, :, ::-1] if flip else out


def _describe_trees(path: Path, name: str) -> dict[str, str]:
    """List the trees of a file, with their events, and the planes of images."""
    import uproot

    contents = {}
    with uproot.open(path, array_cache=None, object_cache=None) as file:
        for key, class_name in file.classnames(recursive=False, cycle=False).items():
            if class_name != "TTree":
                contents[key] = class_name
                continue
            tree = file[key]
            contents[key] = count_events(tree.num_entries)
            product = key.partition("_")[0]
            if product in PRODUCTS and (metas := read_metas(tree, product)):
                contents[key] += f"; {describe_planes(*metas)}"
    return contents


FORMAT = Format("root", lambda probe: probe.head.startswith(b"root"), open_root, contents=_describe_trees)
