"""Images by their lit pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, read_all, subset
from pgen.data.images import SparseImageSet
from pgen.data.sparse import SparseImages
from pgen.data.transforms.zero_suppression import SuppressedImages
from pgen.data.views import cache_in_memory
from pgen.engine.dataloading.device_cache import SparseImageCache


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """(n, C, H, W) of any occupancy, some images blank, some charges negative."""
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = [draw(st.integers(1, most)) for most in (9, 3, 8, 8)]
    pixels = random.normal(size=shape) * (random.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])))
    return (pixels * (random.random((shape[0], 1, 1, 1)) < 0.8)).astype(np.float32)


@given(stacks(), st.data())
@settings(max_examples=60, deadline=None)
def test_lit_pixels_and_back(pixels: np.ndarray, data: st.DataObject) -> None:
    images = ArrayImages(pixels)
    order = data.draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=12))
    lit = images.read_sparse(order)
    assert np.array_equal(lit.to_dense(images.shape), pixels[order])
    assert len(lit.value) == np.count_nonzero(pixels[order])
    parts = list(images.sparse_chunks(4 * 3 * pixels[0].size))
    assert np.array_equal(np.concatenate([part.to_dense(images.shape) for part in parts]), pixels)
    resident = SparseImageCache(SparseImages.from_dense(pixels), images.shape, torch.device("cpu"))
    assert np.array_equal(resident[torch.tensor(order)].numpy(), pixels[order])


@given(stacks(), st.floats(0, 3), st.booleans(), st.data())
@settings(max_examples=40, deadline=None)
def test_suppressed_lit_pixels_are_those_of_the_suppressed_image(
    pixels: np.ndarray, threshold: float, drop_negative: bool, data: st.DataObject
) -> None:
    images = SuppressedImages(ArrayImages(pixels), threshold, drop_negative=drop_negative)
    order = data.draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=12))
    expected = np.where((pixels if drop_negative else np.abs(pixels)) > threshold, pixels, 0)
    assert np.array_equal(images.read(order), expected[order])
    assert np.array_equal(images.read_sparse(order).to_dense(images.shape), expected[order])
    assert images.fingerprint == ArrayImages(expected).fingerprint


@given(stacks(), st.data())
@settings(max_examples=40, deadline=None)
def test_images_kept_in_memory_are_the_same(pixels: np.ndarray, data: st.DataObject) -> None:
    ids = [f"e/{k}" for k in range(len(pixels))]
    given = ArrayImages(pixels, ids=ids, events=["e"] * len(pixels), labels={"p": np.arange(len(pixels))}, unit="fC", name="x")
    view = subset(given, data.draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=12, unique=True)))
    kept = cache_in_memory(view, 12 * pixels.size)
    assert isinstance(kept, SparseImageSet) and kept.fingerprint == view.fingerprint and (kept.name, kept.unit) == ("x", "fC")
    for column in ("ids", "events"):
        assert getattr(kept, column).tolist() == getattr(view, column).tolist()
    assert np.array_equal(read_all(kept), read_all(view)) and kept.labels["p"].tolist() == view.labels["p"].tolist()
    assert cache_in_memory(kept, 0) is kept and cache_in_memory(given, 0) is given
    if read_all(view).any():
        assert cache_in_memory(view, 7) is view


def test_fingerprint_is_of_the_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(240, dtype=np.float32).reshape(10, 1, 4, 6) % 7
    whole = ArrayImages(pixels).fingerprint
    assert ArrayImages(pixels, name="other", unit="e").fingerprint == whole
    assert subset(ArrayImages(np.concatenate([pixels, pixels])), range(10, 20)).fingerprint == whole
    with monkeypatch.context() as patch:
        patch.setattr("pgen.data.images.CHUNK_BYTES", 200)
        assert ArrayImages(pixels).fingerprint == whole
    moved = np.roll(pixels, 1, axis=3)
    for other in (moved, pixels[::-1], pixels.reshape(10, 1, 6, 4), pixels + 1, pixels[:9]):
        assert ArrayImages(other).fingerprint != whole
