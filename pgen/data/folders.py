"""Which files of a folder are data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgen.utils.paths import natural_key, walk

#: Endings of files that a folder of data may hold, besides PNG. Their content decides the format.
DATA_ENDINGS = (".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5", ".hdf", ".mat", ".root")


def find_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """Return the files below a folder with these endings, in natural order, but hidden ones."""
    paths = [path for path in walk(folder) if path.suffix.lower() in endings]
    return sorted(paths, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def folder_label(files: Sequence[str]) -> dict[str, npt.NDArray[np.str_]]:
    """Return the label ``folder``, (N,), of one image per file; empty for a single folder."""
    folders = [file.rpartition("/")[0] or "." for file in files]
    return {"folder": np.array(folders)} if len(set(folders)) > 1 else {}
