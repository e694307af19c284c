"""Loading what may come from a stranger: no code in it runs, and nothing in it takes more memory than the file has bytes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pgen.resources import free_memory


def load_torch(file: Path | IO[bytes]) -> Any:
    """Plain tensors and values as torch saves them, on the CPU. Any of torch's exceptions, or ValueError for what is no honest file."""
    import torch

    refuse_odd_archive(file)
    content = torch.load(file, map_location="cpu", weights_only=True)
    for tensor in _tensors(content):
        # A tensor of stride 0 claims any size without a byte.
        if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with {tensor.untyped_storage().nbytes()} bytes of values")
    return content


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


def refuse_larger_than_memory(arrays: Iterable[tuple[tuple[int, ...], int]]) -> None:
    """ValueError where arrays, (shape, bytes of a value), would not fit into the memory that is free."""
    wanted, free = sum(math.prod(shape) * size for shape, size in arrays), free_memory()
    if wanted > free:
        raise ValueError(f"its arrays take {wanted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free")


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
