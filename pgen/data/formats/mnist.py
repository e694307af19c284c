"""MNIST: the four original IDX files, plain or gzip-compressed.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". An IDX file is two zero bytes, a
type byte (8 = uint8), the rank, the sizes as big-endian uint32, and the values.
"""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import LazyImages, from_array, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.errors import DataError
from pgen.utils.caches import is_writable, lasting_folder
from pgen.utils.paths import expand

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
PREFIX = {"train": "train", "test": "t10k"}


def has_idx(folder: Path) -> bool:
    """Whether a folder holds IDX images of either split."""
    return any(_find(folder, f"{prefix}-images-idx3-ubyte") for prefix in PREFIX.values())


def _find(folder: Path, stem: str) -> Path | None:
    return next((folder / f for f in (f"{stem}.gz", stem) if (folder / f).is_file()), None)


def open_mnist(path: Path, name: str, *, split: Literal["train", "test"] = "train") -> LazyImages:
    """Open a folder of IDX files: images (1, 28, 28), grey levels 0-255; label ``digit``."""
    arrays = []
    for part, rank in (("images-idx3", 3), ("labels-idx1", 1)):
        stem = f"{PREFIX[split]}-{part}-ubyte"
        file = _find(path, stem)
        if file is None:
            raise DataError(f"{name}: the folder {path} has no {stem}(.gz); put the four MNIST files there, or give another root=.")
        arrays.append(read_idx(file, rank))
    pixels, digits = arrays
    return from_array(
        pixels,
        name=name,
        events=[f"mnist/{split}/{k}" for k in range(len(pixels))],
        labels={"digit": digits.astype(np.int64)},
        unit="grey level",
        about={"format": "IDX", "split": split},
    )


def open_mnist_scheme(
    name: str, data_root: Path | None, *, root: str | None = None, split: Literal["train", "test"] = "train"
) -> LazyImages:
    """Open MNIST from ``root``, or the data root, or download it into the user's cache.

    In the data root, mnist/ and MNIST/raw/ are searched too.
    """
    if root is not None:
        folder = expand(root)
        return open_mnist(folder if folder.is_absolute() or data_root is None else data_root / folder, name, split=split)
    near = [data_root, data_root / "mnist", data_root / "MNIST" / "raw"] if data_root else []
    return open_mnist(next((folder for folder in near if has_idx(folder)), None) or _download(name, split), name, split=split)


def cache_folder() -> Path:
    """Return the folder for downloads: the user's cache, unless that is empty and read-only."""
    import pooch

    with suppress(RuntimeError):  # if the user has no home
        usual = Path(pooch.os_cache("pgen")) / "mnist"
        if usual.is_absolute() and (is_writable(usual) or has_idx(usual)):
            return usual
    return (lasting_folder() or Path.cwd()) / "mnist"


def _download(name: str, split: str) -> Path:
    """Fetch and verify missing files of a split into pooch's cache, and return its folder."""
    import pooch

    cache = pooch.create(path=cache_folder(), base_url=MIRROR, registry=SHA256)
    try:
        for file in SHA256:
            if file.startswith(PREFIX[split]):
                cache.fetch(file)
    except Exception as error:  # of requests or of the file system
        raise DataError(
            f"{name}: the MNIST files are not in {cache.path} and could not be fetched from {MIRROR} ({type(error).__name__}); "
            "put the four .gz files into a folder and give it as mnist:root=FOLDER."
        ) from error
    return Path(cache.path)


def read_idx(path: Path, rank: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes, plain or gzip-compressed.

    Raises:
        DataError: If it is truncated, or of another type or rank.
    """
    with wrap_read_errors(str(path), "IDX"):
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    head = 4 + 4 * rank
    if content[:4] != bytes([0, 0, 8, rank]) or len(content) < head:
        raise DataError(
            f"{path}: begins with {content[:4].hex() or 'nothing'}, expected an IDX file of bytes of rank {rank}; fetch it again."
        )
    shape = np.frombuffer(content, ">u4", rank, 4)
    if len(content) - head != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path}: holds {len(content) - head} bytes for sizes {tuple(shape.tolist())}; it is truncated. Fetch it again.")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


FORMAT = Format("idx", lambda probe: probe.is_folder and has_idx(probe.path), open_mnist)
