"""Plain HDF5 files: a dataset of images, read in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgen.data.events import COLUMNS, events_in
from pgen.data.planes import only
from pgen.data.reading import Handle, LazyImages, reading, text
from pgen.errors import UserError, listed
from pgen.trust import refuse_larger_than_memory

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
        others: list[str] = []

        def note(key: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "biuf" and not key.startswith("labels/"):
                stacks.append(key)
            elif isinstance(item, h5py.Dataset):
                others.append(f"{key} {item.dtype} {item.shape}")

        file.visititems(note)
        if not stacks:
            found = listed(others, empty="no dataset")
            raise UserError(
                f"{name}: found {found}, wanted images as one of real numbers, (N, H, W) or (N, C, H, W); codes come as .npz or .pt."
            )
        # As h5py spells a path inside a file, it begins with a slash.
        key = only("dataset", stacks, (dataset and dataset.strip("/")) or ("images" if "images" in stacks else None), name)

        stack = file[key]
        _refuse_empty(stack)

        def beside(dataset: Any) -> Any:
            """All of a dataset that has a row an image."""
            what = f"found {dataset.name} " + (
                f"of shape {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "as a group of datasets"
            )
            if not isinstance(dataset, h5py.Dataset) or not dataset.ndim or len(dataset) != len(stack):
                raise UserError(f"{name}: {what}, wanted one with a row for each of {len(stack)} images; leave it out.")
            _refuse_empty(dataset)
            refuse_larger_than_memory([(dataset.shape, dataset.dtype.itemsize)])
            return dataset.asstr()[:].astype(str) if dataset.dtype.kind == "O" else dataset[:]

        def strings(what: str) -> Any:
            return beside(found) if isinstance(found := file.get(what), h5py.Dataset) else None

        def fits(what: str) -> bool:
            return getattr(file.get(what), "shape", ())[:1] == stack.shape[:1]

        found = file.get("labels", {})
        labels = {"labels": beside(found)} if isinstance(found, h5py.Dataset) else {label: beside(found[label]) for label in found}
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
            events=events_in({key: strings(key) for key in COLUMNS if key == "events" or fits(key)}, len(stack)),
            labels=labels,
            unit=text(file.attrs.get("unit", "ADC")),
            geometry=beside(file["geometry"]) if "geometry" in file else None,
            about={"format": "HDF5", "dataset": key},
        )


def _refuse_empty(dataset: Any) -> None:
    """ValueError for a dataset that announces far more than the file holds."""
    held = dataset.id.get_storage_size()
    if dataset.nbytes > EMPTINESS * max(held, 2**20):
        raise ValueError(f"{dataset.name} announces {dataset.nbytes / 2**30:.0f} GiB and holds {held} bytes")
