"""Arrays in npy, npz and torch (.pt) files. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.events import events_in
from pgen.data.planes import only
from pgen.data.reading import LazyImages, from_array, reading, text
from pgen.data.suppress import NOTE
from pgen.errors import UserError, listed
from pgen.trust import load_torch, refuse_larger_than_memory, refuse_same_names


def load_pt(path: Path, name: str) -> Any:
    """The tensors and plain values of a torch file, on the CPU."""
    with reading(name, "a torch file of plain tensors"):
        return load_torch(path)


def load_arrays(path: Path, name: str, kind: str) -> dict[str, npt.NDArray]:
    """Every array of a file by its name; the lone array of an npy or of a bare .pt tensor is called ``images``."""
    if kind == "pt":
        import torch

        content = load_pt(path, name)
        tensors = {"images": content} if isinstance(content, torch.Tensor) else content
        if not isinstance(tensors, dict):
            raise UserError(f"{name}: a torch file holding a {type(content).__name__}, wanted a tensor or a dict with a tensor 'images'.")
        with reading(name, "a torch file of plain arrays"):
            lists = {str(key): np.asarray(value) for key, value in tensors.items() if isinstance(value, list) and _is_flat(value)}
            return lists | {
                str(key): (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
                for key, value in tensors.items()
                if isinstance(value, torch.Tensor) and value.layout == torch.strided
            }
    with reading(name, f"numpy {kind}"):
        if kind == "npy":
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        refuse_larger_than_memory((shape, dtype.itemsize) for shape, dtype in headers(path, name, kind).values())
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}


def headers(path: Path, name: str, kind: str) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """(shape, type) of every array of a file, without reading an npz's data."""
    if kind != "npz":
        return {key: (array.shape, array.dtype) for key, array in load_arrays(path, name, kind).items()}
    found = {}
    with reading(name, "numpy npz"), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = header(stream)
                found[member.removesuffix(".npy")] = (shape, dtype)
        refuse_same_names([member.removesuffix(".npy") for member in archive.namelist()])
    return found


def _is_flat(values: list) -> bool:
    """Whether a list holds no other, which could unfold to any size."""
    return not any(isinstance(value, list | tuple | dict) for value in values)


def open_arrays(path: Path, name: str, kind: str, key: str | None = None) -> LazyImages:
    """An ImageSet over the array ``key`` (N, H, W) or (N, C, H, W): the one called ``images``, or the only one of such a rank.

    Read too where they are there: ``ids``, ``unit``, ``geometry``, ``zero_suppression``, ``labels/<name>``, and events by the columns that
    :func:`pgen.data.events.events_in` knows.
    """
    arrays = load_arrays(path, name, kind)
    stacks = [k for k, array in arrays.items() if array.ndim in (3, 4) and not k.startswith("labels/")]
    if not stacks:
        found = listed((f"{k} {array.shape}" for k, array in arrays.items()), empty="no array")
        raise UserError(f"{name}: found {found}, wanted images as one array (N, H, W) or (N, C, H, W).")
    key = only("key", stacks, key or ("images" if "images" in stacks else None), name)
    with reading(name, "arrays with a unit"):
        unit = text(arrays.get("unit", "ADC"))
        suppression = {NOTE: float(arrays[NOTE])} if np.shape(arrays.get(NOTE, [0])) == () else {}
    return from_array(
        arrays[key],
        name=name,
        ids=arrays.get("ids"),
        events=events_in(arrays, len(arrays[key])),
        labels={k.removeprefix("labels/"): v for k, v in arrays.items() if k.startswith("labels/")},
        unit=unit,
        geometry=arrays.get("geometry"),
        about={"format": kind, **({"key": key} if kind != "npy" else {}), **suppression},
    )


def open_npy(path: Path, name: str) -> LazyImages:
    """An npy file, mapped and not loaded."""
    return open_arrays(path, name, "npy")


def open_npz(path: Path, name: str, *, key: str | None = None) -> LazyImages:
    """An npz file."""
    return open_arrays(path, name, "npz", key)


def open_pt(path: Path, name: str, *, key: str | None = None) -> LazyImages:
    """A torch file: a tensor, or a dict of tensors."""
    return open_arrays(path, name, "pt", key)
