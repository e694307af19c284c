"""Latent codes: the vectors an encoder made of images, with what is needed to trust and to decode them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pgen.data.formats.arrays import list_members, load_arrays, load_pt
from pgen.data.formats.base import reading
from pgen.data.formats.detect import detect_format
from pgen.data.formats.larcv.planes import only
from pgen.errors import PgenError, listed
from pgen.utils.files import refuse_existing, write_through_memory
from pgen.utils.paths import expand, list_numbered_files

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "pgen-codes-1"
WANTED = "wanted code vectors (N, D): a codes.pt, a folder of target_<i>.npy, or a lone array of rank 2"


@dataclass(frozen=True, eq=False)
class LatentCodes:
    """N code vectors of D numbers, in the encoder's own space; ``mean`` and ``std`` (D,) standardise them, a map's channel by channel."""

    codes: Tensor  #: (N, D) float32
    mean: Tensor  #: (D,) float32
    std: Tensor  #: (D,) float32, not 0
    ids: list[str]  #: the image each one comes from
    source: Mapping[str, Any] = field(default_factory=dict)  #: name and fingerprint of the images
    encoder: Mapping[str, Any] = field(default_factory=dict)  #: run and weights (sha256 hex) of the encoder; empty where unknown
    folder: Path | None = None  #: where the file lies that they were read from; not written
    labels: Mapping[str, npt.NDArray] = field(default_factory=dict)  #: of the images, name -> (N,)
    spread: Tensor | None = None  #: (N, D) float32, standard deviation of each number, where an image is encoded to a distribution
    shape: tuple[int, ...] = ()  #: how the D numbers lie: (channels, rows, columns) of a map; empty or (D,) of a vector

    def __post_init__(self) -> None:
        import torch

        name = str(self.source.get("name", "codes"))
        for what, tensor in (("codes", self.codes), ("mean", self.mean), ("std", self.std)):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
                raise PgenError(f"{name}: {what} is {getattr(tensor, 'dtype', type(tensor).__name__)}, wanted a float32 tensor.")
        if self.codes.ndim != 2 or 0 in self.codes.shape:
            raise PgenError(f"{name}: found vectors of shape {tuple(self.codes.shape)}, wanted (N, D), neither of them 0.")
        n, dim = self.codes.shape
        if self.mean.shape != (dim,) or self.std.shape != (dim,) or len(self.ids) != n:
            raise PgenError(
                f"{name}: {n} codes of {dim} numbers come with mean {tuple(self.mean.shape)}, std {tuple(self.std.shape)} and "
                f"{len(self.ids)} ids; wanted ({dim},), ({dim},) and {n}. Encode the images again."
            )
        bad = sum(int((~torch.isfinite(tensor)).sum()) for tensor in (self.codes, self.mean, self.std))
        if bad or bool((self.std <= 0).any()):
            raise PgenError(f"{name}: {bad} code numbers are NaN or infinite, or a std is not positive; wanted finite codes. Encode again.")
        if self.spread is not None and not (
            isinstance(self.spread, torch.Tensor)
            and self.spread.dtype == torch.float32
            and self.spread.shape == (n, dim)
            and bool((torch.isfinite(self.spread) & (self.spread >= 0)).all())
        ):
            raise PgenError(f"{name}: its spread is not {n} times {dim} finite float32 numbers, 0 or more. Encode the images again.")
        if self.shape and prod(self.shape) != dim:
            raise PgenError(f"{name}: is said to hold maps of {self.shape}, found {dim} numbers a code. Encode the images again.")
        if wrong := [label for label, values in self.labels.items() if np.shape(values) != (n,)]:
            raise PgenError(f"{name}: the labels {listed(wrong)} are not one for each of the {n} codes. Encode the images again.")

    @classmethod
    def of(
        cls,
        codes: Tensor,
        ids: list[str],
        source: Mapping[str, Any],
        encoder: Mapping[str, Any] | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        spread: Tensor | None = None,
        shape: tuple[int, ...] = (),
    ) -> LatentCodes:
        """Codes with the mean and std of their own columns, or of a map's channels, spread and all; a constant one gets std 1."""
        codes = codes.detach().cpu().float()
        places = prod(shape[1:])

        def along(columns: Tensor) -> Tensor:
            """The mean of each channel, at all its places."""
            return columns.unflatten(0, (-1, places)).mean(1).repeat_interleave(places)

        mean, one = codes.mean(0), codes.new_ones(codes.shape[1:])
        # All parts fit together before moments are made of them.
        found = cls(codes, mean, one, ids, source, encoder or {}, labels=labels or {}, spread=spread, shape=shape)
        mean = along(mean)
        variance = along((codes - mean).square().mean(0) + (0 if spread is None else spread.square().mean(0)))
        return replace(found, mean=mean, std=variance.sqrt().where(variance > 0, one))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def is_map(self) -> bool:
        """Whether the numbers of a code lie in rows and columns."""
        return len(self.shape) == 3

    @property
    def decoder(self) -> Path | None:
        """The weights file beside codes.pt that turns codes into images, or None."""
        if self.folder is None or "file" not in self.encoder:
            return None
        path = self.folder / self.encoder["file"]
        return path if path.is_file() else None

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the codes and their shape."""
        digest = hashlib.sha256(repr(tuple(self.codes.shape)).encode())
        for tensor in (self.codes, self.spread):
            if tensor is not None:
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes a codes.pt. UserError if it exists and ``overwrite`` is not set."""
        import torch

        values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in vars(self).items() if k in _FIELDS}
        values |= {"spread": self.spread, "shape": list(self.shape)}
        values["labels"] = {name: _plain_label(label) for name, label in self.labels.items()}
        path = refuse_existing(path, overwrite=overwrite)
        write_through_memory(path, lambda stream: torch.save({"format": FORMAT, **values}, stream))
        return Path(path)


_FIELDS = ("codes", "mean", "std", "ids", "source", "encoder")


def is_codes(path: Path, name: str, key: str | None = None) -> bool:
    """Whether a file or folder holds vectors (rank 2, or codes that pgen wrote) and no images; with ``key`` whether this array does."""
    if path.is_dir():
        return bool(_targets(path))
    kind = detect_format(path, name)
    if kind in ("root", "hdf5"):
        return False
    members = list_members(path, name, kind)
    if key in members:
        return len(members[key].shape) == 2
    ranks = {len(member.shape) for member in members.values()}
    return 2 in ranks and not ranks & {3, 4}


def load_codes(src: str | Path, key: str | None = None) -> LatentCodes:
    """Reads codes from a codes.pt, a folder of target_<i>.npy (each a vector, or rows of them), or one npy/npz/pt of rank 2.

    ``key``: the array of an npz or pt that holds more than one.

    ``encoder`` is empty for all but a codes.pt. UserError if there is nothing of the kind, or a vector of another length or not finite.
    """
    path, name = expand(src), str(src)
    if not path.exists():
        raise PgenError(f"{name}: no such file or folder; {WANTED}.")
    kind = None if path.is_dir() else detect_format(path, name)
    if key is not None and kind not in ("npz", "pt"):
        raise PgenError(f"{name}: holds one set of code vectors; leave key={key} out.")
    if kind is None:
        return _plain(_read_targets(path, name), name)
    if kind in ("root", "hdf5"):
        raise PgenError(f"{name}: a {kind} file, {WANTED}.")
    if kind == "pt" and isinstance(content := load_pt(path, name), dict) and "format" in content:
        if key is not None:
            raise PgenError(f"{name}: holds one set of latent codes; leave key={key} out.")
        if content["format"] != FORMAT:
            raise PgenError(f"{name}: is of format {content['format']!r}, wanted {FORMAT!r}; encode the images again with this pgen.")
        with reading(name, "codes.pt"):
            encoder = content["encoder"]
            if not isinstance(encoder, dict) or not isinstance(encoder.get("file", ""), str):
                raise ValueError(f"its encoder is {encoder!r}, wanted a table with the name of a file")
            if Path(file := encoder.get("file", "x")).name != file:
                raise ValueError(f"its decoder {file!r} would lie elsewhere, wanted a file beside it")
            # Of an earlier version it has no labels and no shape.
            shape = tuple(int(extent) for extent in content.get("shape", ()))
            labels = {str(label): np.asarray(values) for label, values in content.get("labels", {}).items()}
            of_file = {key: content[key] for key in _FIELDS}
            return LatentCodes(**of_file, labels=labels, spread=content.get("spread"), shape=shape, folder=path.parent)
    arrays = load_arrays(path, name, kind)
    vectors = [key for key, array in arrays.items() if array.ndim == 2]
    if not vectors:
        raise PgenError(f"{name}: found {listed((f'{k} {a.shape}' for k, a in arrays.items()), empty='no array')}, {WANTED}.")
    return _plain(arrays[only("key", vectors, key or ("codes" if "codes" in vectors else None), name)], name)


def _plain_label(label: npt.NDArray) -> Any:
    """As torch.load takes it back without pickle: numbers as a tensor, names as a list."""
    import torch

    return label.tolist() if label.dtype.kind in "US" else torch.from_numpy(np.array(label))


def _plain(vectors: Any, name: str) -> LatentCodes:
    import torch

    if vectors.dtype.kind not in "biuf":
        raise PgenError(f"{name}: found vectors of type {vectors.dtype}, {WANTED} of real numbers.")
    codes = torch.from_numpy(np.array(vectors, dtype=np.float32))
    return LatentCodes.of(codes, [str(i) for i in range(len(codes))], {"name": name})


def _targets(folder: Path) -> list[Path]:
    """target_<i>.npy in order of i."""
    return list_numbered_files(folder, "target")


def _read_targets(folder: Path, name: str) -> Any:
    paths = _targets(folder)
    if not paths:
        raise PgenError(f"{name}: a folder with no target_<i>.npy in it, {WANTED}.")
    rows = [np.atleast_2d(load_arrays(path, f"{name}/{path.name}", "npy")["images"]) for path in paths]
    for path, row in zip(paths, rows, strict=True):
        if row.ndim != 2 or row.shape[1] != rows[0].shape[1]:
            raise PgenError(f"{name}: {path.name} has shape {row.shape} and {paths[0].name} {rows[0].shape}, wanted vectors of one length.")
    return np.concatenate(rows)
