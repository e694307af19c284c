"""Tables of HDF5 files that grow as they are written."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt


def append(file: Any, name: str, values: npt.NDArray, *, chunk: int, **compression: Any) -> None:
    """Add ``values`` (n,) to dataset ``name``, which is made where there is none, of chunks of ``chunk`` rows, with h5py's options of
    compression."""
    if name not in file:
        file.create_dataset(name, (0,), values.dtype, maxshape=(None,), chunks=(chunk,), **compression)
    dataset = file[name]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values
