"""Folders of batch_<i>.npy, with momenta in batch_mom_<i>.npy, as in the protons64 set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.data.formats.arrays import list_members, load_arrays
from pgen.data.formats.base import LazyImages, make_window
from pgen.data.formats.format import Format
from pgen.errors import DataError
from pgen.utils.paths import list_numbered_files

#: Labels, in MeV/c.
MOMENTUM = ("px", "py", "pz")


def find_batches(folder: Path) -> list[Path]:
    """Return the files batch_<i>.npy in order of i."""
    return list_numbered_files(folder, "batch")


def open_batches(folder: Path, name: str) -> LazyImages:
    """Open the batches (n, H, W), mapped and not loaded; "i/k" is the id of image k of batch i.

    Labels are px, py, pz (MeV/c), if every batch has its momenta (n, 3).

    Raises:
        DataError: If batches differ in shape, or momenta do not fit.
    """
    paths = find_batches(folder)
    batches = [list_members(path, f"{name}: {path.name}", "npy")["images"] for path in paths]
    for path, batch in zip(paths, batches, strict=True):
        if len(batch.shape) != 3 or batch.shape[1:] != batches[0].shape[1:] or batch.dtype.kind not in "biuf":
            raise DataError(f"{name}: {path.name} holds {batch}, expected images (n, H, W) of one size in all batches.")
    counts = [batch.shape[0] for batch in batches]
    return LazyImages(
        make_window(counts, lambda k, first, stop: batches[k].read(slice(first, stop))[:, None]),
        (1, batches[0].shape[1], batches[0].shape[2]),
        name=name,
        entries=np.arange(sum(counts)),
        ids=[f"{path.stem.removeprefix('batch_')}/{k}" for path, count in zip(paths, counts, strict=True) for k in range(count)],
        labels=_read_momenta(folder, paths, counts, name),
        about={"format": "folder of batches"},
    )


def _read_momenta(folder: Path, paths: list[Path], counts: list[int], name: str) -> dict[str, npt.NDArray]:
    files = [folder / path.name.replace("batch_", "batch_mom_") for path in paths]
    missing = [path for path in files if not path.is_file()]
    if len(missing) == len(files):
        return {}
    if missing:
        raise DataError(f"{name}: {missing[0].name} is not there, expected the momenta of every batch, or of none.")
    momenta = [load_arrays(path, f"{name}: {path.name}", "npy")["images"] for path in files]
    for path, values, count in zip(files, momenta, counts, strict=True):
        if values.shape != (count, len(MOMENTUM)) or values.dtype.kind not in "iuf":
            raise DataError(f"{name}: {path.name} holds {values.dtype} {values.shape}, expected the momenta ({count}, {len(MOMENTUM)}).")
    return dict(zip(MOMENTUM, np.concatenate(momenta).astype(np.float64).T, strict=True))


FORMAT = Format("batches", lambda probe: probe.is_folder and bool(find_batches(probe.path)), open_batches)
