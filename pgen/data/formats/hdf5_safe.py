"""HDF5 files that may come from a stranger: which of their values may be read.

By itself HDF5 follows links to any file of the machine, waits for ever for a pipe, and gives zeros
for values that are missing. So every reader opens HDF5 files by :class:`Hdf5File`, which returns a
dataset only if all of its values are present and may be read.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from glob import escape, glob
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from pgen.data.formats.base import require_file, wrap_read_errors
from pgen.errors import DataError, PgenError
from pgen.utils.resources import free_memory, open_file_limit

if TYPE_CHECKING:
    import h5py

#: Most links, or virtual datasets, that lead to each other.
MAX_DEPTH = 32
#: Slots of HDF5's chunk cache, a prime number.
CACHE_SLOTS = 10007
#: Fraction of the free memory that the unpacked chunks of a dataset may take.
MAX_FRACTION_OF_MEMORY = 0.25


@dataclass(frozen=True)
class Storage:
    """Where the values of a dataset are stored.

    Attributes:
        files: The other files that a virtual dataset is made of.
        unpacked: For each axis, bytes of the compressed chunks that must be unpacked for one
            position along it; of a virtual dataset, the most of its sources.
    """

    files: frozenset[Path]
    unpacked: tuple[int, ...]


@dataclass(frozen=True)
class _Source:
    """The file that the user named, and the other files that are open for links in it.

    Attributes:
        name: What the user typed, for messages.
        folder: Resolved folder that links may not leave.
        linked: Open files, by path.
    """

    name: str
    folder: Path
    linked: dict[Path, h5py.File] = field(default_factory=dict)

    def refusal(self, reason: str) -> DataError:
        return DataError(f"{self.name}: {reason}")

    def locate(self, file_name: str, base: Path, label: str) -> Path:
        """Return the file that HDF5 means by ``file_name`` in a file of the folder ``base``.

        Raises:
            DataError: If it is missing, not a regular file, or outside of the folder that may be
                read.
        """
        named = Path(file_name)
        # HDF5 also looks for the last part of an absolute path next to the file.
        places = [named, base / named.name] if named.is_absolute() else [base / named]
        path = next((place for place in places if os.path.lexists(place)), None)
        if path is None:
            raise self.refusal(f"{label} needs the file {file_name}, which is not there; put it into {base}.")
        resolved = path.resolve()
        if not resolved.is_relative_to(self.folder):
            raise self.refusal(
                f"{label} needs the file {file_name}, which lies outside of the folder {self.folder} and is not read; if you trust it, "
                "copy its data into one file (h5repack, h5copy)."
            )
        require_file(path, f"{self.name}: {label} needs {file_name}")
        return resolved


class Hdf5Group:
    """A group of an HDF5 file, with h5py's interface; its datasets are h5py's own, and checked."""

    def __init__(self, group: h5py.Group, source: _Source) -> None:
        self._group, self._source = group, source

    @property
    def attrs(self) -> h5py.AttributeManager:
        """Its attributes."""
        return self._group.attrs

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)

    def __contains__(self, path: str) -> bool:
        return self._find(path) is not None

    def __getitem__(self, path: str) -> Any:
        """Return the group or dataset at ``path``.

        Raises:
            KeyError: If nothing is there.
            DataError: If it may not be read.
        """
        item = self._find(path)
        if item is None:
            raise KeyError(path)
        if not isinstance(item, Hdf5Group):
            _inspect(item, self._source)
        return item

    def get(self, path: str, default: Any = None) -> Any:
        """Return ``self[path]``, or ``default`` if nothing is there."""
        try:
            return self[path]
        except KeyError:
            return default

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over (name, member)."""
        return ((name, self[name]) for name in self)

    def storage(self, path: str) -> Storage:
        """Return where the values of the dataset at ``path`` are stored."""
        return _inspect(self._find(path), self._source)

    def datasets(self) -> Iterator[tuple[str, h5py.Dataset | None, Storage | PgenError]]:
        """Iterate over every dataset below, each once, whatever links lead to it.

        Yields:
            The path; the dataset, or None for a link that is not followed; and where its values are
            stored, or why they may not be read.
        """
        import h5py

        seen: set[tuple[int, int]] = set()
        stack: list[tuple[str, Hdf5Group]] = [("", self)]
        while stack:
            path, group = stack.pop()
            if (place := _identify(group._group)) in seen:
                continue
            seen.add(place)
            groups = []
            for name in group:
                if _get_link_type(group._group, name) == h5py.h5l.TYPE_SOFT:
                    continue  # what it leads to has a link of another kind too
                item = None
                try:
                    item = group._find(name)
                    if isinstance(item, Hdf5Group):
                        groups.append((f"{path}{name}/", item))
                    elif item is not None and (place := _identify(item)) not in seen:
                        seen.add(place)
                        yield path + name, item, _inspect(item, self._source)
                except PgenError as refusal:
                    yield path + name, item, refusal
            stack += reversed(groups)

    def _find(self, path: str, links: int = 0) -> Any:
        """Return the group or dataset at ``path``, unchecked, or None; count ``links``."""
        item: Any = Hdf5Group(self._group.file["/"], self._source) if path.startswith("/") else self
        for name in path.split("/"):
            if name not in ("", "."):
                item = item._step(name, links) if isinstance(item, Hdf5Group) else None
        return item

    def _step(self, name: str, links: int) -> Any:
        """Return the member called ``name``, whatever kind of link leads to it."""
        import h5py

        kind = _get_link_type(self._group, name)
        if kind is None:
            return None
        if kind == h5py.h5l.TYPE_HARD:
            item = self._group[name]
            return Hdf5Group(item, self._source) if isinstance(item, h5py.Group) else item if isinstance(item, h5py.Dataset) else None
        label = f"the link {self._group.name.rstrip('/')}/{name}"
        if links == MAX_DEPTH:
            raise self._source.refusal(f"{label} leads in a circle, or through more than {MAX_DEPTH} others; name the dataset itself.")
        if kind == h5py.h5l.TYPE_SOFT:
            return self._find(_decode(self._group.id.links.get_val(_encode(name))), links + 1)
        if kind != h5py.h5l.TYPE_EXTERNAL:
            raise self._source.refusal(
                f"{label} is of a kind that only the program that wrote it knows; copy what it leads to into the file."
            )
        file_name, path = map(_decode, self._group.id.links.get_val(_encode(name)))
        file_path = self._source.locate(file_name, _folder_of(self._group), label)
        if file_path not in self._source.linked:
            self._source.linked[file_path] = _open(file_path, f"{self._source.name}: {label} leads to {file_name}")
        return Hdf5Group(self._source.linked[file_path]["/"], self._source)._find(path, links + 1)


class Hdf5File(Hdf5Group):
    """An HDF5 file that is open for reading.

    Args:
        path: The file.
        name: What the user typed, for messages.
        kind: What kind of HDF5 file it is, for messages.
        folder: Folder that links and virtual datasets may not leave; by default that of the file.

    Attributes:
        files: Number of files that it keeps open.
        memory: Bytes of memory that it keeps.

    Raises:
        DataError: If it cannot be opened.
    """

    def __init__(self, path: Path, name: str, kind: str = "HDF5", folder: Path | None = None) -> None:
        require_file(path, name)
        path = path.resolve()
        self._file = _open(path, name, kind)
        self._latest: tuple[str, h5py.Dataset] | None = None
        self.files, self.memory = 1, 0
        super().__init__(self._file["/"], _Source(name, folder or path.parent))

    def dataset(self, path: str, axis: int = 0) -> h5py.Dataset:
        """Open the dataset at ``path``, to read it along an axis.

        It stays open until another one is opened. If there is enough memory, it caches the
        compressed chunks that each position along the axis needs, which HDF5 would unpack again for
        the next one.
        """
        import h5py

        if self._latest is None or self._latest[0] != path:
            item, storage = self[path], self.storage(path)
            if len(storage.files) > open_file_limit() // 2:
                raise self._source.refusal(
                    f"the virtual dataset {path} is made of {len(storage.files)} files, too many for the limit of {open_file_limit()} open "
                    f"files; raise it (ulimit -n {4 * len(storage.files)})."
                )
            unpacked = storage.unpacked[axis] if axis < len(storage.unpacked) else 0
            access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            self.files, self.memory = 1 + len(self._source.linked) + len(storage.files), access.get_chunk_cache()[1]
            if self.memory < unpacked < MAX_FRACTION_OF_MEMORY * free_memory():
                self.memory = unpacked
                access.set_chunk_cache(CACHE_SLOTS, unpacked, 0.75)
                file, path_inside = item.file, _encode(item.name)
                del item  # an open dataset keeps its cache
                item = h5py.Dataset(h5py.h5d.open(file.id, path_inside, access))
            self._latest = path, item
        return self._latest[1]

    def close(self) -> None:
        """Close it, and the files that links led to."""
        self._latest = None
        for file in (*self._source.linked.values(), self._file):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def describe_datasets(path: Path, name: str) -> dict[str, str]:
    """List the datasets of a file: type and shape of each, or why it is not read."""
    contents: dict[str, str] = {}
    with Hdf5File(path, name) as file:
        for key, dataset, storage in file.datasets():
            if dataset is None or isinstance(storage, PgenError):
                contents[key] = f"not read: {str(storage).removeprefix(f'{name}: ')}"
            else:
                contents[key] = f"{dataset.dtype} {dataset.shape}"
    return contents


def count_axes(dataset: h5py.Dataset) -> int:
    """Return the number of axes of a dataset, which may not be readable."""
    properties = dataset.id.get_create_plist()
    if _is_virtual(dataset) and properties.get_virtual_count():
        return properties.get_virtual_vspace(0).get_simple_extent_ndims()
    return dataset.ndim


def is_written(dataset: h5py.Dataset) -> bool:
    """Whether any value of a dataset was ever written; HDF5 gives zeros for the others."""
    return _is_virtual(dataset) or not dataset.size or dataset.id.get_storage_size() > 0


def find_written(dataset: h5py.Dataset, axis: int) -> npt.NDArray[np.bool_]:
    """Return for each position along an axis whether any value was written.

    In a virtual dataset, a value that a source covers counts as written.
    """
    length = dataset.shape[axis]
    written = np.full(length, is_written(dataset))
    if _is_virtual(dataset):
        properties = dataset.id.get_create_plist()
        spaces = [properties.get_virtual_vspace(number) for number in range(properties.get_virtual_count())]
        if not any(map(_is_unlimited, spaces)):  # which grow with their sources
            written[:] = False
            for space in spaces:
                low, high = space.get_select_bounds()
                written[low[axis] : high[axis] + 1] = True
    elif dataset.chunks is not None and written.any():
        chunks = dataset.chunks
        if dataset.id.get_num_chunks() < math.prod(-(-n // k) for n, k in zip(dataset.shape, chunks, strict=True)):
            written[:] = False
            starts: set[int] = set()
            dataset.id.chunk_iter(lambda chunk: starts.add(chunk.chunk_offset[axis]))  # type: ignore[func-returns-value]
            for start in starts:
                written[start : start + chunks[axis]] = True
    return written


def _inspect(dataset: h5py.Dataset, source: _Source, above: tuple[tuple[int, int], ...] = ()) -> Storage:
    """Return where the values of a dataset are stored.

    Args:
        dataset: The dataset.
        source: The file that the user named.
        above: The virtual datasets that are made of it.

    Raises:
        DataError: If HDF5 would give zeros for some of the values, or cannot or may not read them.
    """
    # The shape of a virtual dataset must wait: HDF5 opens the sources for it.
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        file_name = _decode(properties.get_external(0)[0])
        raise source.refusal(
            f"the dataset {dataset.name} keeps its values outside, in {file_name}, which could be any file of this machine and is not "
            "read; if you trust it, copy the values into the file (h5repack)."
        )
    if not _is_virtual(dataset):
        _require_filters(dataset, properties, source)
        return Storage(frozenset(), _measure_unpacked(dataset, properties))
    label = f"the virtual dataset {dataset.name}"
    place = _identify(dataset)
    if place in above or len(above) == MAX_DEPTH:
        raise source.refusal(f"{label} is made of itself, or of more than {MAX_DEPTH} others in turn; give another dataset=.")
    files, unpacked = set[Path](), list[tuple[int, ...]]()
    for path, parts in _list_parts(dataset, source, label).items():
        with Hdf5File(path, f"{source.name}: {path.name}", folder=source.folder) as file:
            for part in parts:
                storage = part.require(file, source, f"{label} needs {part.path} in {path.name}", (*above, place))
                files |= {path, *storage.files}
                unpacked.append(storage.unpacked)
    return Storage(frozenset(files), tuple(map(max, zip(*unpacked, strict=False))))


@dataclass(frozen=True)
class _Part:
    """What a virtual dataset takes from one dataset of a file.

    Attributes:
        path: The dataset.
        count: Number of values, if it takes all.
        ends: Where its selection ends along each axis, if it takes some.
    """

    path: str
    count: int | None
    ends: tuple[int, ...] | None

    def require(self, file: Hdf5File, source: _Source, label: str, above: tuple[tuple[int, int], ...]) -> Storage:
        """Return where the values are stored; refuse if any is missing."""
        dataset = file._find(self.path)
        if dataset is None or isinstance(dataset, Hdf5Group):
            raise source.refusal(f"{label}, where no such dataset is; write the virtual dataset again.")
        storage = _inspect(dataset, file._source, above)
        shape = dataset.shape
        fits = self.count in (None, dataset.size)
        if self.ends is not None:
            fits = len(self.ends) == len(shape) and all(end <= length for end, length in zip(self.ends, shape, strict=True))
        if not fits:
            expected = f"{self.count} values" if self.ends is None else f"values up to {self.ends}"
            raise source.refusal(f"{label}, which is of shape {shape} and should have {expected}; write the virtual dataset again.")
        if shape and not find_written(dataset, 0).all():
            raise source.refusal(f"{label}, some of which was never written; finish writing that file.")
        return storage


class _NamePattern:
    """Name pattern of the parts of a virtual dataset, with a block number ``%b``; ``%%`` is "%"."""

    def __init__(self, text: str) -> None:
        self._tokens = re.findall("%b|%%|[^%]+", text)
        self.is_numbered = "%b" in self._tokens

    def name(self, block: int) -> str:
        return "".join({"%b": str(block), "%%": "%"}.get(token, token) for token in self._tokens)

    def blocks(self, names: Iterable[str]) -> range:
        """Return the block numbers among ``names``, up to the first gap, where HDF5 ends."""
        number = iter(["(0|[1-9][0-9]*)"])
        text = "".join(next(number, r"\1") if token == "%b" else re.escape(token.replace("%%", "%")) for token in self._tokens)
        numbers = {int(match[1]) for name in names if (match := re.fullmatch(text, name))}
        first_missing = next(number for number in count() if number not in numbers)
        return range(first_missing + (first_missing < max(numbers, default=1)))

    def files(self, base: Path) -> list[str]:
        """List the files that the pattern may mean."""
        pattern = "".join("*" if token == "%b" else escape(token.replace("%%", "%")) for token in self._tokens)
        return glob(pattern, root_dir=base)  # noqa: PTH207


def _list_parts(dataset: h5py.Dataset, source: _Source, label: str) -> dict[Path, list[_Part]]:
    """List what a virtual dataset takes from each file that it is made of."""
    import h5py

    properties, own_path = dataset.id.get_create_plist(), Path(dataset.file.filename)

    def locate(file_name: str) -> Path:
        return own_path if file_name == "." else source.locate(file_name, own_path.parent, label)

    parts: dict[Path, list[_Part]] = {}
    for number in range(properties.get_virtual_count()):
        file_name = _NamePattern(properties.get_virtual_filename(number))
        path = _NamePattern(properties.get_virtual_dsetname(number).lstrip("/"))
        target, selection = properties.get_virtual_vspace(number), properties.get_virtual_srcspace(number)
        values: int | None = _count_values(target)
        ends: tuple[int, ...] | None = None
        if selection.get_select_type() != h5py.h5s.SEL_ALL:
            values, ends = None, None if _is_unlimited(selection) else tuple(end + 1 for end in selection.get_select_bounds()[1])
        blocks = range(1)
        if file_name.is_numbered:
            blocks = file_name.blocks(file_name.files(own_path.parent))
        elif path.is_numbered:
            group, _, _ = path.name(0).rpartition("/")
            with Hdf5File(locate(file_name.name(0)), f"{source.name}: {file_name.name(0)}", folder=source.folder) as file:
                blocks = path.blocks(f"{group}/{name}" if group else name for name in file._find(group) or ())
        for block in blocks:
            parts.setdefault(locate(file_name.name(block)), []).append(_Part(path.name(block), values, ends))
    return parts


def _is_unlimited(space: Any) -> bool:
    """Whether a selection grows with the dataset."""
    import h5py

    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    _, _, counts, blocks = space.get_regular_hyperslab()
    return h5py.h5s.UNLIMITED in (*counts, *blocks)


def _count_values(space: Any) -> int:
    """Count the values of a selection, or those of each block of one that grows."""
    import h5py

    if not _is_unlimited(space):
        return space.get_select_npoints()
    _, _, counts, blocks = space.get_regular_hyperslab()
    return math.prod(n for n in (*counts, *blocks) if n != h5py.h5s.UNLIMITED)


def _is_virtual(dataset: h5py.Dataset) -> bool:
    import h5py

    return dataset.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL


def _measure_unpacked(dataset: h5py.Dataset, properties: Any) -> tuple[int, ...]:
    """Return for each axis the bytes of compressed chunks that one position along it needs."""
    if dataset.chunks is None or not properties.get_nfilters():
        return (0,) * dataset.ndim
    whole = [-(-n // k) * k for n, k in zip(dataset.shape, dataset.chunks, strict=True)]
    size = dataset.dtype.itemsize * math.prod(whole)
    return tuple(size // max(n, 1) * k for n, k in zip(whole, dataset.chunks, strict=True))


def _require_filters(dataset: h5py.Dataset, properties: Any, source: _Source) -> None:
    """Refuse a dataset whose compression HDF5 cannot undo on this machine."""
    for number in range(properties.get_nfilters()):
        code, _, _, label = properties.get_filter(number)
        if not _has_filter(code):
            kind = f"the HDF5 filter {code}" + (f" ({_decode(label).partition(';')[0]})" if label else "")
            raise source.refusal(
                f"the dataset {dataset.name} is compressed by {kind}, which is not installed; try pip install hdf5plugin, which has the "
                "common ones."
            )


@cache
def _has_filter(code: int) -> bool:
    """Whether HDF5 has a filter, possibly from the package hdf5plugin."""
    import h5py

    if not h5py.h5z.filter_avail(code):
        try:
            import hdf5plugin  # noqa: F401 (importing it registers its filters)
        except ImportError:
            return False
    return h5py.h5z.filter_avail(code)


def _open(path: Path, name: str, kind: str = "HDF5") -> h5py.File:
    import h5py

    with wrap_read_errors(name, kind):
        return h5py.File(path, "r")


def _identify(item: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    """Return what identifies an object, whatever its name."""
    import h5py

    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _folder_of(item: h5py.Group | h5py.Dataset) -> Path:
    return Path(item.file.filename).parent


def _get_link_type(group: h5py.Group, name: str) -> int | None:
    """Return the kind of a link, without following it; None if there is none."""
    links = group.id.links
    return links.get_info(_encode(name)).type if links.exists(_encode(name)) else None


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
