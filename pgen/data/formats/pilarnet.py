"""Events of PILArNet-M (HDF5 of voxels in space), projected to images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import ForkSafeHandle, LazyImages, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.hdf5_safe import Hdf5File, describe_datasets
from pgen.errors import DamagedImage, DataError

KIND = "PILArNet-M (HDF5)"
#: Voxels along each edge of the cube.
SIDE = 768
#: Numbers of a voxel: x, y, z, energy, and four that are not read.
COLUMNS = 8


def is_pilarnet(file: Any) -> bool:
    """Whether an open HDF5 file has ragged rows of voxels, one row per event."""
    import h5py

    tables = [file.get(key) for key in ("point", "cluster")]
    return all(hasattr(table, "dtype") and h5py.check_vlen_dtype(table.dtype) is not None for table in tables)


def open_pilarnet(path: Path, name: str, *, projection: Literal["xz", "xy", "yz"] = "xz", threshold: float = 0.0) -> LazyImages:
    """Open one image (1, 768, 768) per event: the energy in MeV, summed along one axis.

    Args:
        path: The file.
        name: What the user typed.
        projection: The axes that become rows and columns.
        threshold: Voxels of this energy (MeV) or less are left out.

    Raises:
        DataError: If the file is damaged.
    """
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, KIND))
    row, column = ("xyz".index(letter) for letter in projection)
    with wrap_read_errors(name, KIND):
        events = handle()["point"]
        count, numbers = len(events), _count_numbers(events, Path(events.file.filename))
        if numbers * events.id.get_type().get_super().get_size() > Path(events.file.filename).stat().st_size:
            raise DataError(f"{name}: its events count {numbers} numbers, more than the file can hold; it is damaged. Fetch it again.")

    def project(flat: npt.NDArray) -> npt.NDArray[np.float32]:
        if len(flat) % COLUMNS:
            message = f"{name}: an event holds {len(flat)} numbers, expected {COLUMNS} per voxel; the file is damaged. Fetch it again."
            raise DamagedImage(message, "voxels with numbers missing")
        voxels = np.asarray(flat, np.float64).reshape(-1, COLUMNS)
        voxels = voxels[~(voxels[:, 3] <= threshold)]  # NaN stays, and is refused later
        pixel = np.floor(voxels[:, [row, column]])
        if not np.all((pixel >= 0) & (pixel < SIDE)):
            message = f"{name}: a voxel lies outside of the cube of {SIDE}; the file is damaged. Fetch it again."
            raise DamagedImage(message, "voxels outside of the cube")
        flat_index = pixel.astype(np.int64) @ [SIDE, 1]
        return np.bincount(flat_index, voxels[:, 3], minlength=SIDE**2).astype(np.float32).reshape(SIDE, SIDE)

    def window(first: int, stop: int) -> npt.NDArray[np.float32]:
        with wrap_read_errors(name, KIND):
            return np.stack([project(flat) for flat in handle().dataset("point")[first:stop]])[:, None]

    about = {"format": KIND, "projection": projection, "threshold": threshold, "layout": "events, 1, rows, columns"}
    about |= {"rows": f"voxels along {projection[0]}", "columns": f"voxels along {projection[1]}"}
    return LazyImages(window, (1, SIDE, SIDE), name=name, entries=np.arange(count), unit="MeV", about=about)


def _count_numbers(events: Any, path: Path) -> int:
    """Count the numbers that all ragged rows announce; 0 if filters hide it.

    HDF5 takes memory for them before it reads them.
    """
    size = events.id.get_type().get_size()
    if events.chunks is None:
        offset = events.id.get_offset()
        if offset is None:
            return 0
        with path.open("rb") as stream:
            stream.seek(offset)
            rows = [stream.read(size * len(events))]
    elif events.id.get_create_plist().get_nfilters():
        return 0
    else:
        infos = (events.id.get_chunk_info(k) for k in range(events.id.get_num_chunks()))
        rows = [events.id.read_direct_chunk(info.chunk_offset)[1] for info in infos]
    # A row is its length, and then the position of its numbers in the file's heap.
    return sum(int(np.frombuffer(part, np.uint8).reshape(-1, size)[:, :4].copy().view("<u4").sum(dtype=np.uint64)) for part in rows)


FORMAT = Format("pilarnet", lambda probe: probe.hdf5 is not None and is_pilarnet(probe.hdf5), open_pilarnet, contents=describe_datasets)
