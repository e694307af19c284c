from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, describe, read_all, subset
from pgen.data.transforms.crop import crop as cut
from pgen.data.transforms.split import split
from pgen.errors import PgenError


def crop(*arguments, **options) -> ArrayImages:
    """All crops as one set."""
    parts = list(cut(*arguments, **options))
    labels = {key: np.concatenate([part.labels[key] for part in parts]) for key in parts[0].labels}
    ids, events = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "events"))
    return ArrayImages(np.concatenate([part.images for part in parts]), ids=ids, events=events, labels=labels)


def test_tiles() -> None:
    plane = np.zeros((2, 5, 9), np.float32)
    plane[0, 0:2, 4:6] = 11
    plane[1, 3, 3] = 5
    plane[0, 4, 8] = 99  # in the remainder, which is dropped
    images = ArrayImages(plane, ids=["a", "b"], labels={"k": np.array([1, 2])})
    tiles = crop(images, (2, 4), min_occupancy=0.125)
    assert tiles.ids.tolist() == ["a/0/4", "b/2/0"] and tiles.events.tolist() == ["a", "b"] and tiles.labels["k"].tolist() == [1, 2]
    assert np.array_equal(tiles.images[1, 0], plane[1, 2:4, 0:4])
    assert crop(images, (2, 4), threshold=10, min_occupancy=0.5).ids.tolist() == ["a/0/4"]
    assert len(crop(images, (2, 4), min_occupancy=0)) == 2 * 2 * 2


def test_centre() -> None:
    plane = np.zeros((3, 8, 8), np.float32)
    plane[0, 3, 4] = 1
    plane[1, 0, 0] = 1  # crosses the border; the third image is blank
    window = crop(ArrayImages(plane), (4, 2), mode="centre", min_occupancy=0.1)
    assert window.ids.tolist() == ["0/1/3"] and window.images[0, 0, 2, 1] == 1


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_padded_tiles_hold_every_pixel_once(rows: int, columns: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).uniform(1, 9, (1, 2, rows, columns)).astype(np.float32)
    whole = np.zeros((2, rows + height, columns + width), np.float32)
    tiles = crop(ArrayImages(image), (height, width), border="pad", min_occupancy=0)
    for tile, name in zip(tiles.images, tiles.ids, strict=True):
        r, c = map(int, name.split("/")[1:])
        whole[:, r : r + height, c : c + width] += tile
    assert np.array_equal(whole[:, :rows, :columns], image[0])
    assert not whole[:, rows:].any() and not whole[:, :, columns:].any()


def test_padded_centre() -> None:
    plane = np.zeros((1, 4, 4), np.float32)
    plane[0, 0, 3] = 7
    window = crop(ArrayImages(plane), (4, 2), mode="centre", border="pad", min_occupancy=0.1)
    assert window.ids.tolist() == ["0/-2/2"] and window.images[0, 0].tolist() == [[0, 0], [0, 0], [0, 7], [0, 0]]


def test_bad_crops() -> None:
    images = ArrayImages(np.zeros((1, 4, 4)))
    for arguments, message in (
        ({"size": (5, 4)}, "cannot crop 5 x 4"),
        ({"size": (2, 2)}, "no 2 x 2 crop"),
        ({"size": (2, 2), "mode": "x"}, "tiles or centre"),
        ({"size": (2, 2), "border": "x"}, "drop or pad"),
        ({"size": (2, 2), "min_occupancy": 2}, "fraction"),
    ):
        with pytest.raises(PgenError, match=message):
            crop(images, **arguments)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.sampled_from([1, 0.3, 0.9]), st.sampled_from([None, 0, 1]))
def test_no_event_on_both_sides(events: list[int], held_out: int | float, seed: int | None) -> None:
    images = ArrayImages(np.zeros((len(events), 1, 1)), events=[str(e) for e in events])
    if len(set(events)) < 2 or (held_out == 0.9 and round(0.9 * len(set(events))) == len(set(events))):
        with pytest.raises(PgenError):
            split(images, held_out, seed=seed)
        return
    train, out = (side.indices for side in split(images, held_out, seed=seed))
    assert sorted([*train, *out]) == list(range(len(events)))
    assert not set(images.events[train]) & set(images.events[out])
    if held_out == 1:
        assert len(set(images.events[out])) == 1


def test_split_takes_the_last_or_random_ones() -> None:
    images = ArrayImages(np.zeros((6, 1, 1)), events=list("bbaacc"))
    last, last_two = (split(images, count, seed=None)[1].indices.tolist() for count in (1, 2))
    assert last == [4, 5] and last_two == [2, 3, 4, 5]
    assert len({tuple(split(images, 1, seed=seed)[1].indices) for seed in range(20)}) == 3
    for bad in (0, 3, -1, 0.0, 1.0, float("nan")):
        with pytest.raises(PgenError, match="cannot hold out"):
            split(images, bad, seed=None)


def test_describe() -> None:
    images = ArrayImages(np.array([[[0, 1], [2, 30]], [[0, 0], [0, 0]]]), labels={"pdg": np.array([11, 13])})
    facts = describe(images, threshold=1)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["fingerprint"] == images.fingerprint
    assert (facts["count"], facts["shape"], facts["blank_images"], facts["charge_max"]) == (2, [1, 2, 2], 1, 30)
    assert (facts["occupancy_above_0"], facts["occupancy"], facts["mean_total_charge"]) == (3 / 8, 2 / 8, 16)
    assert facts["labels"]["pdg"]["counts"] == {"11": 1, "13": 1} and facts["charge_percentiles"]["50"] == 16
    assert describe(ArrayImages(np.zeros((1, 2, 2))))["charge_percentiles"] == {}


def test_subset() -> None:
    images = ArrayImages(np.arange(4.0).reshape(4, 1, 1), labels={"k": np.arange(4)})
    view = subset(images, [3, 1])
    assert read_all(view).ravel().tolist() == [3, 1] and view.ids.tolist() == ["3", "1"] and view.labels["k"].tolist() == [3, 1]
    with pytest.raises(PgenError, match="leaves none"):
        subset(images, [])
