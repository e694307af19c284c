"""Which event an image belongs to: by run/subrun/event wherever these are known, through every command."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, ImageSet, open_images, read_all, write_images
from pgen.data.events import event_names, unique_ids
from pgen.data.transforms.crop import crop
from pgen.data.transforms.split import split
from pgen.data.views import ConcatImages
from pgen.errors import PgenError
from tests.helpers.larcv_files import renumber, write_larcv3

CONTAINERS = Path(__file__).parents[1] / "containers"


def flat(event: int, plane: int = 0) -> np.ndarray:
    """An image that says which event and plane it is of, whatever is cut out of it."""
    return np.full((4, 8), 10.0 * (event + 1) + plane, np.float32)


def events_of(images: ImageSet) -> set[int]:
    return {int(image.max()) // 10 - 1 for image in read_all(images)}


def test_names() -> None:
    def names(run: object, subrun: object, event: object) -> list[str]:
        return event_names(np.array(run), np.array(subrun), np.array(event)).tolist()

    assert names([7, 7], [0, 1], [3, 0]) == ["7/0/3", "7/1/0"]
    assert names([0, 0], [0, 0], [0, 1]) == ["0/0/0", "0/0/1"]
    assert names([0, 0], [0, 0], [0, 0]) == names([-1, -1], [-1, -1], [-1, -1]) == ["", ""]
    assert names([5, -1], [0, 0], [1, 2]) == ["5/0/1", ""]
    unset = np.array([2**64 - 1, 9], np.uint64)
    assert event_names(unset, unset, unset).tolist() == ["", "9/9/9"]
    assert unique_ids(np.array(["a", "b", "a", "a#2", "a"])).tolist() == ["a", "b", "a#3", "a#2", "a#4"]


@pytest.mark.parametrize("kind", ["npz", "pt", "h5"])
@pytest.mark.parametrize(
    "columns",
    [
        {"events": np.array([[4, 1, 8], [4, 1, 8], [4, 2, 0]])},
        {"event_id": np.array([[4, 1, 8], [4, 1, 8], [4, 2, 0]], np.int32)},
        {"run": np.array([4, 4, 4]), "subrun": np.array([1, 1, 2]), "event": np.array([8.0, 8.0, 0.0])},
    ],
    ids=["rows", "event_id", "columns"],
)
def test_columns_of_foreign_files(tmp_path: Path, kind: str, columns: dict[str, np.ndarray]) -> None:
    path, pixels = tmp_path / f"x.{kind}", np.stack([flat(k) for k in range(3)])
    if kind == "npz":
        np.savez(path, images=pixels, **columns)
    elif kind == "pt":
        torch.save({"images": torch.from_numpy(pixels), **{key: torch.from_numpy(values) for key, values in columns.items()}}, path)
    else:
        with h5py.File(path, "w") as file:
            for key, values in {"images": pixels, **columns}.items():
                file[key] = values
    images = open_images(str(path))
    assert images.events.tolist() == ["4/1/8", "4/1/8", "4/2/0"]
    assert images.about["event_names"] == "run/subrun/event"  # type: ignore[attr-defined]


def test_entries_of_one_event_share_it(tmp_path: Path) -> None:
    path = write_larcv3(tmp_path / "x.h5", [[(0, flat(k % 3))] for k in range(6)], [(2, 5, k % 3) for k in range(6)])
    images = open_images(str(path))
    assert images.ids.tolist() == ["2/5/0", "2/5/1", "2/5/2", "2/5/0#2", "2/5/1#2", "2/5/2#2"]
    assert images.events.tolist() == ["2/5/0", "2/5/1", "2/5/2"] * 2
    train, held_out = split(images, 1)
    assert not set(train.events) & set(held_out.events) and len(held_out) == 2


@pytest.mark.parametrize("number", [0, -1])
def test_files_without_numbers_go_by_entry(tmp_path: Path, pgen, number: int) -> None:
    for name in ("a", "b"):
        write_larcv3(tmp_path / f"{name}.h5", [[(0, flat(k))] for k in range(4)], [(number,) * 3] * 4)
    images = open_images(f"{tmp_path}/a.h5")
    assert images.ids.tolist() == ["0", "1", "2", "3"] and images.events.tolist() == ["a/0", "a/1", "a/2", "a/3"]
    assert len(set(open_images(f"{tmp_path}/?.h5").events)) == 8
    text = " ".join(pgen("data", "info", "a.h5", cwd=tmp_path).stdout.split())
    assert "4 images of 4 events" in text and "one per image (no run/subrun/event in the file)" in text


def test_genuine_root_files_without_numbers(tmp_path: Path) -> None:
    path = tmp_path / "larcv2_rect.root"
    shutil.copy(CONTAINERS / path.name, path)
    for branch in ("_run", "_subrun", "_event"):
        renumber(path, "image2d_data_tree", branch, [0] * 8)
    images = open_images(f"{path}:plane=0")
    assert images.ids.tolist() == ["0", "1", "2", "3", "4", "5", "7"] and images.events[-1] == "larcv2_rect/7"


def planes_in_files(folder: Path) -> None:
    """The planes of events 0 to 5 in a file each."""
    for plane in range(2):
        write_larcv3(folder / f"plane{plane}.h5", [[(plane, flat(k, plane))] for k in range(6)], [(1, 0, k) for k in range(6)])


def test_planes_in_separate_files_stay_together(tmp_path: Path, pgen) -> None:
    planes_in_files(tmp_path)
    done = pgen("data", "split", "plane*.h5", "--held-out", 2, "--seed", 1, "--out", "s", cwd=tmp_path)
    assert "8 images of 4 events" in done.stdout and "4 images of 2 events" in done.stdout
    assert "6 of 6 events have images in more than one file" in done.stderr and "events=file" in done.stderr
    train, held_out = (open_images(f"{tmp_path}/s/{name}.h5") for name in ("train", "held_out"))
    assert not events_of(train) & events_of(held_out)
    assert {name.partition("/")[0] for name in train.ids} == {"plane0", "plane1"}

    pgen("data", "merge", "plane0.h5", "plane1.h5", "--out", "m.h5", cwd=tmp_path)
    merged = open_images(f"{tmp_path}/m.h5")
    assert merged.ids[[0, 6]].tolist() == ["1/0/0", "1/0/0#2"] and merged.events[6] == "1/0/0"
    done = pgen("data", "split", "plane*.h5", "--by", "file", "--held-out", 1, "--out", "t", cwd=tmp_path)
    assert "images of 6 events on both sides" in " ".join(done.stderr.split())


def test_files_that_number_independently(tmp_path: Path, pgen, refuses) -> None:
    for job in range(3):
        write_larcv3(tmp_path / f"job{job}.h5", [[(0, flat(job))]], [(1, 0, 7)])
    refuses("data", "split", "job*.h5", "--out", "s", saying="all its 3 images are of the event 1/0/7", cwd=tmp_path)
    for naming, events in (("file", "job1/1/0/7"), ("entry", "job1/1/0/7")):
        assert open_images(f"{tmp_path}/job*.h5:events={naming}").events[1] == events
    assert open_images(f"{tmp_path}/job2.h5:events=file").events.tolist() == ["job2/1/0/7"]
    done = pgen("data", "split", "job*.h5:events=file", "--held-out", 1, "--out", "s", cwd=tmp_path)
    assert "2 images of 2 events" in done.stdout and "more than one file" not in done.stderr
    pgen("data", "convert", "job*.h5", "--out", "all.h5", cwd=tmp_path)
    assert len(set(open_images(f"{tmp_path}/all.h5:events=file").events)) == 3
    refuses("data", "info", "job0.h5:events=run", saying="expected number, file or entry", cwd=tmp_path)


def test_files_called_alike_are_told_apart(tmp_path: Path, pgen) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.stack([flat(k, "ab".index(folder)) for k in range(2)]))
    pgen("data", "merge", "a/x.npy", "b/x.npy", "--out", "m.h5", cwd=tmp_path)
    assert open_images(f"{tmp_path}/m.h5").events.tolist() == ["a/x.npy/0", "a/x.npy/1", "b/x.npy/0", "b/x.npy/1"]


def test_larcv3_has_the_numbers_of_events_and_gives_them_back(tmp_path: Path) -> None:
    pixels = np.stack([flat(k) for k in range(6)])
    events = ["9/1/4", "9/1/4", "x/3", "9/2/0", "x/3", "y"]
    path = write_images(tmp_path / "x.h5", ArrayImages(pixels, ids=list("abcdef"), events=events), format="larcv3")
    images = open_images(str(path))
    assert images.events.tolist() == ["9/1/4", "9/1/4", "10/0/0", "9/2/0", "10/0/0", "10/0/1"]
    again = write_images(tmp_path / "y.h5", images, format="larcv3")
    assert open_images(str(again)).ids.tolist() == images.ids.tolist()


def test_stores_of_an_earlier_version(tmp_path: Path) -> None:
    """It made events unique where only ids should be."""
    path = write_images(tmp_path / "x.h5", ArrayImages(np.stack([flat(0), flat(0)]), ids=["4/0/1", "4/0/1#2"]))
    images = open_images(str(path))
    assert images.ids.tolist() == ["4/0/1", "4/0/1#2"] and images.events.tolist() == ["4/0/1", "4/0/1"]


STEPS = st.lists(st.sampled_from(["store", "npz", "png", "larcv3", "crop", "merge", "pattern", "split"]), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 99), numbered=st.booleans())
def test_no_event_on_both_sides_whatever_was_done_before(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int, numbered: bool
) -> None:
    folder, random = tmp_path_factory.mktemp("chain"), np.random.default_rng(seed)
    start = folder / "start"
    start.mkdir()
    if numbered:  # planes of the same events in two files, some of them twice
        for plane in range(2):
            order = random.permutation(np.arange(8) % 6).tolist()
            write_larcv3(start / f"in{plane}.h5", [[(plane, flat(k, plane))] for k in order], [(3, 1, k) for k in order])
        paths = [start / "in0.h5", start / "in1.h5"]
    else:
        np.save(start / "in.npy", np.stack([flat(k) for k in range(6)]))
        paths = [start / "in.npy"]
    for number, step in enumerate(steps):
        paths = done(step, paths, folder / str(number), seed)
    images = ConcatImages([open_images(str(path)) for path in paths], "all") if len(paths) > 1 else open_images(str(paths[0]))
    train, held_out = split(images, 0.4, seed=seed)
    assert not {int(image.max()) // 10 for image in train} & {int(image.max()) // 10 for image in held_out}


def done(step: str, paths: list[Path], folder: Path, seed: int) -> list[Path]:
    """The files that a step makes of others."""
    folder.mkdir()
    suffix = {"png": "", "npz": ".npz"}.get(step, ".h5")
    if step in ("merge", "pattern"):
        pattern = f"{paths[0].parent}/*" if step == "pattern" else None
        sets = [open_images(pattern)] if pattern else [open_images(str(path)) for path in paths]
        return [write_images(folder / "all.h5", ConcatImages(sets, "all") if len(sets) > 1 else sets[0])]
    written = []
    for path in paths:
        images = open_images(str(path))
        if step == "split" and len(set(images.events)) > 1:
            sides = split(images, 0.5, seed=seed)
            written += [write_images(folder / f"{path.stem}-{name}.h5", side) for name, side in zip("ab", sides, strict=True)]
            continue
        windows = crop(images, (images.shape[1], max(1, images.shape[2] // 2)), min_occupancy=0)
        made = windows if step == "crop" else images
        written.append(write_images(folder / f"{path.stem}{suffix}", made, format="larcv3" if step == "larcv3" else None))
    return written


def test_copies_are_refused_and_planes_are_not(tmp_path: Path) -> None:
    planes_in_files(tmp_path)
    one, two = (open_images(f"{tmp_path}/plane{k}.h5") for k in range(2))
    assert len(set(ConcatImages([one, two], "x").ids)) == 12
    with pytest.raises(PgenError, match="share no image"):
        ConcatImages([one, open_images(f"{tmp_path}/plane0.h5:limit=2")], "x")
