"""sparse2d and cluster2d of LArCV files, and the bytes that they are made of."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import open_images, read_all
from pgen.data.formats.larcv.root_streaming import decode_clusters, decode_sparse
from pgen.errors import PgenError
from tests.helpers.damage import damage

CONTAINERS = Path(__file__).parents[1] / "containers"
RECT = CONTAINERS / "larcv2_rect.root"


@pytest.mark.parametrize("product", ["sparse2d", "cluster2d"])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_voxels_are_the_pixels_of_the_truth(product: str, plane: int) -> None:
    with np.load(CONTAINERS / "larcv2_rect.npz") as truth:
        expected = truth["images"][truth["meta"][:, 0] == plane]
    images = open_images(f"{RECT}:product={product},plane={plane}")
    assert np.array_equal(read_all(images)[:, 0], expected)
    assert np.array_equal(images.read([3, 0, 3])[:, 0], expected[[3, 0, 3]])
    assert images.about["product"] == product
    assert images.ids.tolist() == open_images(f"{RECT}:plane={plane}").ids.tolist()


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_voxels_of_larcv3_are_the_pixels_of_the_truth(plane: int) -> None:
    source = f"{CONTAINERS / 'larcv3_256.h5'}"
    images, dense = (open_images(f"{source}:product={product},plane={plane}") for product in ("sparse2d", "image2d"))
    # Where an event has no image, the file's sparse2d repeats the one before.
    have = [images.ids.tolist().index(name) for name in dense.ids]
    assert np.array_equal(images.read(have), read_all(dense))


def test_a_product_that_is_not_there() -> None:
    with pytest.raises(PgenError, match="no sparse2d tree"):
        open_images(f"{CONTAINERS / 'larcv1_forward_rect.root'}:product=sparse2d")
    with pytest.raises(PgenError, match="expected image2d or sparse2d or cluster2d"):
        open_images(f"{RECT}:product=sparse3d")


def test_absurd_sizes_and_places_are_refused(tmp_path: Path) -> None:
    import h5py

    for field, value, message in (
        ("number_of_voxels", [2**30, 2**30], "the file is damaged"),
        ("number_of_voxels", [4, 4], "lies outside"),
    ):
        path = tmp_path / "x.h5"
        path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            meta = file["Data/sparse2d_wire_group/image_meta"][:]
            meta[field] = value
            file["Data/sparse2d_wire_group/image_meta"][:] = meta
        with pytest.raises(PgenError, match=message):
            read_all(open_images(f"{path}:product=sparse2d,plane=0"))


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("sparse2d_wire_group/voxel_extents", "first", 10**9),
        ("sparse2d_wire_group/voxel_extents", "N", 2**32 - 1),
        ("sparse2d_wire_group/voxel_extents", "first", 2**64 - 1),
        ("sparse2d_wire_group/extents", "N", 2**26),
        ("particle_wire_group/extents", "first", 2**64 - 1),
        ("particle_wire_group/extents", "N", 2**32 - 1),
    ],
)
def test_what_points_beyond_a_table_is_refused(table: str, field: str, value: int, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "x.h5"
    path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        rows = file[f"Data/{table}"][:]
        rows[field][3] = value
        file[f"Data/{table}"][:] = rows
    with pytest.raises(PgenError, match="damaged"):
        read_all(open_images(f"{path}:product=sparse2d,plane=0"))


def test_pixels_that_are_text_are_refused(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "x.h5"
    path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["Data/image2d_wire_group"]
        count = len(group["images"])
        del group["images"]
        group["images"] = np.full(count, b"x")
    with pytest.raises(PgenError, match="cannot be read"):
        read_all(open_images(f"{path}:plane=0"))


def header(follows: int) -> bytes:
    return struct.pack(">IHHI", 0x40000000 | (8 + follows), 0x400A, 0, 0xABCD)


def voxels(ids: list[int], values: list[float]) -> bytes:
    return struct.pack(f">I{len(ids)}Q{len(ids)}f", len(ids), *ids, *values)


TENSORS = st.lists(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(width=32, allow_nan=False)), max_size=6), max_size=4)


@given(TENSORS, st.data())
@settings(max_examples=80, deadline=None)
def test_decoding_takes_every_byte_or_refuses(tensors: list, data: st.DataObject) -> None:
    body = b"".join(voxels([i for i, _ in tensor], [v for _, v in tensor]) for tensor in tensors)
    entry = header(len(body)) + body
    actual = decode_sparse(entry, len(tensors))
    assert [list(zip(ids.tolist(), values.tolist(), strict=True)) for ids, values in actual] == tensors
    cut = data.draw(st.integers(0, len(entry) - 1))
    for wrong in (entry[:cut], entry + b"\0", header(len(body) + 1) + body):
        with pytest.raises(ValueError):
            decode_sparse(wrong, len(tensors))
    with pytest.raises(ValueError):
        decode_sparse(entry, len(tensors) + 1)


@given(st.lists(TENSORS, max_size=3), st.sampled_from("HQ"), st.data())
@settings(max_examples=80, deadline=None)
def test_decoding_clusters_takes_every_byte_or_refuses(projections: list, width: str, data: st.DataObject) -> None:
    body = b""
    for clusters in projections:
        inner = b"".join(voxels([i for i, _ in tensor], [v for _, v in tensor]) for tensor in clusters)
        body += struct.pack(f">I{len(clusters)}{width}", len(clusters), *range(len(clusters)))
        body += (header(len(inner)) + inner) if clusters else b""
    entry = header(len(body)) + body
    actual = decode_clusters(entry, len(projections))
    expected = [[voxel for cluster in clusters for voxel in cluster] for clusters in projections]
    assert [list(zip(ids.tolist(), values.tolist(), strict=True)) for ids, values in actual] == expected
    cut = data.draw(st.integers(0, len(entry) - 1))
    for wrong in (entry[:cut], entry + b"\0"):
        with pytest.raises(ValueError):
            decode_clusters(wrong, len(projections))


@pytest.mark.parametrize(
    ("file", "products"),
    [
        ("larcv2_rect.root", ["product=image2d,plane=0", "product=sparse2d,plane=0", "product=cluster2d,plane=1"]),
        ("larcv1_forward_rect.root", ["plane=0"]),
        ("larcv3_256.h5", ["plane=0", "product=sparse2d,plane=1"]),
    ],
)
def test_damaged_files_are_refused_or_finite(file: str, products: list[str], tmp_path: Path) -> None:
    options = tuple(products)
    assert damage(CONTAINERS / file, tmp_path, seed=0, count=300, every=4, flips=29, judge="finite", options=options) > 20
