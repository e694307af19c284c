"""Arrays in npy, npz and torch (.pt) files. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import ForkSafeHandle, LazyImages, require_file, to_text, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.formats.members import Member, No, open_members, refuse_reading
from pgen.data.images import ZERO_SUPPRESSION, ImageSet, common_zero_suppression, concatenate_metadata, metadata_arrays, read_all
from pgen.errors import DataError
from pgen.utils.paths import MACOS_DEBRIS
from pgen.utils.untrusted import PickledArray, load_torch, refuse_larger_than_memory, refuse_same_names

#: How the format of latent codes that pgen wrote begins.
CODES = "pgen-codes-"
OBJECTS = "cannot be read: it holds Python objects, which pgen never unpickles"


def load_pt(path: Path, name: str) -> Any:
    """Load the tensors, arrays and plain values of a torch file, on the CPU."""
    require_file(path, name)
    with wrap_read_errors(name, "a torch file of plain tensors"):
        return load_torch(path, arrays=True)


def list_members(path: Path, name: str, format_name: str) -> dict[str, Member]:
    """List the arrays of a file by name; an npy file or a bare tensor has one, ``images``."""
    require_file(path, name)
    if format_name == "npy":
        return _list_npy(path, name)
    return _list_npz(path, name) if format_name == "npz" else _list_pt(path, name)


def load_arrays(path: Path, name: str, format_name: str) -> dict[str, npt.NDArray]:
    """Load every array of a file that needs no unpickling."""
    members = {key: member for key, member in list_members(path, name, format_name).items() if not member.problem}
    with wrap_read_errors(name, format_name):
        refuse_larger_than_memory((member.shape, member.dtype.itemsize) for member in members.values() if format_name != "pt")
        return {key: member.read(...) for key, member in members.items()}


def _list_npy(path: Path, name: str) -> dict[str, Member]:
    with wrap_read_errors(name, "numpy npy"):
        with path.open("rb") as stream:
            shape, dtype = _read_header(stream)
        if dtype.hasobject:
            return {"images": Member(shape, dtype, refuse_reading, OBJECTS)}
        # Mapped, not loaded.
        handle = ForkSafeHandle(lambda: np.load(path, mmap_mode="r", allow_pickle=False))
        handle()  # notices what is missing
    # Copied, since a view would keep the file open.
    return {"images": Member(shape, dtype, lambda index: np.array(handle()[index]))}


def _list_npz(path: Path, name: str) -> dict[str, Member]:
    members = {}
    with wrap_read_errors(name, "numpy npz"), zipfile.ZipFile(path) as archive:
        files = [file for file in archive.namelist() if file.endswith(".npy") and not file.startswith(MACOS_DEBRIS)]
        refuse_same_names(files)
        for file in files:
            with archive.open(file) as stream:
                shape, dtype = _read_header(stream)
            handle = ForkSafeHandle(partial(_load_npz, path, file), files=0, memory=dtype.itemsize * prod(shape))
            read = partial(_read, handle)
            members[file.removesuffix(".npy")] = Member(shape, dtype, read, OBJECTS if dtype.hasobject else "")
    return members


def _load_npz(path: Path, file: str) -> npt.NDArray:
    with zipfile.ZipFile(path) as archive:
        with archive.open(file) as stream:
            shape, dtype = _read_header(stream)
        refuse_larger_than_memory([(shape, dtype.itemsize)])
        with archive.open(file) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def _read(handle: ForkSafeHandle[npt.NDArray], index: Any) -> npt.NDArray:
    return handle()[index]


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and type of the array of an npy file."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _list_pt(path: Path, name: str) -> dict[str, Member]:
    arrays, problems = _load_pt_arrays(path, name)
    handle = ForkSafeHandle(lambda: _load_pt_arrays(path, name)[0], arrays, files=0, memory=sum(array.nbytes for array in arrays.values()))
    unreadable = {key: Member((), np.dtype(object), refuse_reading, problem) for key, problem in problems.items()}
    return unreadable | {key: Member(array.shape, array.dtype, partial(_read_one, handle, key)) for key, array in arrays.items()}


def _read_one(handle: ForkSafeHandle[dict[str, npt.NDArray]], key: str, index: Any) -> npt.NDArray:
    return handle()[key][index]


def _load_pt_arrays(path: Path, name: str) -> tuple[dict[str, npt.NDArray], dict[str, str]]:
    """Load the arrays of a torch file by their paths in dictionaries and lists: ``labels/pdg``.

    Returns:
        The arrays, and why others cannot be read.
    """
    import torch

    arrays: dict[str, npt.NDArray] = {}
    problems: dict[str, str] = {}
    # A list may hold itself, or another many times over.
    stack, seen = [("", load_pt(path, name))], set[int]()
    while stack:
        key, value = stack.pop()
        try:
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                arrays[key or "images"] = (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
            elif isinstance(value, PickledArray):
                arrays[key or "images"] = value.array()
            elif isinstance(value, str) or (isinstance(value, list) and value and _is_column(value)):
                arrays[key] = np.asarray(value)
            elif isinstance(value, dict | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                items = value.items() if isinstance(value, dict) else enumerate(value)
                stack += [(f"{key}/{name}" if key else str(name), item) for name, item in items][::-1]
        except (TypeError, ValueError) as error:
            problems[key or "images"] = f"cannot be read ({error})"
    return arrays, problems


def _is_column(values: list) -> bool:
    """Whether a list is a column of numbers, or of text."""
    return all(isinstance(value, int | float) and abs(value) < 2**63 for value in values) or all(isinstance(value, str) for value in values)


def open_arrays(
    path: Path,
    name: str,
    format_name: str,
    *,
    key: str | None = None,
    layout: str | None = None,
    labels: No | None = None,
    events: No | None = None,
) -> LazyImages:
    """Open the images of a file of arrays, see :func:`pgen.data.formats.members.open_members`."""
    members = list_members(path, name, format_name)
    if "format" in members and members["format"].dtype.kind == "U" and to_text(members["format"].read(...)).startswith(CODES):
        raise DataError(f"{name}: holds latent codes, not images; give it as `targets`.")
    return open_members(
        members,
        path=path,
        name=name,
        option="" if format_name == "npy" else "key",
        choice=key,
        layout=layout,
        labels=labels,
        events=events,
        about={"format": format_name},
    )


def open_npy(path: Path, name: str, *, layout: str | None = None) -> LazyImages:
    """Open an npy file, mapped and not loaded."""
    return open_arrays(path, name, "npy", layout=layout)


def open_npz(
    path: Path, name: str, *, key: str | None = None, layout: str | None = None, labels: No | None = None, events: No | None = None
) -> LazyImages:
    """Open an npz file."""
    return open_arrays(path, name, "npz", key=key, layout=layout, labels=labels, events=events)


def open_pt(
    path: Path, name: str, *, key: str | None = None, layout: str | None = None, labels: No | None = None, events: No | None = None
) -> LazyImages:
    """Open a torch file: a tensor, or tensors in dictionaries and lists."""
    return open_arrays(path, name, "pt", key=key, layout=layout, labels=labels, events=events)


def write_npz(path: Path, sets: Iterable[ImageSet]) -> None:
    """Write sets of one shape, unit and kind of labels; all of them are in memory at once."""
    sets = list(sets)
    suppression = common_zero_suppression(sets)
    parts = [metadata_arrays(images) for images in sets]
    with path.open("wb") as stream:  # a stream, because savez adds .npz to a path
        np.savez_compressed(
            stream,
            allow_pickle=False,
            images=np.concatenate([read_all(images) for images in sets]),
            unit=np.asarray(sets[0].unit),
            **({} if suppression is None else {ZERO_SUPPRESSION: np.asarray(suppression)}),
            **concatenate_metadata({key: [part[key] for part in parts] for key in parts[0]}),
        )


def _list_contents(path: Path, name: str, format_name: str) -> dict[str, str]:
    return {key: member.problem or str(member) for key, member in list_members(path, name, format_name).items()}


NPY = Format("npy", lambda probe: probe.head.startswith(b"\x93NUMPY"), open_npy, contents=partial(_list_contents, format_name="npy"))
NPZ = Format(
    "npz",
    lambda probe: probe.zip_names is not None and (not probe.zip_names or any(name.endswith(".npy") for name in probe.zip_names)),
    open_npz,
    contents=partial(_list_contents, format_name="npz"),
    write=write_npz,
    suffixes=(".npz",),
)
#: A zip file with a data.pkl, or a pickle as torch wrote it before version 1.6. Tried before NPZ.
PT = Format(
    "pt",
    lambda probe: probe.head.startswith(b"\x80\x02") or any(Path(name).name == "data.pkl" for name in probe.zip_names or ()),
    open_pt,
    contents=partial(_list_contents, format_name="pt"),
)
