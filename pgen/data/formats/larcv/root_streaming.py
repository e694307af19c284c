"""Voxels that ROOT streams member by member in LArCV files, and uproot leaves as bytes.

An entry begins with byte count, version, class version and checksum (12 bytes). In sparse2d, each
tensor follows: the number of voxels, all their ids, all their values. In cluster2d, each projection
follows: the number of clusters, their ids, another header, and each cluster like a tensor. All is
big-endian.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Ids (n,) and values (n,).
Voxels = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]

HEADER = 12
COUNTED, VERSIONED = 0x40000000, 0x4000


def decode_sparse(entry: bytes, tensors: int) -> list[Voxels]:
    """Decode the voxels of each of an entry's tensors.

    Raises:
        ValueError: If not exactly all bytes are used.
    """
    cursor = _Cursor(entry)
    cursor.header(whole=True)
    voxels = [cursor.voxels() for _ in range(tensors)]
    cursor.end()
    return voxels


def decode_clusters(entry: bytes, projections: int) -> list[Voxels]:
    """Decode the voxels of each of an entry's projections, cluster after cluster.

    Raises:
        ValueError: If not exactly all bytes are used.
    """
    try:
        return _decode_clusters(entry, projections, 8)
    except ValueError:
        # Old files have short ids.
        return _decode_clusters(entry, projections, 2)


def _decode_clusters(entry: bytes, projections: int, width: int) -> list[Voxels]:
    cursor = _Cursor(entry)
    cursor.header(whole=True)
    voxels = []
    for _ in range(projections):
        clusters = cursor.count(width)
        cursor.take(clusters * width)
        if clusters:
            cursor.header()
        parts = [cursor.voxels() for _ in range(clusters)]
        ids, values = zip(*parts, strict=True) if parts else ((np.zeros(0, np.uint64),), (np.zeros(0, np.float32),))
        voxels.append((np.concatenate(ids), np.concatenate(values)))
    cursor.end()
    return voxels


class _Cursor:
    """Reads bytes in order, and never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.position:
            raise ValueError(f"an entry of {len(self.data)} bytes ends where {size} more were expected at {self.position}")
        self.position += size
        return self.data[self.position - size : self.position]

    def header(self, *, whole: bool = False) -> None:
        """Check the header; the byte count of a ``whole`` entry covers all that follows."""
        start = self.position
        size, version, class_version, _ = np.frombuffer(self.take(HEADER), ">u4,>u2,>u2,>u4")[0]
        follows = len(self.data) - start - 4
        if not size & COUNTED or not version & VERSIONED or class_version or (int(size) - COUNTED) > follows:
            raise ValueError(f"no memberwise header at byte {start}")
        if whole and int(size) - COUNTED != follows:
            raise ValueError(f"an entry of {follows} bytes says that it has {int(size) - COUNTED}")

    def count(self, width: int) -> int:
        """Read a number of items of ``width`` bytes, for which there must be room."""
        count = int.from_bytes(self.take(4), "big")
        if count * width > len(self.data) - self.position:
            raise ValueError(f"{count} items at byte {self.position} do not fit into an entry of {len(self.data)} bytes")
        return count

    def voxels(self) -> Voxels:
        count = self.count(12)
        ids, values = np.frombuffer(self.take(8 * count), ">u8"), np.frombuffer(self.take(4 * count), ">f4")
        return ids.astype(np.uint64), values.astype(np.float32)

    def end(self) -> None:
        if self.position != len(self.data):
            raise ValueError(f"{len(self.data) - self.position} bytes of an entry are left over")
