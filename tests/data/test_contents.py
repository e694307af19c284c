"""What `pgen data info` says of a file before it is opened as images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pgen.data.io.contents import list_contents
from pgen.errors import PgenError
from pgen.report.ascii_preview import CHARACTERS, render_ascii

CONTAINERS = Path(__file__).parents[1] / "containers"


@pytest.mark.parametrize(("file", "key"), [("larcv1_forward_256.root", "image2d_wire_tree"), ("larcv3_256.h5", "image2d_wire_group")])
def test_planes_are_shown_where_they_differ(file: str, key: str, pgen) -> None:
    path = CONTAINERS / file
    message = list_contents(path, file)
    with np.load(path.with_suffix(".npz")) as truth:
        assert message[key] == "24 events; plane 0: 256 x 256 in 23; planes 1, 2: 256 x 256 in 22", truth.files
    text = " ".join(pgen("data", "info", path, "--max-skipped", 0).stdout.split())
    assert message[key] in text and "choose one by adding plane=0" in text and "As images" not in text
    assert "As images" in pgen("data", "info", f"{path}:plane=1").stdout


def test_arrays_and_folders(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.zeros(4, np.int8))
    assert list_contents(tmp_path / "a.npz", "a") == {"x": "float64 (2, 3)", "y": "int8 (4,)"}
    np.save(tmp_path / "b.npy", np.zeros(1))
    assert list_contents(tmp_path, "x") == {".npy": "1 file", ".npz": "1 file"}
    (tmp_path / "c.root").write_bytes((CONTAINERS / "larcv2_rect.root").read_bytes()[:3000])
    with pytest.raises(PgenError, match="truncated or damaged"):
        list_contents(tmp_path / "c.root", "c.root")


def test_of_many_files_the_first_are_shown(pgen, tmp_path: Path) -> None:
    for k in range(7):
        np.save(tmp_path / f"{k}.npy", np.ones((2, 3, 4)))
    text = pgen("data", "info", "*.npy", cwd=tmp_path).stdout
    assert "4.npy" in text and "5.npy" not in text and "and 2 more files" in text and "14 images of 14 events" in text


def test_preview(pgen, refuses, tmp_path: Path) -> None:
    pgen("data", "simulate", "-n", 5, "--size", 64, "--out", tmp_path / "a.h5")
    pgen("data", "info", "a.h5", "--preview", "a.png", cwd=tmp_path)
    assert (tmp_path / "a.png").stat().st_size > 5000
    refuses("data", "info", "a.h5", "--preview", "a.png", saying="exists already", cwd=tmp_path)
    assert "Image " in pgen("data", "info", "a.h5", "--preview", "-", cwd=tmp_path).stdout


def test_letters() -> None:
    image = np.zeros((2, 4, 6), np.float32)
    image[0, 1, 2], image[1, 3, 5], image[1, 3, 0] = 1e6, 1, 1e-3
    first, second = render_ascii(image).split("\n------\n")
    assert [line.rstrip() for line in first.split("\n")] == ["  " + CHARACTERS[-1], ""]
    assert second == "\n" + CHARACTERS[1] + "    " + CHARACTERS[1]
    assert set(render_ascii(np.zeros((1, 500, 900), np.float32))) == {"\n"}
    wide = render_ascii(np.ones((1, 500, 900), np.float32)).split("\n")
    assert max(map(len, wide)) <= 72 and len(wide) <= 32
