"""File formats of images: one module each, and one line in :data:`FORMATS`."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pgen.data import not_images
from pgen.data.formats import arrays, hdf5, microboone, mnist, npy_batches, pilarnet, png, store
from pgen.data.formats.base import require_file, wrap_read_errors
from pgen.data.formats.format import EXPECTED, Format, Probe
from pgen.data.formats.larcv import hdf5 as larcv_hdf5
from pgen.data.formats.larcv import root as larcv_root
from pgen.errors import DataError

#: All formats; a file is of the first whose ``sniff`` says so.
FORMATS: tuple[Format, ...] = (
    mnist.FORMAT,
    npy_batches.FORMAT,
    png.FORMAT,
    larcv_root.FORMAT,
    arrays.NPY,
    arrays.PT,
    arrays.NPZ,
    store.FORMAT,
    larcv_hdf5.FORMAT,
    microboone.FORMAT,
    pilarnet.FORMAT,
    hdf5.FORMAT,
)
#: By magic bytes: files that hold another file, and what unpacks them.
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"\x04\x22\x4d\x18": "unlz4",
    b"7z\xbc\xaf\x27\x1c": "7z x",
}


def detect_format(path: Path, name: str) -> Format | None:
    """Find the format of a file or folder by its content.

    Args:
        path: The file or folder.
        name: What the user typed, for messages.

    Returns:
        The format; None for a folder of data files, each of which has a format of its own.

    Raises:
        DataError: If a file is empty, damaged, or of no known format.
    """
    if not path.is_dir():
        require_file(path, name)
    with Probe(path, name) as probe, wrap_read_errors(name, "HDF5"):
        for format in FORMATS:
            if format.sniff(probe):
                return format
        if probe.is_folder:
            return None
        raise DataError(f"{name}: {_explain_unknown(probe)}.")


def _explain_unknown(probe: Probe) -> str:
    """Say what a file is that no format is found for."""
    head, explanation = probe.head, not_images.explain_file(probe.path)
    if probe.zip_names is not None:
        first = probe.zip_names[0]
        kind = f"a zip file that is neither npz nor torch (holds {first}, ...), {EXPECTED}; unpack it first"
        return f"is {explanation}" if explanation else kind
    if head.startswith((b"\x89PNG", b"\0\0\x08")) or _is_packed_idx(probe):
        return "a single PNG or IDX file, expected the folder that holds it; give that folder"
    for magic, program in PACKED.items():
        if head.startswith(magic):
            return f"the file is compressed; unpack it first by {program}, and give what comes out"
    return f"is {explanation}" if explanation else f"a file of unknown kind (it begins with {head[:8]!r}), {EXPECTED}"


def _is_packed_idx(probe: Probe) -> bool:
    if not probe.head.startswith(b"\x1f\x8b"):
        return False
    try:
        with gzip.open(probe.path) as stream:
            return stream.read(3) == b"\0\0\x08"
    except (OSError, EOFError, zlib.error):
        return False
