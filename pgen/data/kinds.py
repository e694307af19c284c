"""What kind of file a path is, told by its first bytes alone."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from pgen.data import not_images
from pgen.data.reading import reading
from pgen.errors import UserError

Kind = Literal["root", "hdf5", "npy", "npz", "pt"]
MAGIC: dict[bytes, Kind] = {b"root": "root", b"\x89HDF\r\n\x1a\n": "hdf5", b"\x93NUMPY": "npy", b"\x80\x02": "pt"}
WANTED = "wanted ROOT (LArCV1/2), HDF5, npy, npz, torch .pt, or a folder of PNG or MNIST files"


def kind_of(path: Path, name: str) -> Kind:
    """The kind of a file; UserError if it is empty or of no kind that holds images."""
    with reading(name, "a file"), path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise UserError(f"{name}: the file is empty (0 bytes), {WANTED}.")
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"PK"):
        return _zip_kind(path, name)
    if head.startswith((b"\x89PNG", b"\x1f\x8b", b"\0\0\x08")):
        raise UserError(f"{name}: a single PNG, gzip or IDX file, wanted the folder that holds it; give that folder.")
    if what := not_images.explain_file(path):
        raise UserError(f"{name}: is {what}.")
    raise UserError(f"{name}: a file of unknown kind (it begins with {head[:8]!r}), {WANTED}.")


def _zip_kind(path: Path, name: str) -> Kind:
    """npz and .pt are both zip files: torch's holds a data.pkl."""
    with reading(name, "an npz or torch file"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(Path(member).name == "data.pkl" for member in names):
        return "pt"
    if all(member.endswith(".npy") for member in names):
        return "npz"
    if what := not_images.explain_file(path):
        raise UserError(f"{name}: is {what}.")
    raise UserError(f"{name}: a zip file that is neither npz nor torch (holds {names[0]}, ...), {WANTED}; unpack it first.")
