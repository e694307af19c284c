"""What a file format is, and what of a file or folder decides its format."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from pgen.data.formats.base import wrap_read_errors
from pgen.data.formats.hdf5_safe import Hdf5File
from pgen.data.images import ImageSet
from pgen.errors import DataError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
EXPECTED = "expected ROOT (LArCV1/2), HDF5, npy, npz, torch .pt, or a folder of PNG or MNIST files"


@dataclass(frozen=True)
class Format:
    """A format of files or folders of images.

    Attributes:
        name: Short name.
        sniff: Whether a file or folder is of this format. The first format that says so is taken.
        open: Opens it: a function of the path, of what the user typed, and of keyword-only options,
            which the user gives as ``PATH:key=value``. They are str, int, float, bool or a Literal
            of words, each possibly ``| None``.
        contents: Lists what a file holds, of (path, name): trees, datasets, arrays, and how much of
            each.
        write: Writes sets of images of one shape, unit and kind of labels; None if pgen only reads
            it.
        suffixes: Suffixes of files that are written in this format; "" is a folder.
    """

    name: str
    sniff: Callable[[Probe], bool]
    open: Callable[..., ImageSet]
    contents: Callable[[Path, str], dict[str, str]] | None = None
    write: Callable[[Path, Iterable[ImageSet]], None] | None = None
    suffixes: tuple[str, ...] = ()


class Probe:
    """A file or folder whose format is to be found. What formats look at is read once.

    Args:
        path: The file or folder.
        name: What the user typed, for messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.is_folder = path.is_dir()

    @cached_property
    def head(self) -> bytes:
        """The first 16 bytes; none of a folder."""
        if self.is_folder:
            return b""
        with wrap_read_errors(self.name, "a file"), self.path.open("rb") as stream:
            head = stream.read(16)
        if not head:
            raise DataError(f"{self.name}: the file is empty (0 bytes), {EXPECTED}.")
        return head

    @cached_property
    def zip_names(self) -> list[str] | None:
        """Names of the members of a zip file, as npz and .pt are; None of another file."""
        if not self.head.startswith(b"PK"):
            return None
        with wrap_read_errors(self.name, "an npz or torch file"), zipfile.ZipFile(self.path) as archive:
            return archive.namelist()

    @cached_property
    def hdf5(self) -> Hdf5File | None:
        """The open HDF5 file; None if it is none."""
        return Hdf5File(self.path, self.name) if self.head.startswith(HDF5_MAGIC) or self._has_user_block() else None

    def _has_user_block(self) -> bool:
        """Whether HDF5 follows a block of other data, as in MATLAB files, of 512 bytes * 2^k."""
        if self.is_folder:
            return False
        with wrap_read_errors(self.name, "a file"), self.path.open("rb") as stream:
            size, start = stream.seek(0, os.SEEK_END), 512
            while start < size:
                stream.seek(start)
                if stream.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                    return True
                start *= 2
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if (file := self.__dict__.get("hdf5")) is not None:
            file.close()
