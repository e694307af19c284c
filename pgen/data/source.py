"""From what a user types, ``PATH[:key=value,...]`` or ``scheme[:key=value,...]``, to an ImageSet: content decides the format, not names."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
from collections.abc import Callable, Sequence
from glob import glob, has_magic
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pgen.data import arrays, batch_folder, codes, hdf5, larcv, larcv3, microboone, mnist, pilarnet, png, store
from pgen.data.images import ImageSet, subset
from pgen.data.joined import Joined, named
from pgen.data.kinds import kind_of
from pgen.data.reading import reading
from pgen.data.schemes import checked_set, scheme_called, scheme_names
from pgen.data.suppress import Suppressed
from pgen.errors import UserError
from pgen.files import natural

#: Kinds of HDF5 files by what is in them; others are plain ones.
HDF5_KINDS: Sequence[tuple[Callable[[Any], bool], Callable[..., ImageSet]]] = (
    (store.is_store, store.open_store),
    (larcv3.is_larcv3, larcv3.open_larcv3),
    (microboone.is_microboone, microboone.open_microboone),
    (pilarnet.is_pilarnet, pilarnet.open_pilarnet),
)
COMMON = ("entries", "limit", "suppress", "negative")
OPTIONS = r"[A-Za-z_]\w*=[^,]*(,[A-Za-z_]\w*=[^,]*)*"


def open_images(src: str, *, data_root: str | Path | None = None) -> ImageSet:
    """Opens a source of images.

    ``src`` is a file or folder (relative ones lie in ``data_root``, where given), several by a pattern such as ``*.root``, or a scheme
    (mnist, simulate, or a plug-in's), then options: ``entries=START-STOP`` (half open), ``limit=N``, ``suppress=Q`` (|charge| at or
    below Q is set to 0) and ``negative=drop`` (negative charge is set to 0) everywhere, others by format: see :func:`options_of`. Files of
    a pattern are joined in the order of their names, which go before ids and events and are the label ``file``.
    UserError for anything that is no source of images.
    """
    root = None if data_root is None else Path(data_root).expanduser()
    place, options = parse(src, root)
    cut = {key: options.pop(key) for key in COMMON if key in options}
    if place in scheme_names():
        opener = scheme_called(place)
        images = checked_set(place, opener(src, root, **_converted(opener, options, src)))
    elif paths := _matches(place, root):
        parent = os.path.commonpath([path.parent for path in paths])
        files = [path.relative_to(parent).with_suffix("").as_posix() for path in paths]
        if len(set(files)) < len(files):
            raise UserError(
                f"{src}: files that differ in their ending alone, as {_twice(files)}, cannot be joined; give a narrower pattern."
            )
        images = Joined([named(_open(path, str(path), options), file) for path, file in zip(paths, files, strict=True)], src)
    else:
        images = _open(locate(place, src, root), src, options)
    return _cut(images, cut, src)


def open_targets(src: str, data_root: str | Path | None = None) -> codes.Codes | ImageSet:
    """Codes where the content is vectors (a codes.pt, a folder of target_<i>.npy, arrays of rank 2), else images."""
    root = None if data_root is None else Path(data_root).expanduser()
    place, options = parse(src, root)
    if place not in scheme_names() and not _matches(place, root) and codes.is_codes(path := locate(place, src, root), src):
        if options:
            raise UserError(
                f"{src}: holds code vectors, which take no options (found {', '.join(options)}); leave out what follows the colon."
            )
        return codes.load_codes(path)
    return open_images(src, data_root=data_root)


def parse(src: str, data_root: Path | None = None) -> tuple[str, dict[str, str]]:
    """(path or scheme, options as text). A path that exists as typed, colons and all, is that path."""
    if not src.strip():
        raise UserError("The source of images is empty; give a file, a folder, mnist or simulate.")
    head, _, tail = src.partition(":")
    if head in scheme_names():
        place = head
    elif ":" not in src or _under(src, data_root).exists():
        place, tail = src, ""
    else:
        place, _, tail = src.rpartition(":")
    if tail and not re.fullmatch(OPTIONS, tail):
        raise UserError(
            f"{src}: cannot read the options {tail!r}, wanted key=value[,key=value...] after the colon, as in file.h5:limit=100."
        )
    pairs = [pair.split("=", 1) for pair in tail.split(",")] if tail else []
    options = dict(pairs)
    if len(options) < len(pairs):
        raise UserError(f"{src}: an option is given twice; keep one of them.")
    return place, options


def files_of(src: str, *, data_root: str | Path | None = None) -> list[Path]:
    """The files or folders that a source names; none for a scheme. UserError where there are none."""
    root = None if data_root is None else Path(data_root).expanduser()
    place, _ = parse(src, root)
    return [] if place in scheme_names() else _matches(place, root) or [locate(place, src, root)]


def _matches(place: str, data_root: Path | None) -> list[Path]:
    """The files and folders that a pattern names; none for what is no pattern, or is there as typed."""
    path = _under(place, data_root)
    if not has_magic(place) or path.exists():
        return []
    return [Path(found) for found in sorted(glob(str(path), recursive=True), key=natural)]  # noqa: PTH207


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def locate(place: str, src: str, data_root: Path | None) -> Path:
    """The existing file or folder that a source names."""
    path = _under(place, data_root)
    if not path.exists():
        looked = f" (looked for {path})" if str(path) != place else ""
        raise UserError(f"{src}: no such file or folder{looked}; wanted a path, or one of {', '.join(scheme_names())}.")
    return path


def options_of(reader: Callable[..., Any]) -> dict[str, Any]:
    """A reader's options are its keyword-only parameters: name -> type."""
    hints = get_type_hints(reader)
    return {key: hints[key] for key, p in inspect.signature(reader).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _under(place: str, data_root: Path | None) -> Path:
    path = Path(place).expanduser()
    return path if data_root is None or path.is_absolute() else data_root / path


def _open(path: Path, name: str, options: dict[str, str]) -> ImageSet:
    """One file or folder."""
    reader = _reader(path, name)
    return reader(path, name, **_converted(reader, options, name))


def _reader(path: Path, src: str) -> Callable[..., ImageSet]:
    """The reader for what lies at ``path``, told by its first bytes or by what a folder holds."""
    if codes.is_codes(path, src):
        raise UserError(f"{src}: holds code vectors (N, D), not images; give it as --targets, or an only image as an array (1, H, W).")
    if path.is_dir():
        if mnist.has_idx(path):
            return mnist.open_mnist
        return batch_folder.open_batches if batch_folder.find_batches(path) else png.open_pngs
    kind = kind_of(path, src)
    if kind == "hdf5":
        return _hdf5_reader(path, src)
    return {"root": larcv.open_root, "npy": arrays.open_npy, "npz": arrays.open_npz, "pt": arrays.open_pt}[kind]


def _hdf5_reader(path: Path, src: str) -> Callable[..., ImageSet]:
    import h5py

    with reading(src, "HDF5"), h5py.File(path, "r") as file:
        for is_kind, reader in HDF5_KINDS:
            if is_kind(file):
                return reader
    return hdf5.open_hdf5


def _converted(reader: Callable[..., Any], options: dict[str, str], src: str) -> dict[str, Any]:
    known = options_of(reader)
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *COMMON], 1)
            hint = f"Did you mean {near[0]}=? " if near else ""
            raise UserError(f"{src}: unknown option {key}=. {hint}This kind of source knows {', '.join([*known, *COMMON])}.")
    return {key: _convert(key, text, known[key], src) for key, text in options.items()}


def _convert(key: str, text: str, kind: Any, src: str) -> Any:
    """``text`` as the type of a reader's parameter: str, int, float, bool or a Literal of words, each perhaps ``| None``."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    words = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else ()
    if words:
        if text not in words:
            raise UserError(f"{src}: {key}={text} is not known, wanted {' or '.join(words)}.")
        return text == "true" if kind is bool else text
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"{src}: {key}={text} cannot be read, wanted {wanted} as in {key}=1.") from None


def _cut(images: ImageSet, cut: dict[str, str], src: str) -> ImageSet:
    """``entries`` first, then ``limit``; ``suppress`` and ``negative`` of all, since pixels know nothing of their neighbours."""
    threshold = _convert("suppress", cut.get("suppress", "0"), float, src)
    if not 0 <= threshold < math.inf:
        raise UserError(f"{src}: suppress={cut['suppress']} does not fit, wanted a charge, 0 or more.")
    drop_negative = _convert("negative", cut.get("negative", "keep"), Literal["keep", "drop"], src) == "drop"
    if threshold or drop_negative:
        images = Suppressed(images, threshold, drop_negative=drop_negative)
    if not cut.keys() & {"entries", "limit"}:
        return images
    start, stop = 0, len(images)
    if "entries" in cut:
        match = re.fullmatch(r"(\d+)-(\d+)", cut["entries"])
        start, stop = (int(match[1]), int(match[2])) if match else (0, 0)
        if not start < stop <= len(images):
            raise UserError(f"{src}: entries={cut['entries']} does not fit, wanted START-STOP with START < STOP <= {len(images)} images.")
    if "limit" in cut:
        if not re.fullmatch(r"0*[1-9]\d*", cut["limit"]):
            raise UserError(f"{src}: limit={cut['limit']} cannot be read, wanted a whole number of at least 1.")
        stop = min(stop, start + int(cut["limit"]))
    return subset(images, range(start, stop))
