"""What lies in a file, whether or not it can be opened as images without a choice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pgen.data.formats import store
from pgen.data.formats.arrays import list_members
from pgen.data.formats.base import reading
from pgen.data.formats.detect import detect_format
from pgen.data.formats.hdf5_file import Hdf5File
from pgen.data.formats.larcv import hdf5 as larcv3
from pgen.data.formats.larcv import root as larcv
from pgen.data.formats.larcv.planes import describe_planes
from pgen.errors import PgenError, listed
from pgen.utils.paths import walk


def contents(path: Path, name: str) -> dict[str, str]:
    """What is there -> how much of it: trees of ROOT files, tables and datasets of HDF5, arrays, files of a folder by their ending."""
    if path.is_dir():
        endings = Counter(file.suffix or "no ending" for file in walk(path))
        return {ending: f"{count} file{'s' * (count > 1)}" for ending, count in sorted(endings.items())}
    kind = detect_format(path, name)
    with reading(name, kind):
        if kind == "root":
            return _root(path)
        if kind == "hdf5":
            return _hdf5(path, name)
    return {key: member.problem or str(member) for key, member in list_members(path, name, kind).items()}


def _events(count: int) -> str:
    return f"{count:,} event{'s' * (count != 1)}"


def _root(path: Path) -> dict[str, str]:
    import uproot

    found = {}
    with uproot.open(path, array_cache=None, object_cache=None) as file:
        for key, kind in file.classnames(recursive=False, cycle=False).items():
            if kind != "TTree":
                found[key] = kind
                continue
            tree = file[key]
            found[key] = _events(tree.num_entries)
            product = key.partition("_")[0]
            if product in larcv.PRODUCTS and (metas := larcv.metas(tree, product)):
                found[key] += f"; {describe_planes(*metas)}"
    return found


def _hdf5(path: Path, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    with Hdf5File(path, name) as file:
        if store.is_store(file) and {"count", "lit"} <= set(file.attrs):
            return {"image store": f"{int(file.attrs['count']):,} images, {int(file.attrs['lit']):,} pixels that are not 0"}
        if larcv3.is_larcv3(file):
            for key, group in file["Data"].items():
                found[key] = _events(len(group["extents"])) if "extents" in group else listed(group)
                if "extents" in group and key.partition("_")[0] in larcv3.PRODUCTS:
                    found[key] += f"; {describe_planes(*larcv3.metas(group, name)[:4])}"
            return found
        for key, dataset, storage in file.datasets():
            if dataset is None or isinstance(storage, PgenError):
                found[key] = f"not read: {str(storage).removeprefix(f'{name}: ')}"
            else:
                found[key] = f"{dataset.dtype} {dataset.shape}"
    return found
