"""Opening sources: from ``PATH[:key=value,...]`` or ``scheme[:key=value,...]`` to images."""

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
from pgen.data.events import Naming, parse_naming, rename_events
from pgen.data.folders import DATA_ENDINGS, find_files, folder_label
from pgen.data.formats import codes, detect_format
from pgen.data.formats.base import LazyImages, require_file
from pgen.data.formats.format import Format
from pgen.data.formats.layout import Layout
from pgen.data.images import ImageSet, Subset
from pgen.data.io.check import skip_unreadable
from pgen.data.io.plugin_sources import as_image_set, get_source, scheme_names
from pgen.data.latents import LatentCodes
from pgen.data.skipped import refuse_too_many
from pgen.data.transforms.zero_suppression import SuppressedImages
from pgen.data.views import ConcatImages, prefix_ids, prefix_names, with_ids
from pgen.errors import ConfigError, DataError, listed
from pgen.utils.drafts import restore
from pgen.utils.paths import expand, find_matches, is_remote

#: Options of every source.
COMMON = ("entries", "limit", "suppress", "negative", "events", "max_skipped", "check")
OPTIONS = r"[A-Za-z_]\w*=[^,]*(,[A-Za-z_]\w*=[^,]*)*"


def open_images(src: str, *, data_root: str | Path | None = None, max_skipped: str | None = None) -> ImageSet:
    """Open a source of images; its content decides the format.

    Args:
        src: A file or folder, several by a pattern such as ``*.root``, or a scheme (mnist,
            simulate, or a plug-in's), followed by options. Every source takes
            ``entries=START-STOP`` (half open), ``limit=N``, ``suppress=Q`` (|charge| at or below Q
            becomes 0), ``negative=drop`` (negative charge becomes 0), ``events=number|file|entry``
            (see :mod:`pgen.data.events`), ``max_skipped=`` and ``check=true`` (read all images at
            once, and skip those that cannot be read); other options depend on the format, see
            :func:`options_of`. Files of a pattern are concatenated in the order of their names,
            which are put before ids and are the label ``file``.
        data_root: Where relative paths start.
        max_skipped: How many events may be odd and skipped, if ``src`` does not say: a number, or a
            fraction such as "0.1" or "10%".

    Raises:
        DataError: If ``src`` is no source of images.
        ConfigError: If an option is unknown or does not fit.
        ChoiceNeeded: If several things in it could be meant, or too many events are odd.
    """
    return _open_source(src, _root(data_root), max_skipped)


def open_all(sources: Sequence[str], *, data_root: str | Path | None = None, max_skipped: str | None = None) -> list[ImageSet]:
    """Open several sources that are to become one set.

    Events of files of the same name are named by their folders too.
    """
    root = _root(data_root)
    single = [path for src in sources if len(paths := files_of(src, data_root=root)) == 1 for path in paths]
    is_ambiguous = len({_name_of(path) for path in single}) < len({path.resolve() for path in single})
    names = dict(zip(single, _names_of(single, with_ending=True), strict=True)) if is_ambiguous else {}
    return [_open_source(src, root, max_skipped, names=names) for src in sources]


def _open_source(
    src: str,
    root: Path | None,
    max_skipped: str | None,
    *,
    names: Mapping[Path, str] | None = None,
    formats: Mapping[Path, Format | None] | None = None,
) -> ImageSet:
    """Open a source; ``names`` of files are for events, ``formats`` have been detected already."""
    place, options = parse(src, root)
    own = options_of(get_source(place)) if place in scheme_names() else {}  # a plug-in's option may have the name of one of pgen's
    common = {key: options.pop(key) for key in COMMON if key in options and key not in own}
    naming = parse_naming(common.get("events", "number"), src)
    if naming == "entry":
        options["events"] = "none"  # readers that look for events need not
    if place in scheme_names():
        opener, origin = get_source(place), place
        images = as_image_set(place, opener(src, root, **_convert_options(opener, options, src)))
    elif paths := _matches(place, root):
        images, origin = _concatenate_files(paths, _names_of(paths), src, options), ""
    else:
        path = locate(place, src, root)
        origin = (names or {}).get(path) or _name_of(path)
        images = _open_path(path, src, options, origin, formats or {})
    images = _cut(_name_events(images, naming, origin), common, src)
    if _convert("check", common.get("check", "false"), bool, src):
        images = skip_unreadable(images)
    refuse_too_many(images.left_out, len(images), common.get("max_skipped", max_skipped), src)
    return images


def open_targets(src: str, data_root: str | Path | None = None, max_skipped: str | None = None) -> LatentCodes | ImageSet:
    """Open latent codes if ``src`` holds vectors, else images.

    Vectors are a codes.pt, a folder of target_<i>.npy, or arrays of rank 2 (with ``layout=hw`` an
    image). Codes in an npz or pt file take the option ``key=``.

    Args:
        src: The source, see :func:`open_images`.
        data_root: Where relative paths start.
        max_skipped: How many events may be odd and skipped.

    Raises:
        DataError: If ``src`` holds neither.
        ChoiceNeeded: If it could be either.
    """
    root = _root(data_root)
    place, options = parse(src, root)
    formats: dict[Path, Format | None] = {}
    if place not in scheme_names() and not _matches(place, root):
        path = locate(place, src, root)
        if explanation := not_images.explain(path, targets=True):
            raise DataError(f"{src}: is {explanation}.")
        formats[path] = detect_format(path, src)
        if "layout" not in options and codes.holds_codes(path, src, formats[path], options.get("key")):
            if strange := [key for key in options if key != "key"]:
                raise ConfigError(
                    f"{src}: holds latent codes, which take no options but key= (found {listed(strange)}); leave the others out."
                )
            return codes.read_codes(path, str(path), formats[path], options.get("key"))
    images = _open_source(src, root, max_skipped, formats=formats)
    if images.about.get("layout") == Layout("hw", "by default").about()["layout"]:
        raise DataError(
            f"{src}: arrays of rank 2 may be latent codes or an image each; add layout=hw for images, or give vectors as one file (N, D)."
        )
    return images


def parse(src: str, data_root: Path | None = None) -> tuple[str, dict[str, str]]:
    """Divide a source into its path or scheme, and its options as text.

    A path or pattern that exists as typed, colons included, is that path.
    """
    if not src.strip():
        raise ConfigError("The source of images is empty; give a file, a folder, mnist or simulate.")
    head, _, tail = src.partition(":")
    place, tail = (head, tail) if head in scheme_names() else _divide(src, data_root)
    if tail and not re.fullmatch(OPTIONS, tail):
        raise ConfigError(
            f"{src}: cannot read the options {tail!r}, expected key=value[,key=value...] after the colon, as in file.h5:limit=100."
        )
    pairs = [pair.split("=", 1) for pair in tail.split(",")] if tail else []
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ConfigError(f"{src}: an option is given twice; keep one of them.")
    return place, options


def _divide(src: str, data_root: Path | None) -> tuple[str, str]:
    """Divide at the last colon with something that exists before it, or options after it."""
    if is_remote(src) or _exists(src, data_root):
        return src, ""
    divisions = [(src[: colon.start()], src[colon.end() :]) for colon in reversed(list(re.finditer(":", src)))]
    existing = [division for division in divisions if _exists(division[0], data_root)]
    readable = [division for division in divisions if not division[1] or re.fullmatch(OPTIONS, division[1])]
    return next(iter([*(division for division in existing if division in readable), *existing, *readable]), (src, ""))


def files_of(src: str, *, data_root: str | Path | None = None) -> list[Path]:
    """Return the files or folders that a source names; none for a scheme.

    Raises:
        DataError: If they do not exist.
    """
    root = _root(data_root)
    place, _ = parse(src, root)
    return [] if place in scheme_names() else _matches(place, root) or [locate(place, src, root)]


def _root(data_root: str | Path | None) -> Path | None:
    return None if data_root is None else expand(data_root)


def _exists(place: str, data_root: Path | None) -> bool:
    return _under(place, data_root).exists() or bool(_matches(place, data_root))


def _matches(place: str, data_root: Path | None) -> list[Path]:
    """Return the files and folders that a pattern names; none for a path."""
    return [] if _under(place, data_root).exists() else find_matches(str(expand(place)), data_root)


def _names_of(paths: list[Path], *, with_ending: bool = False) -> list[str]:
    """Name each of several files: by its path from their common folder on."""
    places = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - resolve() would follow links
    parent = os.path.commonpath([place.parent for place in places])
    return [(place if with_ending else place.with_suffix("")).relative_to(parent).as_posix() for place in places]


def _name_of(path: Path) -> str:
    """Name a single file or folder."""
    return path.resolve().name if not path.name else path.name if path.is_dir() else path.stem


def _name_events(images: ImageSet, naming: Naming, origin: str) -> ImageSet:
    """Rename events by ``naming``; ``origin`` is the file, if images have no label ``file``."""
    if naming == "number":
        return images
    files = np.asarray(images.labels["file"]).astype(str) if "file" in images.labels else origin
    view = with_ids(images, images.ids)
    view.events = rename_events(images.events, images.ids, files, naming)
    view.about = {**view.about, "event_names": "one per image (events=entry)" if naming == "entry" else "by file (events=file)"}
    return view


def locate(place: str, src: str, data_root: Path | None) -> Path:
    """Return the existing file or folder that a source names.

    Raises:
        DataError: If it does not exist.
    """
    path = _under(place, data_root)
    restore(path)
    if path.is_symlink() and not path.exists():
        require_file(path, src)  # says where the link leads
    if not path.exists():
        tried = f" (looked for {path})" if str(path) != place else ""
        advice = not_images.explain_missing(path) or f"expected a path, or one of {', '.join(scheme_names())}"
        raise DataError(f"{src}: no such file or folder{tried}; {advice}.")
    return path


def options_of(reader: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a reader, name to type: its keyword-only parameters."""
    hints = get_type_hints(reader)
    return {key: hints[key] for key, p in inspect.signature(reader).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _under(place: str, data_root: Path | None) -> Path:
    path = expand(place)
    return path if data_root is None or path.is_absolute() else data_root / path


def _concatenate_files(paths: list[Path], names: list[str], src: str, options: dict[str, str], origin: str = "") -> ImageSet:
    """Open and concatenate several files or folders.

    If they lie in different folders, these are the label ``folder``.

    Args:
        paths: The files.
        names: What to call each.
        src: What the user typed.
        options: Options of the files.
        origin: What comes before their names in those of their events.
    """
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{src}: files that differ only in their ending, as {twice[0]}, cannot be joined; give a narrower pattern.")
    sets = [prefix_ids(_open_path(path, str(path), options, origin + name, {}), name) for path, name in zip(paths, names, strict=True)]
    images = ConcatImages(sets, src)
    images.labels = {**images.labels, **folder_label(images.labels["file"].tolist())}
    if np.array_equal(images.labels["file"], images.ids):  # one image per file
        images.labels = {label: values for label, values in images.labels.items() if label != "file"}
    return images


def _open_path(path: Path, name: str, options: dict[str, str], origin: str, formats: Mapping[Path, Format | None]) -> ImageSet:
    """Open one file or folder; ``origin`` is what it is called in the names of its events."""
    if explanation := not_images.explain(path):
        raise DataError(f"{name}: is {explanation}.")
    if path.is_dir() and codes.find_targets(path):
        raise DataError(f"{name}: holds latent codes, not images; give it as `targets`.")
    format = formats[path] if path in formats else detect_format(path, name)
    if format is None:
        files = find_files(path, DATA_ENDINGS)
        names = [file.relative_to(path).with_suffix("").as_posix() for file in files]
        return _concatenate_files(files, names, name, options, f"{origin}/")
    images = format.open(path, name, **_convert_options(format.open, options, name))
    if isinstance(images, LazyImages) and images.is_unnamed.any():
        images.events = np.where(images.is_unnamed, prefix_names(images.ids, origin), images.events)
    return images


def _convert_options(reader: Callable[..., Any], options: dict[str, str], src: str) -> dict[str, Any]:
    types = options_of(reader)
    options = {key: text for key, text in options.items() if key in types or key not in COMMON}
    for key in options:
        if key not in types:
            near = difflib.get_close_matches(key, [*types, *COMMON], 1)
            hint = f"Did you mean {near[0]}=? " if near else ""
            raise ConfigError(f"{src}: unknown option {key}=. {hint}This kind of source knows {', '.join([*types, *COMMON])}.")
    return {key: _convert(key, text, types[key], src) for key, text in options.items()}


def _convert(key: str, text: str, kind: Any, src: str) -> Any:
    """Convert an option to the type of the reader's parameter, see :class:`Format`."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (member for member in get_args(kind) if member is not type(None))
    words = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else ()
    if words:
        if text not in words:
            raise ConfigError(f"{src}: {key}={text} is unknown; expected {' or '.join(words)}.")
        return text == "true" if kind is bool else text
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{src}: {key}={text} cannot be read; expected {expected} as in {key}=1.") from None


def _cut(images: ImageSet, options: dict[str, str], src: str) -> ImageSet:
    """Apply ``suppress`` and ``negative``, then ``entries``, then ``limit``."""
    threshold = _convert("suppress", options.get("suppress", "0"), float, src)
    if not 0 <= threshold < math.inf:
        raise ConfigError(f"{src}: suppress={options['suppress']} does not fit; expected a charge, 0 or more.")
    drop_negative = _convert("negative", options.get("negative", "keep"), Literal["keep", "drop"], src) == "drop"
    if threshold or drop_negative:
        images = SuppressedImages(images, threshold, drop_negative=drop_negative)
    if not options.keys() & {"entries", "limit"}:
        return images
    start, stop = 0, len(images)
    if "entries" in options:
        match = re.fullmatch("([0-9]+)-([0-9]+)", options["entries"])
        start, stop = (int(match[1]), int(match[2])) if match else (0, 0)
        if not start < stop <= len(images):
            raise ConfigError(
                f"{src}: entries={options['entries']} does not fit; expected START-STOP with START < STOP <= {len(images)} images."
            )
    if "limit" in options:
        if not re.fullmatch("0*[1-9][0-9]*", options["limit"]):
            raise ConfigError(f"{src}: limit={options['limit']} cannot be read; expected a whole number of at least 1.")
        stop = min(stop, start + int(options["limit"]))
    view = Subset(images, range(start, stop))
    view.left_out = view.left_out.within(start, stop, len(images))
    return view
