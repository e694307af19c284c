"""Which files of a folder are data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.utils.paths import natural_key, walk

#: Endings of files that a folder of data may consist of, besides PNG; what kind each is, its content decides.
ARRAYS = (".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5", ".hdf", ".mat", ".root")


def find_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder and the folders in it that have one of the endings, but hidden ones; "2.png" before "10.png"."""
    paths = [path for path in walk(folder) if path.suffix.lower() in endings]
    return sorted(paths, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def label_folders(files: Sequence[str]) -> dict[str, npt.NDArray[np.str_]]:
    """The label ``folder`` of images by their files: the folder of each, where there are several, as of classes."""
    folders = [file.rpartition("/")[0] or "." for file in files]
    return {"folder": np.array(folders)} if len(set(folders)) > 1 else {}
