"""What is written as LArCV3 is laid out as the genuine library does, and comes back."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings

from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.errors import PgenError
from tests.data.test_sparse import stacks

GENUINE = Path(__file__).parents[1] / "containers" / "larcv3_256.h5"


@given(stacks())
@settings(max_examples=25, deadline=None)
def test_pixels_and_events_come_back(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("larcv3") / "x.h5"
    ids = [f"7/{k // 2}/{k}" for k in range(len(pixels))]
    write_images(path, ArrayImages(pixels, ids=ids), format="larcv3")
    actual = open_images(str(path))
    assert np.array_equal(read_all(actual), pixels) and actual.ids.tolist() == ids
    assert actual.about["planes"] == list(range(pixels.shape[1]))


def test_tables_are_those_of_the_genuine_library(tmp_path: Path) -> None:
    write_images(tmp_path / "x.h5", ArrayImages(np.ones((5, 2, 4, 6), np.float32)), format="larcv3")
    with h5py.File(tmp_path / "x.h5") as ours, h5py.File(GENUINE) as genuine:
        assert ours["Events/event_id"].dtype == genuine["Events/event_id"].dtype
        (group,) = ours["Data"].values()
        expected = genuine["Data/image2d_wire_group"]
        assert set(group) == set(expected)
        for name in group:
            assert group[name].dtype == expected[name].dtype and group[name].maxshape == expected[name].maxshape, name
        assert group["extents"]["first"].tolist() == [0, 2, 4, 6, 8] and group["extents"]["N"].tolist() == [2] * 5
        assert group["image_extents"]["first"].tolist() == [24 * k for k in range(10)]
        assert group["image_extents"]["ID"].tolist() == [0, 1] * 5
        assert group["image_meta"]["number_of_voxels"].tolist() == [[4, 6]] * 10
        # Without ids of that form: run 1, subrun 0, and a number.
        assert ours["Events/event_id"][:].tolist() == [(1, 0, k) for k in range(5)]


def test_format_and_name_must_fit(tmp_path: Path) -> None:
    images = ArrayImages(np.ones((1, 2, 2)))
    for name, format, suffix in (("x.npz", "larcv3", ".h5 or .hdf5"), ("x.h5", "npz", ".npz"), ("x.h5", "png", "no suffix")):
        with pytest.raises(PgenError, match=f"expected {suffix}"):
            write_images(tmp_path / name, images, format=format)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_commands(pgen, tmp_path: Path) -> None:
    pgen("data", "convert", f"{GENUINE}:plane=0", "--format", "larcv3", "--out", "x.h5", cwd=tmp_path)
    actual, expected = open_images(str(tmp_path / "x.h5")), open_images(f"{GENUINE}:plane=0")
    assert np.array_equal(read_all(actual), read_all(expected)) and actual.ids.tolist() == expected.ids.tolist()
    small = ("--n-hidden", 8, "--batch-size", 16, "--sample-size", 0, "--max-steps", 1, "--name", "gan")
    pgen("train", "gan", "--data", "simulate:n=16,size=16,seed=1", *small, cwd=tmp_path)
    pgen("sample", "runs/gan", "-n", 5, "--format", "larcv3", "--out", "s.h5", cwd=tmp_path)
    assert np.array_equal(actual.geometry, expected.geometry)
    pgen("data", "crop", "x.h5", "--size", 32, "--out", "c.h5", cwd=tmp_path)
    pgen("data", "export", "c.h5", "--out", "e.h5", cwd=tmp_path)
    crops, exported = open_images(str(tmp_path / "c.h5")), open_images(str(tmp_path / "e.h5"))
    corner = [[int(part) for part in name.split("/")[-2:]] for name in crops.ids]
    parent = [expected.ids.tolist().index(event) for event in crops.events]
    moved = expected.geometry[parent] + np.pad(np.array(corner)[:, None] * expected.geometry[parent][..., 2:], [(0, 0), (0, 0), (0, 2)])
    assert np.array_equal(crops.geometry, moved) and np.array_equal(exported.geometry, moved)
    samples = open_images(str(tmp_path / "s.h5"))
    assert samples.about["format"] == "LArCV3 HDF5" and samples.ids.tolist() == [f"1/0/{k}" for k in range(5)]
    assert samples.geometry.tolist() == [[[0, 0, 1, 1]]] * 5
