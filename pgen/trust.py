"""Loading what may come from a stranger: no code in it runs, and nothing in it takes more memory than the file has bytes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any


def load_torch(file: Path | IO[bytes]) -> Any:
    """Plain tensors and values as torch saves them, on the CPU. Any of torch's exceptions, or ValueError for what is no honest file."""
    import torch

    refuse_compressed(file)
    content = torch.load(file, map_location="cpu", weights_only=True)
    for tensor in _tensors(content):
        # A tensor of stride 0 claims any size without a byte.
        if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with {tensor.untyped_storage().nbytes()} bytes of values")
    return content


def refuse_compressed(file: Path | IO[bytes]) -> None:
    """ValueError for a zip file whose members would unpack to more than it holds. torch compresses nothing."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        packed = [member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"its member {packed[0]} is compressed, which torch never does")
    if not isinstance(file, Path):
        file.seek(0)


def refuse_larger_than_memory(arrays: Iterable[tuple[tuple[int, ...], int]]) -> None:
    """ValueError where arrays, (shape, bytes of a value), would not fit into this machine's free memory."""
    wanted, free = sum(math.prod(shape) * size for shape, size in arrays), free_memory()
    if wanted > free:
        raise ValueError(f"its arrays take {wanted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free")


def free_memory() -> int:
    """Bytes that this machine has available."""
    try:
        with Path("/proc/meminfo").open() as lines:
            return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return 2**32


def _tensors(content: Any) -> Iterable[Any]:
    import torch

    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _tensors(value)
