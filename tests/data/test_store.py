"""The image store gives back what was written, bit for bit, or says that it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, open_images, read_all, subset, write_images
from pgen.data.formats import store as module
from pgen.data.io.write import append_images
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import open_training_data
from pgen.engine.dataloading.loaders import BatchLoader
from pgen.errors import PgenError
from pgen.plugins import registry
from tests.data.test_sparse import stacks
from tests.helpers.damage import damage

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


def same(actual, expected) -> None:
    assert (actual.shape, actual.unit) == (expected.shape, expected.unit)
    assert np.array_equal(read_all(actual), read_all(expected))
    assert actual.ids.tolist() == expected.ids.tolist() and actual.events.tolist() == expected.events.tolist()
    assert np.array_equal(actual.geometry_or_nan(), expected.geometry_or_nan(), equal_nan=True)
    assert set(actual.labels) == set(expected.labels)
    for name, values in expected.labels.items():
        assert np.array_equal(actual.labels[name], values), name
        assert actual.labels[name].dtype.kind == np.asarray(values).dtype.kind


def example(count: int = 30, size: int = 20, seed: int = 0) -> ArrayImages:
    random = np.random.default_rng(seed)
    pixels = random.normal(100, 30, (count, 2, size, size)) * (random.random((count, 2, size, size)) < 0.05)
    labels = {
        "pdg": random.integers(-13, 14, count),
        "momentum": random.normal(size=(count, 3)).astype(np.float32),
        "kind": ["µ", "e"] * 15,
    }
    labels = {name: np.asarray(values)[:count] for name, values in labels.items()}
    names = [f"1/2/{k}" for k in range(count)]
    events, flat_index = [f"événement {k // 3}" for k in range(count)], random.normal(size=(count, 2, 4))
    return ArrayImages(pixels.astype(np.float32), ids=names, events=events, labels=labels, unit="e", geometry=flat_index)


@given(stacks(), st.integers(1, 5), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, block: int, data: st.DataObject) -> None:
    # No NUL at the end of a text: numpy takes it for filling.
    texts = st.lists(st.text(max_size=5).map(lambda text: text.rstrip("\0")), min_size=len(pixels), max_size=len(pixels))
    texts = texts.filter(lambda actual: all(not 0xD800 <= ord(letter) < 0xE000 for text in actual for letter in text))
    ids = [f"{k}/{text}" for k, text in enumerate(data.draw(texts))]
    images = ArrayImages(pixels, ids=ids, events=data.draw(texts), labels={"n": np.arange(len(pixels))})
    path = tmp_path_factory.mktemp("store") / "x.h5"
    iter_subsets = [subset(images, range(k, min(k + block, len(images)))) for k in range(0, len(images), block)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgen.data.formats.store.BLOCK", block + 1)
        write_images(path, iter(iter_subsets))
        actual = open_images(str(path))
        order = data.draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=12))
        assert np.array_equal(actual.read(order), pixels[order])
        assert np.array_equal(actual.read(order[::-1]), pixels[order[::-1]])  # a second time, from blocks known to be sound
        assert np.array_equal(actual.read_sparse(order).to_dense(images.shape), pixels[order])
        same(actual, images)
        assert actual.fingerprint == images.fingerprint


def test_labels_of_every_kind(tmp_path: Path) -> None:
    images = example()
    write_images(tmp_path / "x.h5", images)
    same(open_images(str(tmp_path / "x.h5")), images)
    same(open_images(f"{tmp_path / 'x.h5'}:entries=7-19"), subset(images, range(7, 19)))
    assert np.array_equal(open_images(str(tmp_path / "x.h5")).read([-1, 3]), images.read([-1, 3]))


def test_large_images_share_no_large_blocks() -> None:
    assert [module.images_per_block(shape) for shape in ((1, 64, 64), (1, 512, 512), (3, 1008, 3456))] == [256, 16, 1]


def test_lit_pixels_are_a_fraction_of_the_dense_size(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = np.where(random.random((300, 1, 64, 64)) < 0.02, random.normal(100, 30, (300, 1, 64, 64)), 0).astype(np.float32)
    path = write_images(tmp_path / "x.h5", ArrayImages(pixels))
    assert path.stat().st_size < 0.04 * pixels.nbytes


def test_the_docs_reader_reads_it(tmp_path: Path) -> None:
    code = re.search(r"```python\n(import h5py.*?)```", DOCS.read_text(), re.S)
    assert code and len(code[1].splitlines()) <= 10
    images = example()
    write_images(tmp_path / "store.h5", images)
    actual: dict = {}
    exec(code[1].replace("store.h5", str(tmp_path / "store.h5")), actual)
    assert np.array_equal(actual["images"], read_all(images)) and actual["ids"].tolist() == images.ids.tolist()


def test_other_versions_and_contents_are_refused(tmp_path: Path) -> None:
    path = write_images(tmp_path / "x.h5", example())
    for name, change, saying in (
        ("newer", lambda file: file.attrs.modify("format", "pgen-store-2"), "read it with a newer pgen"),
        ("unit", lambda file: file.attrs.modify("unit", "ADC"), "do not match their checksum"),
        ("cut", lambda file: file["charge"].resize(10, axis=0), "do not match their checksum"),
        ("lost", lambda file: file.__delitem__("events"), "cannot be read as an image store"),
    ):
        changed = tmp_path / f"{name}.h5"
        changed.write_bytes(path.read_bytes())
        with h5py.File(changed, "a") as file:
            change(file)
        with pytest.raises(PgenError, match=saying):
            open_images(str(changed))
    with pytest.raises(PgenError, match="no valid Unicode"):
        write_images(tmp_path / "y.h5", ArrayImages(np.ones((1, 2, 2)), ids=["\ud800"]))
    assert not (tmp_path / "y.h5").exists()


def test_checksums_alone_do_not_make_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that somebody made wrong on purpose."""
    for places, charges in (([3, 3], [1, 2]), ([5, 4], [1, 2]), ([1, 99], [1, 2]), ([1, 2], [1, np.nan])):
        images = ArrayImages(np.ones((1, 1, 1, 9), np.float32))
        lit = module.SparseImages(np.array([0, 2]), np.array(places), np.array(charges, np.float32))
        monkeypatch.setattr(ArrayImages, "read_sparse", lambda *_, lit=lit: lit)
        write_images(tmp_path / "x.h5", images, overwrite=True)
        with pytest.raises(PgenError, match="damaged"):
            open_images(str(tmp_path / "x.h5")).read([0])


@pytest.mark.parametrize("first", [1, 255, 256, 300])
def test_appended_images_are_as_if_written_at_once(tmp_path: Path, first: int) -> None:
    images = ArrayImages(
        np.random.default_rng(0).integers(0, 3, (600, 1, 3, 4)).astype(np.float32),
        labels={"k": np.arange(600)},
        unit="fC",
        geometry=np.random.default_rng(1).normal(size=(600, 1, 4)),
    )
    whole = write_images(tmp_path / "whole.h5", images)
    grown = write_images(tmp_path / "grown.h5", subset(images, range(first)))
    append_images(grown, [subset(images, range(first, 520)), subset(images, range(520, 600))])
    with h5py.File(whole) as expected, h5py.File(grown) as actual:
        assert dict(actual.attrs, shape=0) == dict(expected.attrs, shape=0)
        for name in ("offsets", "place", "charge", "ids", "events", "labels/k", "geometry", "checks"):
            assert np.array_equal(actual[name][:], expected[name][:]), name
    assert np.array_equal(read_all(open_images(str(grown))), read_all(images))
    before = grown.read_bytes()
    for bad, message in ((subset(images, [5]), "already"), (ArrayImages(np.ones((1, 4, 3))), "differ in shape"), ([], "no images")):
        with pytest.raises(PgenError, match=message):
            append_images(grown, bad)
    write_images(tmp_path / "a.npz", images)
    for path, message in ((tmp_path / "none.h5", "no such file"), (tmp_path / "a.npz", "image store")):
        with pytest.raises(PgenError, match=message):
            append_images(path, images)
    assert grown.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "grown.h5", "whole.h5"]


def test_a_damaged_store_is_exact_or_refused(tmp_path: Path) -> None:
    path = write_images(tmp_path / "x.h5", example())
    for seed in range(2):
        assert 60 < damage(path, tmp_path, seed=seed, count=300, every=5, flips=3, judge="exact") <= 300


def test_batches_by_lit_pixels_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_images(tmp_path / "x.h5", subset(example(), range(29))))
    settings = TrainConfig(data=source, batch_size=8, threshold=20)

    def batches(room: int, source: str = source) -> list[torch.Tensor]:
        monkeypatch.setattr("pgen.engine.dataloading.loaders.room_for_data", lambda device, holders=1: room)
        settings = TrainConfig(data=source, batch_size=8, threshold=20)
        stream = BatchLoader(open_training_data(settings, registry.load("gan").spec), settings, torch.device("cpu")).stream(3)
        return [next(stream)[1] for _ in range(9)]

    data = open_training_data(settings, registry.load("gan").spec)
    assert data.sparse_nbytes is not None and data.sparse_nbytes < data.nbytes / 5
    dense = str(write_images(tmp_path / "x.npz", open_images(source)))
    # By lit pixels, loaded, and all of it dense.
    for room in (2 * data.sparse_nbytes, 0):
        for actual, expected in zip(batches(room), batches(2 * data.nbytes, dense), strict=True):
            assert torch.equal(actual, expected)
