"""Events of PILArNet-M (HDF5 of voxels in space), projected to images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import ForkSafeHandle, LazyImages, reading
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.errors import DamagedImage, PgenError

WHAT = "PILArNet-M (HDF5)"
SIDE = 768  #: voxels along each edge of the cube
COLUMNS = 8  #: of a voxel: x, y, z, energy, and four that are not read


def is_pilarnet(file: Any) -> bool:
    """Whether an open HDF5 file has ragged rows of voxels, one row an event."""
    import h5py

    tables = [file.get(key) for key in ("point", "cluster")]
    return all(hasattr(table, "dtype") and h5py.check_vlen_dtype(table.dtype) is not None for table in tables)


def open_pilarnet(path: Path, name: str, *, projection: Literal["xz", "xy", "yz"] = "xz", threshold: float = 0.0) -> LazyImages:
    """An ImageSet of one image of 768 x 768 an event: the energy (MeV) added up along the axis that ``projection`` does not name, whose
    first letter is the row. Voxels of ``threshold`` MeV or less are left out. Ids are the places of events in the file."""
    handle = ForkSafeHandle(lambda: Hdf5File(path, name, WHAT))
    row, column = ("xyz".index(letter) for letter in projection)
    with reading(name, WHAT):
        events = handle()["point"]
        count, numbers = len(events), _numbers(events, Path(events.file.filename))
        if numbers * events.id.get_type().get_super().get_size() > Path(events.file.filename).stat().st_size:
            raise PgenError(f"{name}: its events count {numbers} numbers, more than the file can hold; it is damaged. Fetch it again.")

    def picture(flat: npt.NDArray) -> npt.NDArray[np.float32]:
        if len(flat) % COLUMNS:
            message = f"{name}: an event holds {len(flat)} numbers, wanted {COLUMNS} a voxel; the file is damaged. Fetch it again."
            raise DamagedImage(message, "voxels with numbers missing")
        voxels = np.asarray(flat, np.float64).reshape(-1, COLUMNS)
        voxels = voxels[~(voxels[:, 3] <= threshold)]  # what is no number stays, and is told of
        at = np.floor(voxels[:, [row, column]])
        if not np.all((at >= 0) & (at < SIDE)):
            message = f"{name}: a voxel lies outside of the cube of {SIDE}; the file is damaged. Fetch it again."
            raise DamagedImage(message, "voxels outside of the cube")
        place = at.astype(np.int64) @ [SIDE, 1]
        return np.bincount(place, voxels[:, 3], minlength=SIDE**2).astype(np.float32).reshape(SIDE, SIDE)

    def window(first: int, stop: int) -> npt.NDArray[np.float32]:
        with reading(name, WHAT):
            return np.stack([picture(flat) for flat in handle().dataset("point")[first:stop]])[:, None]

    about = {"format": WHAT, "projection": projection, "threshold": threshold, "layout": "events, 1, rows, columns"}
    about |= {"rows": f"voxels along {projection[0]}", "columns": f"voxels along {projection[1]}"}
    return LazyImages(window, (1, SIDE, SIDE), name=name, entries=np.arange(count), unit="MeV", about=about)


def _numbers(events: Any, path: Path) -> int:
    """How many numbers all ragged rows announce: HDF5 would take memory for them before it looks for them. 0 where rows are filtered,
    which hides it."""
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
    # A row begins with its length; the place of its numbers in the file's heap follows.
    return sum(int(np.frombuffer(part, np.uint8).reshape(-1, size)[:, :4].copy().view("<u4").sum(dtype=np.uint64)) for part in rows)
