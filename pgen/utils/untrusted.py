"""Loading what may come from a stranger: no code in it runs, and nothing in it takes more memory than the file has bytes."""

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
    """Plain tensors and values as torch saves them, on the CPU, with ``arrays`` those of NumPy too, each as a :class:`PickledArray`. Any of
    torch's exceptions, or ValueError for what is no honest file."""
    import torch

    refuse_odd_archive(file)
    with torch.serialization.safe_globals(STAND_INS if arrays else []):  # type: ignore[arg-type]
        content = torch.load(file, map_location="cpu", weights_only=True)
    for tensor in _tensors(content):
        # A tensor of stride 0 claims any size without a byte.
        if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with {tensor.untyped_storage().nbytes()} bytes of values")
    return content


class PickledType:
    """The type of a pickled array, by its letters alone: of those that NumPy takes, some make it read memory that is not the array's."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype:
        """The type. ValueError for one of neither numbers nor text."""
        if not re.fullmatch("b1|[iuf][1248]|[US][0-9]{1,6}", self.code):
            raise ValueError(f"an array of type {self.code}, wanted numbers or text")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class PickledArray:
    """An array of NumPy in a torch file, in place of which its code would run: no more than its type, shape and bytes."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def array(self) -> npt.NDArray:
        """The array. ValueError for one of neither numbers nor text, or whose bytes do not fit."""
        _, shape, kind, is_column_major, content = self._state
        if not isinstance(kind, PickledType) or not isinstance(content, bytes):
            raise ValueError("an array of Python objects")
        return np.frombuffer(content, kind.dtype()).reshape(shape, order="F" if is_column_major else "C")


def pickled_scalar(kind: Any, content: Any) -> Any:
    """A number of NumPy's in a torch file."""
    if not isinstance(kind, PickledType) or not isinstance(content, bytes):
        raise ValueError("a NumPy object that is no number")
    return np.frombuffer(content, kind.dtype())[0].item()


#: What stands for NumPy's functions and classes in the pickle of a torch file, by their names in version 1 and 2.
STAND_INS = [
    *((PickledArray, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((pickled_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (PickledArray, "numpy.ndarray"),
    (PickledType, "numpy.dtype"),
]


def refuse_odd_archive(file: Path | IO[bytes]) -> None:
    """ValueError for a zip file that torch does not write: with members that unpack to more than it holds, or of one name, of which one
    reader might see the first and another the last."""
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
    """ValueError where two members of an archive have one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it holds {name} twice")
        seen.add(name)


class TooLarge(ValueError):
    """What a file announces does not fit into memory, whether or not the file holds it."""


def refuse_larger_than_memory(arrays: Iterable[tuple[tuple[int, ...], int]]) -> None:
    """TooLarge where arrays, (shape, bytes of a value), would not fit into the memory that is free."""
    wanted, free = sum(math.prod(shape) * size for shape, size in arrays), free_memory()
    if wanted > free:
        raise TooLarge(f"its arrays take {wanted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free")


def _tensors(content: Any) -> Iterator[Any]:
    import torch

    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself, or another many times over
            waiting += value.values() if isinstance(value, dict) else value
