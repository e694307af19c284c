"""Labels from the particles of LArCV files."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from pgen.data import open_images
from pgen.data.formats.larcv.particle_labels import label_by_first_particle, pair_entries
from pgen.errors import PgenError
from tests.data.test_public_sets import microboone
from tests.helpers.larcv_files import renumber, write_larcv3

CONTAINERS = Path(__file__).parents[1] / "containers"


@pytest.mark.parametrize(
    ("source", "energy", "first"),
    [
        ("larcv2_rect.root:plane=0", "energy_init", 1000),
        ("larcv1_forward_rect.root:plane=0", "energy_deposit", 100),
        ("larcv3_256.h5:plane=0", "energy_init", 1000),
    ],
)
def test_labels_belong_to_their_events(source: str, energy: str, first: int) -> None:
    images = open_images(source, data_root=CONTAINERS)
    event = [int(name.split("/")[2]) for name in images.ids]
    start = event[0] if source.startswith("larcv1") else 0
    # The files' makers counted the energy up with the event.
    assert images.labels[energy].tolist() == [first + e - start for e in event]
    assert images.labels["pdg"].tolist() == [13] * len(images) and images.labels["pdg"].dtype == np.int64
    assert images.labels["particles"].tolist() == [1] * len(images)
    assert not open_images(f"{source},labels=none", data_root=CONTAINERS).labels
    with pytest.raises(PgenError, match="found"):
        open_images(f"{source},labels=nobody", data_root=CONTAINERS)


RECT = "larcv2_rect.root"


def copied(folder: Path, **branches: list[int]) -> str:
    """A genuine file whose particles have other event numbers than its images, by branch."""
    path = folder / RECT
    shutil.copy(CONTAINERS / RECT, path)
    for branch, numbers in branches.items():
        renumber(path, "particle_data_tree", branch, numbers)
    return f"{path}:plane=0"


def test_particles_of_other_numbers_are_paired_by_entry_and_it_is_said(tmp_path: Path) -> None:
    truth = open_images(f"{RECT}:plane=0", data_root=CONTAINERS).labels["energy_init"]
    for branches, note in (
        ({"_run": [9] * 8}, "paired by entry, though event numbers differ (9/0/0 for image 7/0/0)"),
        ({"_run": [0] * 8, "_subrun": [0] * 8, "_event": [0] * 8}, "paired by entry: not all events are numbered"),
    ):
        images = open_images(copied(tmp_path, **branches))
        assert np.array_equal(images.labels["energy_init"], truth)
        assert images.about["labels_from"] == note


def test_particles_in_another_order_are_paired_by_number(tmp_path: Path) -> None:
    # The numbers of the last two entries of the particles change places.
    images = open_images(copied(tmp_path, _event=[0, 1, 2, 3, 4, 5, 7, 6]))
    assert [float(energy) for energy in images.labels["energy_init"][-2:]] == [1005.0, 1006.0]
    assert "paired by event number" in images.about["labels_from"]


def test_contradicting_numbers_are_refused(tmp_path: Path) -> None:
    source = copied(tmp_path, _event=[0, 1, 2, 3] * 2)
    with pytest.raises(PgenError, match=r"list the same events in other entries .* labels=none"):
        open_images(source)
    assert not open_images(f"{source},labels=none").labels


def test_pairing() -> None:
    def pair(images: str, lists: str) -> list[int]:
        return pair_entries(np.array(images.split(",")), np.array(lists.split(",")), "f")[0].tolist()

    assert pair("a,b,c", "a,b,c") == pair("a,b,c", "d,e,f") == pair("a,b,c", "a,,") == pair("a,a,b", "a,a,b") == [0, 1, 2]
    assert pair("a,b,c", "c,a,b") == [1, 2, 0]
    assert pair("a,b,b,d", "b,a") == [1, 0, 0, -1]
    for images, lists in (("a,b,c", "b,c,d"), ("a,b,c", "a,a,b"), ("a,b", "a,b,b"), ("a,b", "c"), ("a,", "a,b,c")):
        with pytest.raises(PgenError, match="labels=none"):
            pair(images, lists)


def test_no_list_and_an_empty_list_are_different() -> None:
    members = {"pdg": [[11, 22], [], [2212]], "px": [[1.5, 2.0], [], [-3.0]], "py": [[np.nan, 0.0], [], [0.0]]}
    rows = np.array([2, 0, -1, 1])  # the third has no list, that of the fourth is empty

    def labels(entries: list[int]) -> tuple[dict, str]:
        return label_by_first_particle(rows, members.get, source="truth").select(np.array(entries))

    actual, note = labels([0, 1])
    assert actual["pdg"].tolist() == [2212, 11] and actual["px"].tolist() == [-3.0, 1.5] and actual["particles"].tolist() == [1, 2]
    assert not note and "py" not in actual and "pz" not in actual
    actual, note = labels([0, 3])
    assert list(actual) == ["particles"] and actual["particles"].tolist() == [1, 0]
    assert note == "left out pdg, px (no particle: 1 of 2 events); labels=truth skips these events"
    actual, note = labels([0, 2])
    assert not actual and note.startswith("left out particles, pdg, px (no list of particles: 1 of 2 events)")


def test_events_without_a_particle_in_larcv3(tmp_path: Path, pgen, refuses) -> None:
    events = [[(0, np.full((4, 6), k + 1.0))] for k in range(5)]
    particles = [[(13, 1.0)], [], [(11, 2.0), (22, 0.5)], [(13, -1.0)], [(2212, 3.0)]]
    path = write_larcv3(tmp_path / "x.h5", events, [(3, 0, k) for k in range(5)], particles=particles)
    images = open_images(str(path))
    assert images.labels["particles"].tolist() == [1, 0, 2, 1, 1] and list(images.labels) == ["particles"]
    images = open_images(f"{path}:labels=truth")
    assert images.labels["pdg"].tolist() == [13, 11, 13, 2212] and images.ids.tolist() == ["3/0/0", "3/0/2", "3/0/3", "3/0/4"]
    assert images.left_out.count_by_reason() == {"no particle": 1}
    assert "left out pdg, px" in " ".join(pgen("data", "info", path).stdout.split())
    train = ("train", "flow", "--data", path, "--condition", "pdg", "--max-steps", 1)
    refuses(*train, saying="labels=truth skips these events", cwd=tmp_path)


def test_a_table_of_events_that_lacks_some(tmp_path: Path) -> None:
    """MicroBooNE's: labels are left out and it is said, or the events are."""
    path = tmp_path / "x.h5"
    microboone(path, [(event, 2, 5) for event in range(6)])
    with h5py.File(path, "r+") as file:
        table = {key: file[f"event_table/{key}"][:] for key in ("event_id", "nu_energy")}
        del file["event_table"]
        for key, values in table.items():
            file[f"event_table/{key}"] = values[[0, 1, 3, 4, 5]]
    images = open_images(str(path))
    assert len(images) == 6 and not images.labels and "not in event_table: 1 of 6" in images.about["labels_from"]
    images = open_images(f"{path}:labels=event_table")
    assert np.allclose(images.labels["nu_energy"], [0, 0.1, 0.3, 0.4, 0.5]) and images.left_out.count_by_reason() == {
        "not in event_table": 1
    }
    del images  # which has the file open
    with h5py.File(path, "r+") as file:
        file["event_table/event_id"][1] = file["event_table/event_id"][0]
    with pytest.raises(PgenError, match="lists an event more than once"):
        open_images(str(path))
