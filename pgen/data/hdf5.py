"""HDF5: plain files (a dataset of images, as pgen writes them) and LArCV3's image2d, both read in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgen.data.planes import choose, event_ids, only
from pgen.data.reading import Handle, LazyImages, reading
from pgen.errors import UserError


def is_larcv3(path: Path) -> bool:
    """Whether an HDF5 file is laid out as LArCV3 does."""
    import h5py

    with reading(str(path), "HDF5"), h5py.File(path, "r") as file:
        return "Events/event_id" in file and "Data" in file


def _handle(path: Path) -> Handle[Any]:
    import h5py

    return Handle(lambda: h5py.File(path, "r"))


def open_hdf5(path: Path, name: str, *, dataset: str | None = None) -> LazyImages:
    """An ImageSet over ``dataset`` (N, H, W) or (N, C, H, W): the one called ``images``, or the only one of such a rank.

    Read too where they are there: datasets ``ids``, ``events``, ``labels`` or ``labels/<name>``, each (N, ...), and the attribute ``unit``.
    """
    import h5py

    handle = _handle(path)
    with reading(name, "HDF5"):
        file = handle()
        stacks: list[str] = []

        def note(key: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "biuf" and not key.startswith("labels/"):
                stacks.append(key)

        file.visititems(note)
        key = only("dataset", stacks, dataset or ("images" if "images" in stacks else None), name)

        def strings(what: str) -> Any:
            if not isinstance(found := file.get(what), h5py.Dataset):
                return None
            return found.asstr()[:].astype(str) if h5py.check_string_dtype(found.dtype) else found[:].astype(str)

        found = file.get("labels", {})
        labels = {"labels": found[:]} if isinstance(found, h5py.Dataset) else {label: found[label][:] for label in found}
        stack = file[key]
        flat = stack.ndim == 3
        shape = (1, *stack.shape[1:]) if flat else stack.shape[1:]

        def window(first: int, stop: int) -> Any:
            with reading(name, "HDF5"):
                pixels = handle()[key][first:stop]
                return pixels[:, None] if flat else pixels

        return LazyImages(
            window,
            shape,
            name=name,
            entries=np.arange(len(stack)),
            ids=strings("ids"),
            events=strings("events"),
            labels=labels,
            unit=str(file.attrs.get("unit", "ADC")),
            about={"format": "HDF5", "dataset": key},
        )


def open_larcv3(path: Path, name: str, *, producer: str | None = None, plane: int | None = None, transpose: bool = False) -> LazyImages:
    """An ImageSet of one producer's image2d; ``plane`` is the projection_id, ``transpose`` swaps the axes (writers differ in it)."""
    handle = _handle(path)
    with reading(name, "LArCV3 (HDF5)"):
        groups = [key for key in handle()["Data"] if key.startswith("image2d_") and key.endswith("_group")]
        if not groups:
            raise UserError(
                f"{name}: a LArCV3 file with no image2d (found {', '.join(handle()['Data']) or 'nothing'}), wanted dense images."
            )
        producer = only("producer", [key.removeprefix("image2d_").removesuffix("_group") for key in groups], producer, name)
        key = f"Data/image2d_{producer}_group"
        events, spans = handle()[key]["extents"][:], handle()[key]["image_extents"][:]
        meta = handle()[key]["image_meta"][:]
        identity = handle()["Events/event_id"][:]
        ids = event_ids(identity["run"], identity["subrun"], identity["event"])

        if len(ids) != len(events):
            raise UserError(f"{name}: holds {len(ids)} event ids and images for {len(events)} events; the file is damaged. Write it again.")
        member = np.repeat(np.arange(len(events)), events["N"])
        index = np.concatenate([np.arange(e["first"], e["first"] + e["N"]) for e in events] or [np.zeros(0)]).astype(np.int64)
        valid = meta["valid"][index] != 0
        member, index = member[valid], index[valid]
        size = meta["number_of_voxels"][index].astype(np.int64)
        if np.any(size.prod(1) != spans["N"][index]):
            raise UserError(f"{name}: an image's number of pixels is not rows x columns; the file is damaged. Write it again.")
        numbers = meta["projection_id"][index].astype(np.int64)
        chosen = choose(member, numbers, size[:, 0], size[:, 1], events=len(events), wanted=plane, name=name)

        firsts = np.zeros((len(events), len(chosen.planes)), np.int64)  # where each event's images begin in the flat pixels
        firsts[chosen.entries] = spans["first"][index[chosen.images]]
        count = chosen.size[0] * chosen.size[1]

    def window(first: int, stop: int) -> Any:
        with reading(name, "LArCV3 (HDF5)"):
            pixels = handle()[key]["images"]
            out = np.stack([pixels[at : at + count].reshape(chosen.size) for at in firsts[first:stop].ravel()])
            out = out.reshape(stop - first, len(chosen.planes), *chosen.size)
            return out.swapaxes(2, 3) if transpose else out

    size_out = chosen.size[::-1] if transpose else chosen.size
    return LazyImages(
        window,
        (len(chosen.planes), *size_out),
        name=name,
        entries=chosen.entries,
        ids=ids[chosen.entries],
        skipped=chosen.skipped,
        about={"format": "LArCV3 HDF5", "producer": producer, "planes": list(chosen.planes), "transpose": transpose},
    )
