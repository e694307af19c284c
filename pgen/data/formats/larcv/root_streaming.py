"""Voxels as ROOT streams them member by member in LArCV files, which uproot leaves as bytes.

An entry begins with byte count, version, class version and checksum (12 bytes). sparse2d then has for each tensor how many voxels, all
their ids, all their values; cluster2d for each projection how many clusters, their ids, a header again, and each cluster as a tensor. All
is big-endian.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Voxels = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]  #: ids (n,), values (n,)

HEADER = 12
COUNTED, VERSIONED = 0x40000000, 0x4000


def decode_sparse(entry: bytes, tensors: int) -> list[Voxels]:
    """The voxels of each of an entry's tensors. ValueError unless exactly all bytes are used."""
    cursor = _Cursor(entry)
    cursor.header(whole=True)
    found = [cursor.voxels() for _ in range(tensors)]
    cursor.end()
    return found


def decode_clusters(entry: bytes, projections: int) -> list[Voxels]:
    """The voxels of each of an entry's projections, cluster after cluster. ValueError unless exactly all bytes are used."""
    try:
        return _decode_clusters(entry, projections, 8)
    except ValueError:
        # Old files have short ids.
        return _decode_clusters(entry, projections, 2)


def _decode_clusters(entry: bytes, projections: int, width: int) -> list[Voxels]:
    cursor = _Cursor(entry)
    cursor.header(whole=True)
    found = []
    for _ in range(projections):
        clusters = cursor.count(width)
        cursor.take(clusters * width)
        if clusters:
            cursor.header()
        parts = [cursor.voxels() for _ in range(clusters)]
        ids, values = zip(*parts, strict=True) if parts else ((np.zeros(0, np.uint64),), (np.zeros(0, np.float32),))
        found.append((np.concatenate(ids), np.concatenate(values)))
    cursor.end()
    return found


class _Cursor:
    """Goes through bytes, and never beyond them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ValueError(f"an entry of {len(self.data)} bytes ends where {size} more were wanted at {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def header(self, *, whole: bool = False) -> None:
        """Byte count, version, class version, checksum; the count of a ``whole`` entry is of all that follows it."""
        start = self.at
        size, version, class_version, _ = np.frombuffer(self.take(HEADER), ">u4,>u2,>u2,>u4")[0]
        follows = len(self.data) - start - 4
        if not size & COUNTED or not version & VERSIONED or class_version or (int(size) - COUNTED) > follows:
            raise ValueError(f"no memberwise header at byte {start}")
        if whole and int(size) - COUNTED != follows:
            raise ValueError(f"an entry of {follows} bytes says that it has {int(size) - COUNTED}")

    def count(self, width: int) -> int:
        """A number of things of ``width`` bytes, which there must be room for."""
        count = int.from_bytes(self.take(4), "big")
        if count * width > len(self.data) - self.at:
            raise ValueError(f"{count} of something at byte {self.at} do not fit into an entry of {len(self.data)} bytes")
        return count

    def voxels(self) -> Voxels:
        count = self.count(12)
        ids, values = np.frombuffer(self.take(8 * count), ">u8"), np.frombuffer(self.take(4 * count), ">f4")
        return ids.astype(np.uint64), values.astype(np.float32)

    def end(self) -> None:
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes of an entry are left over")
