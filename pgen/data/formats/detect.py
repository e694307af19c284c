"""What kind of file a path is, told by its first bytes alone."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Literal

from pgen.data import not_images
from pgen.data.formats.base import reading, require_file
from pgen.errors import PgenError

Kind = Literal["root", "hdf5", "npy", "npz", "pt"]
HDF5 = b"\x89HDF\r\n\x1a\n"
MAGIC: dict[bytes, Kind] = {b"root": "root", HDF5: "hdf5", b"\x93NUMPY": "npy", b"\x80\x02": "pt"}
#: Files that hold another file, and what unpacks them.
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"\x04\x22\x4d\x18": "unlz4",
    b"7z\xbc\xaf\x27\x1c": "7z x",
}
WANTED = "wanted ROOT (LArCV1/2), HDF5, npy, npz, torch .pt, or a folder of PNG or MNIST files"


def detect_format(path: Path, name: str) -> Kind:
    """The kind of a file; UserError if it is empty or of no kind that holds images."""
    require_file(path, name)
    with reading(name, "a file"), path.open("rb") as stream:
        head = stream.read(16)
        if not head:
            raise PgenError(f"{name}: the file is empty (0 bytes), {WANTED}.")
        for magic, kind in MAGIC.items():
            if head.startswith(magic):
                return kind
        if _has_user_block(stream):
            return "hdf5"
    if head.startswith(b"PK"):
        return _zip_kind(path, name)
    if head.startswith((b"\x89PNG", b"\0\0\x08")) or _is_packed_idx(path, head):
        raise PgenError(f"{name}: a single PNG or IDX file, wanted the folder that holds it; give that folder.")
    for magic, program in PACKED.items():
        if head.startswith(magic):
            raise PgenError(f"{name}: the file is compressed; unpack it first by {program}, and give what comes out.")
    if what := not_images.explain_file(path):
        raise PgenError(f"{name}: is {what}.")
    raise PgenError(f"{name}: a file of unknown kind (it begins with {head[:8]!r}), {WANTED}.")


def _has_user_block(stream: IO[bytes]) -> bool:
    """Whether a file is HDF5 behind a block of something else, as of MATLAB, whose length is 512 bytes times a power of 2."""
    size, start = stream.seek(0, os.SEEK_END), 512
    while start < size:
        stream.seek(start)
        if stream.read(len(HDF5)) == HDF5:
            return True
        start *= 2
    return False


def _is_packed_idx(path: Path, head: bytes) -> bool:
    if not head.startswith(b"\x1f\x8b"):
        return False
    try:
        with gzip.open(path) as stream:
            return stream.read(3) == b"\0\0\x08"
    except (OSError, EOFError, zlib.error):
        return False


def _zip_kind(path: Path, name: str) -> Kind:
    """npz and .pt are both zip files: torch's holds a data.pkl."""
    with reading(name, "an npz or torch file"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(Path(member).name == "data.pkl" for member in names):
        return "pt"
    if not names or any(member.endswith(".npy") for member in names):
        return "npz"
    if what := not_images.explain_file(path):
        raise PgenError(f"{name}: is {what}.")
    raise PgenError(f"{name}: a zip file that is neither npz nor torch (holds {names[0]}, ...), {WANTED}; unpack it first.")
