"""HDF5 files of no special layout: datasets of images, read in windows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import ForkSafeHandle, LazyImages, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.hdf5_safe import Hdf5File, Storage, count_axes, describe_datasets, find_written, is_written
from pgen.data.formats.members import Member, No, open_members, refuse_reading
from pgen.errors import DataError, PgenError

if TYPE_CHECKING:
    import h5py


def open_hdf5(
    path: Path, name: str, *, dataset: str | None = None, layout: str | None = None, labels: No | None = None, events: No | None = None
) -> LazyImages:
    """Open the images of an HDF5 file, see :func:`pgen.data.formats.members.open_members`."""
    about = {"format": "HDF5"}
    with wrap_read_errors(name, "HDF5"):
        with path.open("rb") as stream:
            if stream.read(6) == b"MATLAB":
                about["written_by"] = "MATLAB, whose axes are in reverse order here: see layout="
        return open_members(
            _list_members(ForkSafeHandle(lambda: Hdf5File(path, name)), name, dataset),
            path=path,
            name=name,
            option="dataset",
            choice=dataset,
            layout=layout,
            labels=labels,
            events=events,
            about=about,
        )


def _list_members(handle: ForkSafeHandle[Hdf5File], name: str, choice: str | None) -> dict[str, Member]:
    """List every dataset of a file by its path, and the attribute ``unit``."""
    import h5py

    file = handle()
    members = {key: _describe(handle, name, key, item, storage) for key, item, storage in file.datasets()}
    for key in ("images", (choice or "").strip("/")):
        # A soft link gives a dataset a second name.
        if key and key not in members and isinstance(item := file.get(key), h5py.Dataset):
            members[key] = _describe(handle, name, key, item, file.storage(key))
    unit = file.attrs.get("unit")
    if isinstance(unit, str | bytes):
        members["unit"] = Member((), np.asarray(unit).dtype, lambda index: np.asarray(unit)[index])
    return members


def _describe(handle: ForkSafeHandle[Hdf5File], name: str, key: str, dataset: h5py.Dataset | None, storage: Storage | PgenError) -> Member:
    """Describe a dataset; None is a link that is not followed."""
    import h5py

    if dataset is None or isinstance(storage, PgenError):
        refusal = storage if isinstance(storage, PgenError) else None
        dtype, axes = (np.dtype("V"), 0) if dataset is None else (dataset.dtype, count_axes(dataset))
        return Member((0,) * axes, dtype, refuse_reading, refusal=refusal)
    shape, dtype, problem = dataset.shape, dataset.dtype, ""
    if shape is None:
        shape, problem = (), "is empty"
    elif h5py.check_string_dtype(dtype) is not None and dtype.kind == "O":
        dtype = np.dtype("U")
    elif dtype.hasobject:
        problem = "has rows of different lengths" if h5py.check_vlen_dtype(dtype) is not None else f"is of type {dtype}"
    if not problem and not is_written(dataset):
        problem = "was never written, so HDF5 would give zeros"
    read = partial(_read, handle, f"{name}: {key}", key, storage)
    return Member(shape, dtype, read, problem, written=lambda axis: find_written(handle()[key], axis))


def _read(handle: ForkSafeHandle[Hdf5File], label: str, key: str, storage: Storage, index: Any) -> npt.NDArray:
    axis = next((axis for axis, part in enumerate(index) if part != slice(None)), 0) if isinstance(index, tuple) else 0
    dataset = handle().dataset(key, axis)
    values = dataset.asstr()[index].astype(str) if dataset.dtype.kind == "O" else dataset[index]
    # HDF5 gives zeros for a file that was deleted meanwhile.
    if missing := [path for path in storage.files if not path.exists()]:
        raise DataError(f"{label} needs the file {missing[0]}, which is not there any more; put it back.")
    return values


FORMAT = Format("hdf5", lambda probe: probe.hdf5 is not None, open_hdf5, contents=describe_datasets)
