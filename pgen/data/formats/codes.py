"""Files of latent codes: codes.pt, folders of target_<i>.npy, and arrays of rank 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats import detect_format
from pgen.data.formats.arrays import list_members, load_arrays, load_pt
from pgen.data.formats.base import select_one, wrap_read_errors
from pgen.data.formats.format import Format
from pgen.data.latents import LatentCodes
from pgen.errors import DataError, listed
from pgen.utils.files import refuse_existing, write_through_memory
from pgen.utils.paths import expand, list_numbered_files

FORMAT = "pgen-codes-1"
EXPECTED = "expected latent codes (N, D): a codes.pt, a folder of target_<i>.npy, or a single array of rank 2"
#: Formats that can hold latent codes.
ARRAY_FORMATS = ("npy", "npz", "pt")
#: Fields of LatentCodes that every codes.pt has; those of earlier versions have no others.
_FIELDS = ("codes", "mean", "std", "ids", "source", "encoder")


def save_codes(latents: LatentCodes, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a codes.pt.

    Raises:
        DataError: If the file exists and ``overwrite`` is not set.
    """
    import torch

    values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in vars(latents).items() if k in _FIELDS}
    values |= {"spread": latents.spread, "shape": list(latents.shape)}
    values["labels"] = {name: _label_to_plain(label) for name, label in latents.labels.items()}
    path = refuse_existing(path, overwrite=overwrite)
    write_through_memory(path, lambda stream: torch.save({"format": FORMAT, **values}, stream))
    return Path(path)


def holds_codes(path: Path, name: str, format: Format | None, key: str | None = None) -> bool:
    """Whether a file or folder holds latent codes (vectors of rank 2) and no images.

    Args:
        path: The file or folder.
        name: What the user typed, for messages.
        format: The detected format.
        key: An array of the file; if it is there, only it counts.
    """
    if path.is_dir():
        return bool(find_targets(path))
    if format is None or format.name not in ARRAY_FORMATS:
        return False
    members = list_members(path, name, format.name)
    if key in members:
        return len(members[key].shape) == 2
    ranks = {len(member.shape) for member in members.values()}
    return 2 in ranks and not ranks & {3, 4}


def load_codes(src: str | Path, key: str | None = None) -> LatentCodes:
    """Load latent codes.

    Args:
        src: A codes.pt, a folder of target_<i>.npy (each a vector, or rows of vectors), or an npy,
            npz or pt file of an array (N, D). The ``encoder`` is empty for all but a codes.pt.
        key: The array of an npz or pt file that holds several.

    Raises:
        DataError: If there are no codes, or vectors of different lengths or with infinite numbers.
    """
    path, name = expand(src), str(src)
    if not path.exists():
        raise DataError(f"{name}: no such file or folder; {EXPECTED}.")
    return read_codes(path, name, None if path.is_dir() else detect_format(path, name), key)


def read_codes(path: Path, name: str, format: Format | None, key: str | None = None) -> LatentCodes:
    """Load latent codes from a file of a known format, or a folder, see :func:`load_codes`."""
    if path.is_dir():
        format = None
    if key is not None and (format is None or format.name not in ("npz", "pt")):
        raise DataError(f"{name}: holds one set of latent codes; leave key={key} out.")
    if format is None:
        return _from_array(_read_targets(path, name), name)
    if format.name not in ARRAY_FORMATS:
        raise DataError(f"{name}: a file of images ({format.name}), {EXPECTED}.")
    if format.name == "pt" and isinstance(content := load_pt(path, name), dict) and "format" in content:
        if key is not None:
            raise DataError(f"{name}: holds one set of latent codes; leave key={key} out.")
        return _from_codes_file(content, path, name)
    arrays = load_arrays(path, name, format.name)
    vectors = [key for key, array in arrays.items() if array.ndim == 2]
    if not vectors:
        raise DataError(f"{name}: found {listed((f'{k} {a.shape}' for k, a in arrays.items()), empty='no array')}, {EXPECTED}.")
    return _from_array(arrays[select_one("key", vectors, key or ("codes" if "codes" in vectors else None), name)], name)


def find_targets(folder: Path) -> list[Path]:
    """Return the files target_<i>.npy in order of i."""
    return list_numbered_files(folder, "target")


def _from_codes_file(content: dict[str, Any], path: Path, name: str) -> LatentCodes:
    if content["format"] != FORMAT:
        raise DataError(f"{name}: is of format {content['format']!r}, expected {FORMAT!r}; encode the images again with this pgen.")
    with wrap_read_errors(name, "codes.pt"):
        encoder = content["encoder"]
        if not isinstance(encoder, dict) or not isinstance(encoder.get("file", ""), str):
            raise ValueError(f"its encoder is {encoder!r}, expected a table with the name of a file")
        if Path(file := encoder.get("file", "x")).name != file:
            raise ValueError(f"its decoder {file!r} would lie elsewhere, expected a file next to it")
        # An earlier version wrote no labels and no shape.
        shape = tuple(int(extent) for extent in content.get("shape", ()))
        labels = {str(label): np.asarray(values) for label, values in content.get("labels", {}).items()}
        fields = {key: content[key] for key in _FIELDS}
        return LatentCodes(**fields, labels=labels, spread=content.get("spread"), shape=shape, folder=path.parent)


def _label_to_plain(label: npt.NDArray) -> Any:
    """Convert a label to what torch.load reads without pickle: a tensor, or a list of text."""
    import torch

    return label.tolist() if label.dtype.kind in "US" else torch.from_numpy(np.array(label))


def _from_array(vectors: npt.NDArray, name: str) -> LatentCodes:
    import torch

    if vectors.dtype.kind not in "biuf":
        raise DataError(f"{name}: found vectors of type {vectors.dtype}, {EXPECTED} of real numbers.")
    codes = torch.from_numpy(np.array(vectors, dtype=np.float32))
    return LatentCodes.from_vectors(codes, [str(i) for i in range(len(codes))], {"name": name})


def _read_targets(folder: Path, name: str) -> npt.NDArray:
    paths = find_targets(folder)
    if not paths:
        raise DataError(f"{name}: a folder with no target_<i>.npy in it, {EXPECTED}.")
    rows = [np.atleast_2d(load_arrays(path, f"{name}/{path.name}", "npy")["images"]) for path in paths]
    for path, row in zip(paths, rows, strict=True):
        if row.ndim != 2 or row.shape[1] != rows[0].shape[1]:
            first = f"{paths[0].name} {rows[0].shape}"
            raise DataError(f"{name}: {path.name} has shape {row.shape} and {first}, expected vectors of one length.")
    return np.concatenate(rows)
