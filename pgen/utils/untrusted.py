"""Load files from untrusted sources.

No code in them is run, and no array in them can claim more memory than the file has bytes.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pgen.utils.resources import free_memory


def load_torch(file: Path | IO[bytes], *, arrays: bool = False) -> Any:
    """Load tensors and plain values that torch saved, onto the CPU.

    Args:
        file: The file.
        arrays: Also load NumPy arrays, each as a :class:`PickledArray`.

    Raises:
        ValueError: The file was manipulated.
        Exception: Any error of `torch.load`.
    """
    import torch

    refuse_odd_archive(file)
    with torch.serialization.safe_globals(STAND_INS if arrays else []):  # type: ignore[arg-type]
        content = torch.load(file, map_location="cpu", weights_only=True)
    for tensor in _tensors(content):
        # With stride 0 a tensor can claim any size without storing it.
        if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with {tensor.untyped_storage().nbytes()} bytes of values")
    return content


class PickledType:
    """Stand-in for the dtype of a pickled array, known by its code only.

    NumPy accepts dtypes that make it read memory outside the array.
    """

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype:
        """Return the dtype; ValueError unless it is one of numbers or text."""
        if not re.fullmatch("b1|[iuf][1248]|[US][0-9]{1,6}", self.code):
            raise ValueError(f"an array of type {self.code}, expected numbers or text")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class PickledArray:
    """Stand-in for a NumPy array in a torch file: its dtype, shape and bytes."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def array(self) -> npt.NDArray:
        """Return the array; ValueError unless it has numbers or text, and all of its bytes."""
        _, shape, kind, is_column_major, content = self._state
        if not isinstance(kind, PickledType) or not isinstance(content, bytes):
            raise ValueError("an array of Python objects")
        return np.frombuffer(content, kind.dtype()).reshape(shape, order="F" if is_column_major else "C")


def pickled_scalar(kind: Any, content: Any) -> Any:
    """Stand-in for the constructor of a NumPy number in a torch file."""
    if not isinstance(kind, PickledType) or not isinstance(content, bytes):
        raise ValueError("a NumPy object that is not a number")
    return np.frombuffer(content, kind.dtype())[0].item()


#: Stand-ins for NumPy's functions and classes in a torch file, by their names in NumPy 1 and 2.
STAND_INS = [
    *((PickledArray, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((pickled_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (PickledArray, "numpy.ndarray"),
    (PickledType, "numpy.dtype"),
]


def refuse_odd_archive(file: Path | IO[bytes]) -> None:
    """Raise ValueError for a zip file that torch would not write.

    Compressed members could unpack to any size, and of two members with the same name different
    readers could see different ones.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if packed := [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]:
        raise ValueError(f"its member {packed[0]} is compressed, which torch never does")
    refuse_same_names([member.filename.casefold() for member in members])
    if not isinstance(file, Path):
        file.seek(0)


def refuse_same_names(names: Sequence[str]) -> None:
    """Raise ValueError if two members of an archive have the same name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it has two members {name}")
        seen.add(name)


class TooLarge(ValueError):
    """Arrays that a file announces, and may not even contain, do not fit into memory."""


def refuse_larger_than_memory(arrays: Iterable[tuple[tuple[int, ...], int]]) -> None:
    """Raise TooLarge if arrays, given as (shape, bytes per value), exceed the free memory."""
    needed, free = sum(math.prod(shape) * size for shape, size in arrays), free_memory()
    if needed > free:
        raise TooLarge(f"its arrays take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free")


def _tensors(content: Any) -> Iterator[Any]:
    import torch

    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a list may contain itself, or another list many times
            waiting += value.values() if isinstance(value, dict) else value
