"""What a notebook user expects of a set of images, whatever its source."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgen.data import ArrayImages, ConcatImages, ImageSet, open_images, read_all, simulate, split
from pgen.data.images import SparseImageSet, Subset
from pgen.data.io.plugin_sources import as_image_set
from pgen.data.preview import strip_data_uri
from pgen.data.sparse import SparseImages
from pgen.data.transforms.zero_suppression import SuppressedImages

PIXELS = (np.arange(12 * 2 * 3 * 4).reshape(12, 2, 3, 4) % 5).astype(np.float32)


def array_images(count: int = 12) -> ArrayImages:
    return ArrayImages(PIXELS[:count], ids=[f"i{k}" for k in range(count)], labels={"pdg": np.arange(count)}, unit="fC", name="x")


@pytest.fixture(params=["array", "sparse", "subset", "concat", "suppressed", "npz", "store", "npy"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSet:
    array = array_images()
    if request.param == "sparse":
        return SparseImageSet.from_images(array, range(12), SparseImages.from_dense(PIXELS))
    if request.param == "subset":
        return Subset(ArrayImages(PIXELS[::-1], unit="fC", name="x"), np.arange(12)[::-1])
    if request.param == "concat":
        return ConcatImages([array[:5], array[5:]], "x")
    if request.param == "suppressed":
        return SuppressedImages(array, 0.0)
    if request.param == "npy":
        np.save(tmp_path / "x.npy", PIXELS)
        return open_images(str(tmp_path / "x.npy"))
    if request.param in ("npz", "store"):
        return open_images(str(array.save(tmp_path / ("x.npz" if request.param == "npz" else "x.h5"))))
    return array


def test_indexing(images: ImageSet) -> None:
    assert len(images) == 12 and images[0].dtype == np.float32 and images[0].shape == (2, 3, 4)
    for index in (0, 11, -1, -12, np.int64(3)):
        assert np.array_equal(images[index], PIXELS[index])
    for beyond in (12, -13):
        with pytest.raises(IndexError, match="12 images"):
            images[beyond]
    is_chosen = PIXELS.sum((1, 2, 3)) > 46
    for index in (slice(2, 9), slice(None, None, -3), [3, 1, -1], np.array([5, 5, 0]), is_chosen, slice(0, 0)):
        view = images[index]
        assert isinstance(view, ImageSet) and np.array_equal(view.read(range(len(view))), PIXELS[index])
        assert view.ids.tolist() == images.ids[index].tolist() and view.unit == images.unit
    assert np.array_equal(np.asarray(images[:8]), PIXELS[:8]) and np.asarray(images, np.float64).dtype == np.float64
    with pytest.raises(IndexError):
        images[np.ones(5, bool)]
    assert np.array_equal(np.stack(list(images)), PIXELS)


@pytest.mark.parametrize("workers", [0, 2])
def test_is_a_torch_dataset(images: ImageSet, workers: int) -> None:
    loader = torch.utils.data.DataLoader(images, batch_size=5, num_workers=workers)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [5, 5, 2] and batches[0].dtype == torch.float32
    assert torch.equal(torch.cat(batches), torch.from_numpy(PIXELS))


def test_representations(images: ImageSet) -> None:
    text, html = repr(images), images._repr_html_()
    assert "\n" not in text and "12 images (2, 3, 4)" in text and repr(images.unit) in text
    assert "79.86% of the pixels of 12 images" in html and images.unit in html
    drawn = re.search(r"data:image/png;base64,([^\"]+)", html)
    assert drawn is not None and Image.open(io.BytesIO(base64.b64decode(drawn[1]))).mode == "L"


def test_html_is_escaped_and_works_without_charge() -> None:
    images = ArrayImages(np.zeros((1, 1, 300, 700), np.float32), name="<script>", labels={"<b>": np.zeros(1)})
    assert "<script>" not in images._repr_html_() and "&lt;b&gt;" in images._repr_html_() and "0.00%" in images._repr_html_()
    assert strip_data_uri(np.ones((2, 1, 1, 1), np.float32)).startswith("data:image/png")
    assert "0 images" in repr(images[:0]) and "labels" in images[:0]._repr_html_()


def test_split_gives_views() -> None:
    images = simulate(20, size=16)
    train, held_out = split(images, 0.25)
    assert len(held_out) == 5 and not set(train.ids) & set(held_out.ids)
    again = split(images, 5)
    assert again[1].ids.tolist() == held_out.ids.tolist()
    assert split(images, 5, seed=3)[1].ids.tolist() != held_out.ids.tolist()
    nested, _ = split(train, 1, seed=None)
    assert np.array_equal(read_all(nested), read_all(train)[:-1]) and nested.zero_suppression is None


class DuckTyped:
    """A set of a plug-in of the first API, which knows no base class."""

    name, shape, unit = "duck", (2, 3, 4), "fC"
    ids = events = np.arange(12).astype(str)
    labels = {"pdg": np.arange(12)}
    fingerprint = "abc"

    def __len__(self) -> int:
        return 12

    def read(self, indices: list[int]) -> np.ndarray:
        return PIXELS[np.asarray(indices)]

    def lit(self, indices: list[int]) -> tuple[np.ndarray, ...]:
        return tuple(SparseImages.from_dense(PIXELS[np.asarray(indices)]))


def test_sets_of_the_first_api_are_adapted() -> None:
    images = as_image_set("simulate", DuckTyped())
    assert np.array_equal(read_all(images), PIXELS) and np.array_equal(images[-1], PIXELS[-1]) and images.fingerprint == "abc"
    assert np.array_equal(images.read_sparse([1, 0]).to_dense(images.shape), PIXELS[[1, 0]]) and images.geometry is None
    assert images.nonzero_counts is None and images.left_out is not None and images[2:4].labels["pdg"].tolist() == [2, 3]
    assert as_image_set("simulate", images) is images
