"""The public sets that people train on: files laid out as their documentation says, against sums taken pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import open_images, read_all
from pgen.errors import PgenError
from tests.helpers.damage import damage

TICKS = 20


def microboone(path: Path, rows: list[tuple[int, int, int]], seed: int = 0, **columns: np.ndarray) -> np.ndarray:
    """A file of waveforms (len(rows), TICKS), each of an (event, plane, wire); the waveforms."""
    adc = np.random.default_rng(seed).integers(-20, 20, (len(rows), TICKS)).astype(np.float32)
    event, plane, wire = np.array(rows).reshape(-1, 3).T
    with h5py.File(path, "w") as file:
        file["wire_table/adc"] = adc
        file["wire_table/event_id"] = np.stack([np.full_like(event, 5), np.full_like(event, 1), event], 1)
        file["wire_table/local_plane"], file["wire_table/local_wire"] = plane[:, None], wire[:, None]
        events = np.unique(event)
        file["event_table/event_id"] = np.stack([np.full_like(events, 5), np.full_like(events, 1), events], 1)
        file["event_table/nu_energy"] = events[:, None] / 10
        for name, values in columns.items():
            del file[f"wire_table/{name}"]
            file[f"wire_table/{name}"] = values
    return adc


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2399)), min_size=1, max_size=40, unique=True)


@settings(max_examples=25, deadline=None)
@given(rows=rows, seed=st.integers(0, 99), plane=st.integers(0, 2), signed=st.booleans())
def test_microboone(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], seed: int, plane: int, signed: bool
) -> None:
    path = tmp_path_factory.mktemp("wire") / "x.h5"
    adc = microboone(path, rows, seed)
    source = f"{path}:plane={plane},ticks=6,threshold=12,saturation=60,signed={str(signed).lower()}"
    order = list(dict.fromkeys(event for event, _, _ in rows))
    expected = [event for event in order if any(row[:2] == (event, plane) for row in rows)]
    if not expected:
        with pytest.raises(PgenError, match=f"no wire of plane {plane}"):
            open_images(source)
        return
    images = open_images(source)
    assert images.shape == (1, 3, (2400, 2400, 3456)[plane]) and images.skipped == len(order) - len(expected)
    assert images.ids.tolist() == [f"5/1/{event}" for event in expected]
    assert np.allclose(images.labels["nu_energy"], np.array(expected) / 10)
    actual, lit = read_all(images), 0
    for row, wave in zip(rows, adc, strict=True):
        if row[1] == plane:
            sums = np.array([wave[k : k + 6].sum() for k in (0, 6, 12)])
            magnitude = np.abs(sums) if signed else sums
            sums = np.sign(sums) * np.where(magnitude < 12, 0, np.minimum(magnitude, 60))
            assert np.array_equal(actual[expected.index(row[0]), 0, :, row[2]], sums)
            lit += np.count_nonzero(sums)
    assert np.count_nonzero(actual) == lit


def test_microboone_refuses(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    microboone(path, [(1, 2, 3455), (1, 2, 7)])
    assert len(open_images(str(path))) == 1
    for option, message in (("plane=3", "expected 0 or 1"), ("ticks=0", "expected a number from 1"), ("plane=1", "no wire of plane 1")):
        with pytest.raises(PgenError, match=message):
            open_images(f"{path}:{option}")
    for bad, message in (([(1, 2, 3456)], "wires beyond the 3456"), ([(1, 2, 7), (1, 2, 7)], "twice")):
        microboone(path, bad)
        with pytest.raises(PgenError, match=message):
            open_images(str(path))
    microboone(path, [(1, 2, 7)], local_wire=np.zeros(3))
    with pytest.raises(PgenError, match="different lengths"):
        open_images(str(path))


def pilarnet(path: Path, events: list[np.ndarray], **options: Any) -> None:
    with h5py.File(path, "w") as file:
        for name in ("point", "cluster"):
            table = file.create_dataset(name, (len(events),), h5py.vlen_dtype(np.float32), **options)
            for k, event in enumerate(events):
                table[k] = event.ravel()


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=3), seed=st.integers(0, 99), projection=st.sampled_from(["xz", "xy", "yz"]))
def test_pilarnet(tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int, projection: str) -> None:
    random = np.random.default_rng(seed)
    events = [np.concatenate([random.uniform(0, 768, (n, 3)), random.exponential(1, (n, 5))], 1).astype(np.float32) for n in counts]
    path = tmp_path_factory.mktemp("pilarnet") / "x.h5"
    pilarnet(path, events)
    images = open_images(f"{path}:projection={projection},threshold=0.5")
    assert images.shape == (1, 768, 768) and images.unit == "MeV" and len(images) == len(counts)
    for event, image in zip(events, read_all(images), strict=True):
        expected = np.zeros((768, 768))
        for voxel in event:
            if voxel[3] > 0.5:
                row, column = (int(voxel["xyz".index(letter)]) for letter in projection)
                expected[row, column] += voxel[3]
        assert np.allclose(image[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (np.ones((1, 7)), "7 numbers"),
        (np.full((1, 8), 800), "outside"),
        (np.full((1, 8), -1), "outside"),
        (np.array([[1, 1, 1, np.nan, 0, 0, 0, 0]]), "NaN"),
    ],
)
def test_damaged_voxels_are_refused(tmp_path: Path, event: np.ndarray, message: str) -> None:
    pilarnet(tmp_path / "x.h5", [event])
    with pytest.raises(PgenError, match=message):
        open_images(f"{tmp_path}/x.h5:threshold=-9").read([0])


@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip"}])
def test_lengths_beyond_the_file_are_refused_before_memory_is_taken(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    pilarnet(path, [np.ones((n, 8)) for n in (3, 70, 4)], **options)
    assert read_all(open_images(str(path))).sum((1, 2, 3)).tolist() == [3, 70, 4]
    content = path.read_bytes()
    length = (70 * 8).to_bytes(4, "little")
    if content.count(length) < 2:
        return  # filtered: lengths cannot be seen
    path.write_bytes(content.replace(length, (2**31 + 8).to_bytes(4, "little"), 1))
    with pytest.raises(PgenError, match="more than the file can hold"):
        open_images(str(path))


def test_damaged_files_are_refused_or_finite(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    microboone(tmp_path / "wire.h5", [(event, 2, wire) for event in range(3) for wire in range(60)])
    pilarnet(tmp_path / "voxels.h5", [np.concatenate([random.uniform(0, 768, (n, 3)), np.ones((n, 5))], 1) for n in (50, 0, 90)])
    for name in ("wire.h5", "voxels.h5"):
        assert damage(tmp_path / name, tmp_path, seed=0, count=200, every=4, flips=29, judge="finite") > 20


def test_folder_of_batches(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    batches = {number: random.integers(0, 99, (n, 6, 5)).astype(np.float32) for number, n in ((0, 3), (2, 4), (10, 2))}
    for number, batch in batches.items():
        np.save(tmp_path / f"batch_{number}.npy", batch)
    images = open_images(str(tmp_path))
    assert images.shape == (1, 6, 5) and not images.labels
    assert np.array_equal(read_all(images)[:, 0], np.concatenate(list(batches.values())))
    assert images.ids.tolist() == ["0/0", "0/1", "0/2", "2/0", "2/1", "2/2", "2/3", "10/0", "10/1"]
    assert np.array_equal(images.read([8, 2, 3])[:, 0], np.stack([batches[10][1], batches[0][2], batches[2][0]]))

    momenta = {number: random.normal(0, 300, (len(batch), 3)) for number, batch in batches.items()}
    for number in (0, 2):
        np.save(tmp_path / f"batch_mom_{number}.npy", momenta[number])
    with pytest.raises(PgenError, match=r"batch_mom_10\.npy is not there"):
        open_images(str(tmp_path))
    np.save(tmp_path / "batch_mom_10.npy", momenta[10][:1])
    with pytest.raises(PgenError, match=r"expected the momenta \(2, 3\)"):
        open_images(str(tmp_path))
    np.save(tmp_path / "batch_mom_10.npy", momenta[10])
    labels = open_images(str(tmp_path)).labels
    assert np.array_equal(np.stack([labels[key] for key in ("px", "py", "pz")], 1), np.concatenate(list(momenta.values())))
    np.save(tmp_path / "batch_3.npy", np.zeros((2, 5, 5)))
    with pytest.raises(PgenError, match=r"batch_3\.npy holds float64 \(2, 5, 5\)"):
        open_images(str(tmp_path))
