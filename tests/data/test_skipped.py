"""Odd events are skipped and counted, up to a limit; they never block a whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pgen.data import open_images, read_all
from pgen.data.skipped import Skipped
from pgen.errors import ChoiceNeeded, PgenError
from tests.data.test_public_sets import microboone, pilarnet
from tests.helpers.larcv_files import write_larcv3

CONTAINERS = Path(__file__).parents[1] / "containers"
RANDOM = np.random.default_rng(5)
PLANES = [[RANDOM.integers(1, 90, (6, 9)).astype(np.float32) for _ in range(3)] for _ in range(30)]


def whole(k: int) -> list[tuple[int, np.ndarray]]:
    return list(enumerate(PLANES[k]))


#: What an odd event holds, and why it is skipped where all planes are wanted, or plane 1.
ODD: dict[str, tuple[Callable[[int], list], str, str | None]] = {
    "all planes twice": (lambda k: whole(k) + whole(k), "plane 0 twice or more", "plane 1 twice or more"),
    "one plane twice": (lambda k: [*whole(k), (2, PLANES[k][0])], "plane 2 twice or more", None),
    "placeholders": (lambda k: [(p, np.zeros((0, 0))) for p in range(3)], "plane 0 without pixels", "plane 1 without pixels"),
    "a placeholder": (lambda k: [*whole(k)[:2], (2, np.zeros((0, 9)))], "plane 2 without pixels", None),
    "a plane missing": (lambda k: [whole(k)[0], whole(k)[2]], "plane 1 missing", "plane 1 missing"),
    "another plane": (lambda k: [*whole(k), (65535, PLANES[k][0])], "planes that most events lack", None),
    "another size": (lambda k: [(p, pixels[:4]) for p, pixels in whole(k)], "4 x 9 pixels, not 6 x 9", "4 x 9 pixels, not 6 x 9"),
    "one of another size": (lambda k: [*whole(k)[:2], (2, np.ones((6, 8)))], "6 x 8 pixels, not 6 x 9", None),
    "no image": (lambda k: [], "no image", "plane 1 missing"),
}


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_event_is_skipped_and_counted(tmp_path: Path, oddity: str) -> None:
    make, reason, of_plane_1 = ODD[oddity]
    events = [make(k) if k in (4, 23) else whole(k) for k in range(30)]
    path = write_larcv3(tmp_path / "x.h5", events, [(8, 2, k) for k in range(30)])
    sound = [k for k in range(30) if k not in (4, 23)]
    images = open_images(str(path))
    assert np.array_equal(read_all(images), np.array(PLANES)[sound]) and images.events.tolist() == [f"8/2/{k}" for k in sound]
    assert images.left_out.count_by_reason() == {reason: 2} and images.skipped == 2

    one = open_images(f"{path}:plane=1")
    kept = sound if of_plane_1 else list(range(30))
    assert np.array_equal(read_all(one)[:, 0], np.array(PLANES)[kept, 1])
    assert one.left_out.count_by_reason() == ({of_plane_1: 2} if of_plane_1 else {})
    several = open_images(f"{path}:planes=2+0")
    assert several.about["planes"] == [2, 0] and np.array_equal(several.read([0])[0], np.array(PLANES)[0, [2, 0]])


def test_the_limit(tmp_path: Path, pgen, refuses) -> None:
    events = [whole(k) + whole(k) if k in (7, 8, 9) else whole(k) for k in range(12)]
    path = write_larcv3(tmp_path / "x.h5", events, [(1, 1, k) for k in range(12)])
    message = "3 of 12 events are odd (plane 0 twice or more: 3), more than max_skipped=10% allows; skip them by max_skipped=3"
    with pytest.raises(ChoiceNeeded) as error:
        open_images(str(path))
    assert message in str(error.value)
    for option, count in (("max_skipped=3", 9), ("max_skipped=.25", 9), ("max_skipped=25%", 9), ("limit=7", 7), ("entries=0-5", 5)):
        assert len(open_images(f"{path}:{option}")) == count
    for bad in ("max_skipped=2", "max_skipped=20%", "entries=5-9", "max_skipped=-1", "max_skipped=x", "max_skipped=0.1.1"):
        with pytest.raises(PgenError, match="max_skipped="):
            open_images(f"{path}:{bad}")
    assert open_images(f"{path}:entries=2-7").skipped == 0 and open_images(f"{path}:limit=8,max_skipped=3").skipped == 3

    for command, *more in (("convert",), ("split",), ("crop", "--size", 3)):
        done = pgen("data", command, path, *more, "--max-skipped", "50%", "--out", f"{command}.h5", cwd=tmp_path)
        assert "3 events skipped (plane 0 twice or more: 3)" in " ".join(done.stderr.split())
    assert "3 events: plane 0 twice or more (3)" in " ".join(pgen("data", "info", path, "--max-skipped", 3, cwd=tmp_path).stdout.split())
    train = ("train", "gan", "--data", path, "--max-steps", 1, "--sample-size", 0, "--n-hidden", 4, "--batch-size", 3)
    refuses(*train, saying="max_skipped=10%", cwd=tmp_path)
    done = pgen(*train, "--max-skipped", 3, cwd=tmp_path)
    assert "(9 samples; 3 events skipped" in " ".join(done.stderr.split())


def test_jagged_root_files(tmp_path: Path) -> None:
    rect = CONTAINERS / "larcv2_rect.root"
    assert len(open_images(f"{rect}:planes=0+1+2")) == 6
    assert open_images(f"{rect}:planes=0+1+2").left_out.count_by_reason() == {"plane 0 missing": 1, "plane 1 missing": 1}
    assert len(open_images(f"{rect}:limit=4")) == 4 and len(open_images(f"{rect}:max_skipped=1")) == 6
    with np.load(CONTAINERS / "larcv2_rect.npz") as truth:
        assert np.array_equal(read_all(open_images(f"{rect}:planes=0+1+2")).reshape(-1, 96, 160), truth["images"][:18])


def test_sizes_and_planes_without_a_majority_are_asked_for(tmp_path: Path) -> None:
    halves = [[(0, PLANES[k][0][: 6 - 2 * (k % 2)])] for k in range(8)]
    with pytest.raises(ChoiceNeeded, match=r"different sizes \(4 x 9, 6 x 9\)"):
        open_images(str(write_larcv3(tmp_path / "s.h5", halves, [(1, 1, k) for k in range(8)])))
    turns = [[(k % 3, PLANES[k][0])] for k in range(9)]
    path = write_larcv3(tmp_path / "p.h5", turns, [(1, 1, k) for k in range(9)])
    with pytest.raises(ChoiceNeeded, match=r"different planes: 0 \(in 3 events\), 1 \(in 3 events\).*plane=0"):
        open_images(str(path))
    assert len(open_images(f"{path}:plane=2")) == 3


def test_skipped_events_of_several_files(tmp_path: Path) -> None:
    for name, odd in (("a", 0), ("b", 1)):
        events = [whole(k) * 2 if k < odd else whole(k) for k in range(6)]
        write_larcv3(tmp_path / f"{name}.h5", events, [(1, ord(name), k) for k in range(6)])
    images = open_images(f"{tmp_path}/?.h5")  # 1 of 12, though 1 of 6 in the second file
    assert len(images) == 11 and images.left_out.count_by_reason() == {"plane 0 twice or more": 1}


def test_odd_events_of_microboone(tmp_path: Path) -> None:
    rows = [(event, 2, wire) for event in range(12) for wire in (5, 8)]
    microboone(tmp_path / "x.h5", [*rows, (6, 2, 5)])
    images = open_images(f"{tmp_path}/x.h5")
    assert len(images) == 11 and images.left_out.count_by_reason() == {"a wire of plane 2 twice": 1} and "5/1/6" not in images.events
    assert np.allclose(images.labels["nu_energy"], [event / 10 for event in range(12) if event != 6])
    microboone(tmp_path / "y.h5", [*rows, (3, 2, 9999)])
    assert open_images(f"{tmp_path}/y.h5").left_out.count_by_reason() == {"wires beyond the 3456 of plane 2": 1}


def test_images_that_cannot_be_read(tmp_path: Path, refuses) -> None:
    """What only reading shows is skipped by check=true."""
    pixels = np.ones((20, 4, 5), np.float32)
    pixels[[3, 12], 1, 1] = np.nan, np.inf
    np.save(tmp_path / "x.npy", pixels)
    refuses("data", "convert", "x.npy", "--out", "y.h5", saying="skip such images by check=true", cwd=tmp_path)
    images = open_images(f"{tmp_path}/x.npy:check=true")
    assert len(images) == 18 and np.array_equal(read_all(images)[:, 0], pixels[np.isfinite(pixels).all((1, 2))])
    assert images.left_out.count_by_reason() == {"pixels that are NaN or infinite": 2} and images.left_out.before.tolist() == [3, 11]
    with pytest.raises(ChoiceNeeded, match="1 of 4 events"):
        open_images(f"{tmp_path}/x.npy:check=true,limit=4")
    pilarnet(tmp_path / "p.h5", [np.full((2, 8), 900.0 if k == 5 else 9.0) for k in range(12)])
    assert open_images(f"{tmp_path}/p.h5:check=true").left_out.count_by_reason() == {"voxels outside of the cube": 1}
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["images"] = np.full((3, 2, 2), np.nan)
    with pytest.raises(PgenError, match="none of its 3 images can be read"):
        open_images(f"{tmp_path}/n.h5:check=true")


def test_ranges_of_skipped_events() -> None:
    reasons = np.array(["a", "", "", "b", "", "c"])
    skipped = Skipped.from_reasons(reasons, np.ones(6, bool))
    assert skipped.before.tolist() == [0, 2, 3]
    assert skipped.within(0, 3, 3).reasons.tolist() == ["a", "b", "c"]
    assert skipped.within(0, 2, 3).reasons.tolist() == ["a"] and skipped.within(1, 3, 3).reasons.tolist() == ["b", "c"]
    assert skipped.add(np.array(["", "d", ""])).reasons.tolist() == ["a", "d", "b", "c"]
