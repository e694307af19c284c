"""Plain HDF5 files: a dataset of images, read in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgen.data.planes import only
from pgen.data.reading import Handle, LazyImages, reading

#: No honest compression makes more of a byte.
EMPTINESS = 2000


def open_hdf5(path: Path, name: str, *, dataset: str | None = None) -> LazyImages:
    """An ImageSet over ``dataset`` (N, H, W) or (N, C, H, W): the one called ``images``, or the only one of such a rank.

    Read too where they are there: datasets ``ids``, ``events``, ``geometry`` (N, C, 4), ``labels`` or ``labels/<name>``, each (N, ...),
    and the attribute ``unit``.
    """
    import h5py

    handle: Handle[Any] = Handle(lambda: h5py.File(path, "r"))
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
        if stack.nbytes > EMPTINESS * max(stack.id.get_storage_size(), 2**20):
            raise ValueError(f"{key} announces {stack.nbytes / 2**30:.0f} GiB and holds {stack.id.get_storage_size()} bytes")
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
            geometry=file["geometry"][:] if "geometry" in file else None,
            about={"format": "HDF5", "dataset": key},
        )
