"""Folders of batch_<i>.npy, with the momenta of their particles in batch_mom_<i>.npy, as the protons64 set has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.data.formats.arrays import list_members, load_arrays
from pgen.data.formats.base import LazyImages, make_window
from pgen.errors import PgenError
from pgen.utils.paths import list_numbered_files

MOMENTUM = ("px", "py", "pz")  #: labels, MeV/c


def find_batches(folder: Path) -> list[Path]:
    """batch_<i>.npy in order of i."""
    return list_numbered_files(folder, "batch")


def open_batches(folder: Path, name: str) -> LazyImages:
    """An ImageSet of the batches (n, H, W), mapped and not loaded; ids are "i/k", image k of batch i. Labels px, py, pz (MeV/c) where
    every batch has its momenta (n, 3). UserError where batches differ in shape, or momenta do not fit."""
    paths = find_batches(folder)
    batches = [list_members(path, f"{name}: {path.name}", "npy")["images"] for path in paths]
    for path, batch in zip(paths, batches, strict=True):
        if len(batch.shape) != 3 or batch.shape[1:] != batches[0].shape[1:] or batch.dtype.kind not in "biuf":
            raise PgenError(f"{name}: {path.name} holds {batch}, wanted images (n, H, W) of one size in all batches.")
    counts = [batch.shape[0] for batch in batches]
    return LazyImages(
        make_window(counts, lambda k, first, stop: batches[k].read(slice(first, stop))[:, None]),
        (1, batches[0].shape[1], batches[0].shape[2]),
        name=name,
        entries=np.arange(sum(counts)),
        ids=[f"{path.stem.removeprefix('batch_')}/{k}" for path, count in zip(paths, counts, strict=True) for k in range(count)],
        labels=_momenta(folder, paths, counts, name),
        about={"format": "folder of batches"},
    )


def _momenta(folder: Path, paths: list[Path], counts: list[int], name: str) -> dict[str, npt.NDArray]:
    beside = [folder / path.name.replace("batch_", "batch_mom_") for path in paths]
    there = [path for path in beside if path.is_file()]
    if not there:
        return {}
    if len(there) < len(beside):
        missing = next(path for path in beside if path not in there)
        raise PgenError(f"{name}: {missing.name} is not there, wanted the momenta of every batch, or of none.")
    momenta = [load_arrays(path, f"{name}: {path.name}", "npy")["images"] for path in beside]
    for path, found, count in zip(beside, momenta, counts, strict=True):
        if found.shape != (count, len(MOMENTUM)) or found.dtype.kind not in "iuf":
            raise PgenError(f"{name}: {path.name} holds {found.dtype} {found.shape}, wanted the momenta ({count}, {len(MOMENTUM)}).")
    return dict(zip(MOMENTUM, np.concatenate(momenta).astype(np.float64).T, strict=True))
