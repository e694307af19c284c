"""Writing an image store, an ImageSet after the other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen._version import __version__
from pgen.data.formats.store import FORMAT, HEADER, Store, block_images, checksums, header_checksum
from pgen.data.images import ImageSet, columns, joined_columns
from pgen.data.sparse import read_lit
from pgen.data.transforms.zero_suppression import NOTE, zero_suppression
from pgen.errors import PgenError
from pgen.utils.files import require_space
from pgen.utils.hdf5_tables import open_output

#: Pixels of a compressed HDF5 chunk: few enough that one image is read soon.
CHUNK = 2**14
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write_store(path: Path, iter_subsets: Iterable[ImageSet], held: Store | None = None) -> None:
    """Pieces of one shape, unit and kind of labels. Pixels of one piece are in memory at a time, and the columns of all. With ``held``,
    which the file at ``path`` is a copy of, they go behind its images; UserError for an id that is there already."""
    import h5py

    with open_output(path, "r+" if held else "w") as output:
        beside: dict[str, list[npt.NDArray]] = {"offsets": [np.zeros(1, np.int64)]}
        checks: list[tuple[int, int]] = []
        running, count, total = (0, 0), 0, 0
        first: ImageSet | None = held
        suppression: list[float | None] = []
        if held:
            suppression.append(zero_suppression(held))
            beside = {"offsets": [held.offsets], **{name: [values] for name, values in columns(held).items()}}
            checks, count, total = [(int(a), int(b)) for a, b in held.checks], len(held), int(held.offsets[-1])
            if count % block_images(held.shape):
                running = checks.pop()
        for piece in iter_subsets:
            first = first or piece
            suppression.append(zero_suppression(piece))
            lit = read_lit(piece, range(len(piece)))
            for name, values in columns(piece).items():
                beside.setdefault(name, []).append(values)
            beside["offsets"].append(total + lit.offsets[1:])
            lit = lit._replace(flat_index=lit.flat_index.astype(_place_type(piece)))
            require_space(path, lit.flat_index.nbytes + lit.value.nbytes)
            output.append("place", lit.flat_index, chunk=CHUNK, **COMPRESSION)
            output.append("charge", lit.value, chunk=CHUNK, **COMPRESSION)
            block = block_images(piece.shape)
            for start in range(-(count % block), len(piece), block):
                part = slice(lit.offsets[max(start, 0)], lit.offsets[min(start + block, len(piece))])
                running = checksums(lit.flat_index[part], lit.value[part], running)
                if start + block <= len(piece):
                    checks.append(running)
                    running = (0, 0)
            count, total = count + len(piece), total + int(lit.offsets[-1])
        assert first is not None, "write_images does not come here without images"
        if count % block_images(first.shape):
            checks.append(running)
        source = held.about["source"] if held else first.name
        header = dict(zip(HEADER, (FORMAT, first.unit, list(first.shape), count, total, source), strict=True))
        if None not in suppression:
            header[NOTE] = min(suppression)  # type: ignore[type-var]
        whole = {name: _storable(values, name, first.name) for name, values in joined_columns(beside).items()}
        if held and len(np.unique(whole["ids"])) < count:
            raise PgenError(f"{held.name}: has an id of the images to append already; leave these out.")
        whole["checks"] = np.array(checks, np.uint32)
        require_space(path, sum(values.nbytes for values in whole.values()))
        with output.change() as file:
            file.attrs.pop(NOTE, None)
            for name, values in whole.items():
                if name in file:
                    del file[name]
                if values.dtype.kind == "S":
                    values = values.astype(h5py.string_dtype("utf-8", values.dtype.itemsize))  # or readers would take it for ASCII
                file.create_dataset(name, data=values, **COMPRESSION)
            file.attrs.update(header | {"checksum": header_checksum(header, whole), "pgen_version": __version__})


def _place_type(piece: ImageSet) -> type[np.unsignedinteger[Any]]:
    size = int(np.prod(piece.shape))
    if size > 2**32:
        raise PgenError(f"{piece.name}: images of {size} pixels do not fit in a store, wanted at most {2**32}; crop them.")
    return np.uint16 if size <= 2**16 else np.uint32


def _storable(values: npt.NDArray, column: str, name: str) -> npt.NDArray:
    """Text as UTF-8 of one length, numbers as they are."""
    if values.dtype.kind == "U":
        try:
            text = np.char.encode(values, "utf-8")
        except UnicodeError as error:
            raise PgenError(f"{name}: a text in {column} is no valid Unicode ({error.args[1]!r}); rename it.") from error
        return text if text.dtype.itemsize else text.astype("S1")
    if values.dtype.kind not in "biuf":
        raise PgenError(f"{name}: {column} holds values of {values.dtype}, wanted numbers or text; leave them out.")
    return values
