"""Readers against files of the genuine libraries: every pixel equal to the truth."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pgen.data import open_images, read_all
from pgen.data.formats.larcv.planes import select_planes
from pgen.errors import PgenError

CONTAINERS = Path(__file__).parents[1] / "containers"
FILES = {
    "larcv1_forward_256.root": "",
    "larcv1_forward_rect.root": "",
    "larcv1_backward_256.root": ",tick_order=backward",
    "larcv2_rect.root": "",
    "larcv3_256.h5": "",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_pixels_equal_the_truth(file: str, plane: int) -> None:
    truth = np.load(CONTAINERS / (file.split(".")[0] + ".npz"))
    event = np.repeat(np.arange(len(truth["n_images"])), truth["n_images"])
    at = truth["meta"][:, 0] == plane
    images = open_images(f"{file}:plane={plane}{FILES[file]}", data_root=CONTAINERS)
    assert np.array_equal(images.read(range(len(images)))[:, 0], truth["images"][at])
    assert images.ids.tolist() == ["/".join(map(str, each)) for each in truth["run_subrun_event"][event[at]]]
    assert images.skipped == len(truth["n_images"]) - at.sum()
    assert images.about["planes"] == [plane]
    low_x, low_y, high_x, high_y, rows, columns = truth["meta"][at, 1:].T
    pixel = (high_y - low_y) / rows, (high_x - low_x) / columns
    assert np.array_equal(images.geometry[:, 0], np.stack([low_y, low_x, *pixel], 1))


@pytest.mark.parametrize("file", ["larcv1_forward_rect.root", "larcv3_256.h5"])
def test_scattered_and_repeated_reads(file: str) -> None:
    images = open_images(f"{file}:plane=1", data_root=CONTAINERS)
    everything = images.read(range(len(images)))
    order = [5, 0, 3, 3, 1]
    assert np.array_equal(images.read(order), everything[order])
    assert images.read([]).shape == (0, *images.shape)


def test_transpose_of_larcv3() -> None:
    straight = open_images("larcv3_256.h5:plane=0,limit=2", data_root=CONTAINERS)
    turned = open_images("larcv3_256.h5:plane=0,transpose=true,limit=2", data_root=CONTAINERS)
    assert np.array_equal(turned.read([0, 1]), straight.read([0, 1]).swapaxes(2, 3))
    assert np.array_equal(turned.geometry, straight.geometry[..., [1, 0, 3, 2]])


@pytest.mark.parametrize("product", ["sparse2d", "cluster2d"])
def test_voxels_lie_where_their_image_does(product: str) -> None:
    images, voxels = (open_images(f"larcv2_rect.root:plane=1{also}", data_root=CONTAINERS) for also in ("", f",product={product}"))
    assert np.array_equal(voxels.geometry, images.geometry) and np.isfinite(voxels.geometry).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("larcv2_rect.root", r"different planes: 0 \(in 7 events\).*plane=0"),
        ("larcv2_rect.root:plane=5", "no plane 5; found planes 0, 1, 2"),
        ("larcv2_rect.root:producer=wire", "no producer 'wire'; found data"),
        ("larcv2_rect.root:plane=0,tick_order=backward", "tick_order=backward is for LArCV1"),
        ("larcv1_forward_rect.root:plane=0,tick_order=up", "expected forward or backward"),
        ("larcv1_forward_rect.root:plan=0", "Did you mean plane="),
        ("larcv3_256.h5:plane=0,transpose=yes", "expected true or false"),
        ("larcv3_256.h5:producer=x", "found wire"),
        ("larcv2_rect.root:plane=0,planes=0+1", "two ways to choose planes"),
        ("larcv2_rect.root:planes=0+0", "different plane numbers joined by"),
        ("larcv2_rect.root:planes=0+7", "no plane 7; found planes 0, 1, 2"),
    ],
)
def test_wrong_options(source: str, message: str) -> None:
    with pytest.raises(PgenError, match=message):
        open_images(source, data_root=CONTAINERS)


@pytest.mark.parametrize("file", ["larcv2_rect.root", "larcv3_256.h5"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.95])
def test_truncated(tmp_path: Path, file: str, part: float) -> None:
    content = (CONTAINERS / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(part * len(content))])
    with pytest.raises(PgenError, match=r"truncated|damaged|no image2d"):
        images = open_images(f"{file}:plane=0", data_root=tmp_path)
        images.read(range(len(images)))


@pytest.mark.parametrize(
    ("size", "reason"), [((128, 512), "128 x 512 pixels, not 256 x 256"), ((3, 3), "pixels that are not rows x columns")]
)
def test_larcv3_of_inconsistent_sizes(tmp_path: Path, size: tuple[int, int], reason: str) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        meta = file["Data/image2d_wire_group/image_meta"]
        rows = meta[:]
        rows["number_of_voxels"][0] = size
        meta[:] = rows
    images = open_images(f"{path}:plane=0")
    assert len(images) == 22 and images.left_out.count_by_reason() == {"plane 0 missing": 1, reason: 1}
    assert np.array_equal(read_all(images), read_all(open_images("larcv3_256.h5:plane=0,entries=1-23", data_root=CONTAINERS)))


def test_root_file_without_images(tmp_path: Path) -> None:
    import uproot

    with uproot.recreate(tmp_path / "other.root") as file:
        file["tree"] = {"x": np.arange(3)}
    with pytest.raises(PgenError, match="no image2d tree"):
        open_images(str(tmp_path / "other.root"))


def test_choosing_planes() -> None:
    def chosen(events: list[list[int]], requested: tuple[int, ...] | None = None):
        plane = np.array([p for each in events for p in each], dtype=int)
        event = np.repeat(np.arange(len(events)), [len(each) for each in events])
        ones = np.ones_like(plane)
        return select_planes(event, plane, ones, ones, events=len(events), requested=requested, name="f")

    both = chosen([[1, 0], [], [0, 1]])
    assert both.planes == (0, 1) and both.entries.tolist() == [0, 2] and both.images.tolist() == [[1, 0], [-1, -1], [2, 3]]
    assert both.reasons.tolist() == ["", "no image", ""] and not both.odd.any()
    other = chosen([[1, 0], [2]], requested=(2,))
    assert other.images[other.entries].tolist() == [[2]] and other.reasons[0] == "plane 2 missing" and not other.odd.any()
    doubled = chosen([[0], [0, 0], [0]])
    assert doubled.entries.tolist() == [0, 2] and doubled.reasons[1] == "plane 0 twice or more" and doubled.odd[1]
    strange = chosen([[0, 1], [1, 0], [0, 1, 9], [1], [0, 1]])
    assert strange.planes == (0, 1) and strange.entries.tolist() == [0, 1, 4]
    assert strange.reasons[2:4].tolist() == ["planes that most events lack", "plane 0 missing"]
    with pytest.raises(PgenError, match="no image in any"):
        chosen([[], []])
    with pytest.raises(PgenError, match=r"different planes: 0 \(in 1 events\).*plane=0"):
        chosen([[0], [1], [2]])
