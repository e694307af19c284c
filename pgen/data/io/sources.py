"""From what a user types, ``PATH[:key=value,...]`` or ``scheme[:key=value,...]``, to an ImageSet: content decides the format, not names."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from pgen.data import not_images
from pgen.data.events import Naming, check_naming, renamed
from pgen.data.folders import ARRAYS, find_files, label_folders
from pgen.data.formats import arrays, codes, hdf5, microboone, mnist, pilarnet, png, store
from pgen.data.formats import npy_batches as batch_folder
from pgen.data.formats.base import reading, require_file
from pgen.data.formats.detect import detect_format
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.data.formats.larcv import hdf5 as larcv3
from pgen.data.formats.larcv import root as larcv
from pgen.data.formats.layout import Layout
from pgen.data.images import ImageSet, Subset
from pgen.data.io.check import sound_images
from pgen.data.io.plugin_sources import checked_set, get_source, scheme_names
from pgen.data.skipped import NOTHING, refuse_too_many
from pgen.data.transforms.zero_suppression import Suppressed
from pgen.data.views import ConcatImages, named, prefix_file, with_ids
from pgen.errors import PgenError, listed
from pgen.utils.drafts import restore
from pgen.utils.paths import expand, find_matches, is_remote

#: Kinds of HDF5 files by what is in them; others are plain ones.
HDF5_KINDS: Sequence[tuple[Callable[[Any], bool], Callable[..., ImageSet]]] = (
    (store.is_store, store.open_store),
    (larcv3.is_larcv3, larcv3.open_larcv3),
    (microboone.is_microboone, microboone.open_microboone),
    (pilarnet.is_pilarnet, pilarnet.open_pilarnet),
)
COMMON = ("entries", "limit", "suppress", "negative", "events", "max_skipped", "check")
OPTIONS = r"[A-Za-z_]\w*=[^,]*(,[A-Za-z_]\w*=[^,]*)*"


def open_images(src: str, *, data_root: str | Path | None = None, max_skipped: str | None = None) -> ImageSet:
    """Open a source of images.

    Args:
        src: A file or folder, several by a pattern such as ``*.root``, or a scheme (mnist, simulate, or a plug-in's), then options:
            ``entries=START-STOP`` (half open), ``limit=N``, ``suppress=Q`` (|charge| at or below Q becomes 0), ``negative=drop``
            (negative charge becomes 0), ``events=number|file|entry`` (see :mod:`pgen.data.events`), ``max_skipped=`` and
            ``check=true`` (read all images at once, and skip those that cannot be read) everywhere, others by format: see
            :func:`options_of`. Files of a pattern are joined in the order of their names, which go before ids and are the label ``file``.
        data_root: Where relative paths start.
        max_skipped: How many events may be odd and skipped, where ``src`` does not say: a number, or a fraction as 0.1 or 10%.

    Raises:
        UserError: ``src`` is no source of images.
        ChoiceNeeded: It holds more than one thing that could be meant, or too many odd events.
    """
    return _open_source(src, _root(data_root), max_skipped)


def open_all(sources: Sequence[str], *, data_root: str | Path | None = None, max_skipped: str | None = None) -> list[ImageSet]:
    """Open several sources that are to become one set. Events of files that are called alike are named by their folders too."""
    root = _root(data_root)
    single = [path for src in sources if len(paths := files_of(src, data_root=root)) == 1 for path in paths]
    alike = len({_name_of(path) for path in single}) < len({path.resolve() for path in single})
    names = dict(zip(single, _names_of(single, with_ending=True), strict=True)) if alike else {}
    return [_open_source(src, root, max_skipped, names) for src in sources]


def _open_source(src: str, root: Path | None, max_skipped: str | None, names: Mapping[Path, str] | None = None) -> ImageSet:
    """names: of files, in the names of their events, where not as :func:`_name_of` has it."""
    place, options = parse(src, root)
    own = options_of(get_source(place)) if place in scheme_names() else {}  # a plug-in's option may be called like one of pgen's
    common = {key: options.pop(key) for key in COMMON if key in options and key not in own}
    naming = check_naming(common.get("events", "number"), src)
    if naming == "entry":
        options["events"] = "none"  # which readers that look for events need not do then
    if place in scheme_names():
        opener, origin = get_source(place), place
        images = checked_set(place, opener(src, root, **_converted(opener, options, src)))
    elif paths := _matches(place, root):
        images, origin = _join(paths, _names_of(paths), src, options), ""
    else:
        path = locate(place, src, root)
        origin = (names or {}).get(path) or _name_of(path)
        images = _open(path, src, options, origin)
    images = _cut(_with_events(images, naming, origin), common, src)
    if _convert("check", common.get("check", "false"), bool, src):
        images = sound_images(images)
    refuse_too_many(getattr(images, "left_out", NOTHING), len(images), common.get("max_skipped", max_skipped), src)
    return images


def open_targets(src: str, data_root: str | Path | None = None, max_skipped: str | None = None) -> codes.LatentCodes | ImageSet:
    """Codes where the content is vectors (a codes.pt, a folder of target_<i>.npy, arrays of rank 2), else images.

    Codes of an npz or pt file take the option ``key=``. With ``layout=hw`` an array of rank 2 is an image.
    """
    root = _root(data_root)
    place, options = parse(src, root)
    if place not in scheme_names() and not _matches(place, root):
        path = locate(place, src, root)
        if what := not_images.explain(path, targets=True):
            raise PgenError(f"{src}: is {what}.")
        if "layout" not in options and codes.is_codes(path, src, options.get("key")):
            if strange := [key for key in options if key != "key"]:
                raise PgenError(
                    f"{src}: holds code vectors, which take no options but key= (found {listed(strange)}); leave the others out."
                )
            return codes.load_codes(path, options.get("key"))
    images = open_images(src, data_root=data_root, max_skipped=max_skipped)
    if getattr(images, "about", {}).get("layout") == Layout("hw", "by default").about()["layout"]:
        raise PgenError(
            f"{src}: arrays of rank 2 may be code vectors or an image each; add layout=hw for images, or give vectors as one file (N, D)."
        )
    return images


def parse(src: str, data_root: Path | None = None) -> tuple[str, dict[str, str]]:
    """(path or scheme, options as text). A path or pattern that is there as typed, colons and all, is that path."""
    if not src.strip():
        raise PgenError("The source of images is empty; give a file, a folder, mnist or simulate.")
    head, _, tail = src.partition(":")
    place, tail = (head, tail) if head in scheme_names() else _divide(src, data_root)
    if tail and not re.fullmatch(OPTIONS, tail):
        raise PgenError(
            f"{src}: cannot read the options {tail!r}, wanted key=value[,key=value...] after the colon, as in file.h5:limit=100."
        )
    pairs = [pair.split("=", 1) for pair in tail.split(",")] if tail else []
    options = dict(pairs)
    if len(options) < len(pairs):
        raise PgenError(f"{src}: an option is given twice; keep one of them.")
    return place, options


def _divide(src: str, data_root: Path | None) -> tuple[str, str]:
    """Where the path ends and its options begin: at the last colon before which something is there, else before which options follow."""
    if is_remote(src) or _is_there(src, data_root):
        return src, ""
    divisions = [(src[: colon.start()], src[colon.end() :]) for colon in reversed(list(re.finditer(":", src)))]
    there = [division for division in divisions if _is_there(division[0], data_root)]
    readable = [division for division in divisions if not division[1] or re.fullmatch(OPTIONS, division[1])]
    return next(iter([*(division for division in there if division in readable), *there, *readable]), (src, ""))


def files_of(src: str, *, data_root: str | Path | None = None) -> list[Path]:
    """The files or folders that a source names; none for a scheme. UserError where there are none."""
    root = _root(data_root)
    place, _ = parse(src, root)
    return [] if place in scheme_names() else _matches(place, root) or [locate(place, src, root)]


def _root(data_root: str | Path | None) -> Path | None:
    return None if data_root is None else expand(data_root)


def _is_there(place: str, data_root: Path | None) -> bool:
    return _under(place, data_root).exists() or bool(_matches(place, data_root))


def _matches(place: str, data_root: Path | None) -> list[Path]:
    """The files and folders that a pattern names; none for what is no pattern, or is there as typed."""
    return [] if _under(place, data_root).exists() else find_matches(str(expand(place)), data_root)


def _names_of(paths: list[Path], *, with_ending: bool = False) -> list[str]:
    """What to call each of several files: its path from their common folder on."""
    places = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - resolve() would follow links
    parent = os.path.commonpath([place.parent for place in places])
    return [(place if with_ending else place.with_suffix("")).relative_to(parent).as_posix() for place in places]


def _name_of(path: Path) -> str:
    """What to call one file or folder."""
    return path.resolve().name if not path.name else path.name if path.is_dir() else path.stem


def _with_events(images: ImageSet, naming: Naming, origin: str) -> ImageSet:
    """The same images, their events named by ``naming``; origin: the file, where images have no label ``file``."""
    if naming == "number":
        return images
    files = np.asarray(images.labels["file"]).astype(str) if "file" in images.labels else origin
    view = with_ids(images, images.ids)
    view.events = renamed(images.events, images.ids, files, naming)
    view.about = {**view.about, "event_names": "one per image (events=entry)" if naming == "entry" else "by file (events=file)"}
    return view


def locate(place: str, src: str, data_root: Path | None) -> Path:
    """The existing file or folder that a source names."""
    path = _under(place, data_root)
    restore(path)
    if path.is_symlink() and not path.exists():
        require_file(path, src)  # says where the link leads
    if not path.exists():
        looked = f" (looked for {path})" if str(path) != place else ""
        advice = not_images.explain_missing(path) or f"wanted a path, or one of {', '.join(scheme_names())}"
        raise PgenError(f"{src}: no such file or folder{looked}; {advice}.")
    return path


def options_of(reader: Callable[..., Any]) -> dict[str, Any]:
    """A reader's options are its keyword-only parameters: name -> type."""
    hints = get_type_hints(reader)
    return {key: hints[key] for key, p in inspect.signature(reader).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _under(place: str, data_root: Path | None) -> Path:
    path = expand(place)
    return path if data_root is None or path.is_absolute() else data_root / path


def _join(paths: list[Path], names: list[str], src: str, options: dict[str, str], origin: str = "") -> ImageSet:
    """Several files or folders, one after the other, by what they are called. Where they lie in different folders, these are the label
    ``folder``. origin: what comes before their names in those of their events."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise PgenError(f"{src}: files that differ in their ending alone, as {twice[0]}, cannot be joined; give a narrower pattern.")
    sets = [named(_open(path, str(path), options, origin + name), name) for path, name in zip(paths, names, strict=True)]
    images = ConcatImages(sets, src)
    images.labels = {**images.labels, **label_folders(images.labels["file"].tolist())}
    if np.array_equal(images.labels["file"], images.ids):  # one image a file
        images.labels = {label: values for label, values in images.labels.items() if label != "file"}
    return images


def _open(path: Path, name: str, options: dict[str, str], origin: str) -> ImageSet:
    """One file or folder; origin: what it is called in the names of its events."""
    reader = _reader(path, name)
    if reader is None:
        files = find_files(path, ARRAYS)
        return _join(files, [file.relative_to(path).with_suffix("").as_posix() for file in files], name, options, f"{origin}/")
    images = reader(path, name, **_converted(reader, options, name))
    unnamed = getattr(images, "unnamed", None)
    if unnamed is not None and unnamed.any():
        images.events = np.where(unnamed, prefix_file(images.ids, origin), images.events)
    return images


def _reader(path: Path, src: str) -> Callable[..., ImageSet] | None:
    """The reader for what lies at ``path``, by its first bytes or by what a folder holds; None for a folder of files to read one by one."""
    if what := not_images.explain(path):
        raise PgenError(f"{src}: is {what}.")
    if path.is_dir():
        if codes.is_codes(path, src):
            raise PgenError(f"{src}: holds code vectors, not images; give it as --targets.")
        if mnist.has_idx(path):
            return mnist.open_mnist
        if batch_folder.find_batches(path):
            return batch_folder.open_batches
        return None if find_files(path, ARRAYS) and not png.find_pngs(path) else png.open_pngs
    kind = detect_format(path, src)
    if kind == "hdf5":
        return _hdf5_reader(path, src)
    readers: dict[str, Callable[..., ImageSet]] = {
        "root": larcv.open_root,
        "npy": arrays.open_npy,
        "npz": arrays.open_npz,
        "pt": arrays.open_pt,
    }
    return readers[kind]


def _hdf5_reader(path: Path, src: str) -> Callable[..., ImageSet]:
    with reading(src, "HDF5"), Hdf5File(path, src) as file:
        for is_kind, reader in HDF5_KINDS:
            if is_kind(file):
                return reader
    return hdf5.open_hdf5


def _converted(reader: Callable[..., Any], options: dict[str, str], src: str) -> dict[str, Any]:
    known = options_of(reader)
    options = {key: text for key, text in options.items() if key in known or key not in COMMON}
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *COMMON], 1)
            hint = f"Did you mean {near[0]}=? " if near else ""
            raise PgenError(f"{src}: unknown option {key}=. {hint}This kind of source knows {', '.join([*known, *COMMON])}.")
    return {key: _convert(key, text, known[key], src) for key, text in options.items()}


def _convert(key: str, text: str, kind: Any, src: str) -> Any:
    """``text`` as the type of a reader's parameter: str, int, float, bool or a Literal of words, each perhaps ``| None``."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    words = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else ()
    if words:
        if text not in words:
            raise PgenError(f"{src}: {key}={text} is not known, wanted {' or '.join(words)}.")
        return text == "true" if kind is bool else text
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise PgenError(f"{src}: {key}={text} cannot be read, wanted {wanted} as in {key}=1.") from None


def _cut(images: ImageSet, cut: dict[str, str], src: str) -> ImageSet:
    """``entries`` first, then ``limit``; ``suppress`` and ``negative`` of all, since pixels know nothing of their neighbours."""
    threshold = _convert("suppress", cut.get("suppress", "0"), float, src)
    if not 0 <= threshold < math.inf:
        raise PgenError(f"{src}: suppress={cut['suppress']} does not fit, wanted a charge, 0 or more.")
    drop_negative = _convert("negative", cut.get("negative", "keep"), Literal["keep", "drop"], src) == "drop"
    if threshold or drop_negative:
        images = Suppressed(images, threshold, drop_negative=drop_negative)
    if not cut.keys() & {"entries", "limit"}:
        return images
    start, stop = 0, len(images)
    if "entries" in cut:
        match = re.fullmatch("([0-9]+)-([0-9]+)", cut["entries"])
        start, stop = (int(match[1]), int(match[2])) if match else (0, 0)
        if not start < stop <= len(images):
            raise PgenError(f"{src}: entries={cut['entries']} does not fit, wanted START-STOP with START < STOP <= {len(images)} images.")
    if "limit" in cut:
        if not re.fullmatch("0*[1-9][0-9]*", cut["limit"]):
            raise PgenError(f"{src}: limit={cut['limit']} cannot be read, wanted a whole number of at least 1.")
        stop = min(stop, start + int(cut["limit"]))
    view = Subset(images, range(start, stop))
    view.left_out = view.left_out.within(start, stop, len(images))
    return view
