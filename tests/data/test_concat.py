"""Several files as one source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, ImageSet, open_images, open_targets, read_all, write_images
from pgen.data.views import ConcatImages
from pgen.errors import PgenError


def three(folder: Path, counts: tuple[int, ...] = (3, 1, 4)) -> list[ImageSet]:
    """x2.h5, x10.h5 and x11.h5, which number their events alike."""
    random = np.random.default_rng(0)
    for name, n in zip(("x2", "x10", "x11"), counts, strict=True):
        pixels = random.integers(0, 3, (n, 1, 4, 5)).astype(np.float32)
        write_images(folder / f"{name}.h5", ArrayImages(pixels, ids=[f"1/0/{k}" for k in range(n)], labels={"pdg": np.arange(n)}))
    return [open_images(str(folder / f"{name}.h5")) for name in ("x2", "x10", "x11")]


def test_a_pattern_joins_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    sets = three(tmp_path)
    images = open_images("x*.h5", data_root=tmp_path)
    assert np.array_equal(read_all(images), np.concatenate([read_all(each) for each in sets]))
    assert images.ids.tolist()[2:5] == ["x2/1/0/2", "x10/1/0/0", "x11/1/0/0"]
    assert images.events.tolist() == ["1/0/0", "1/0/1", "1/0/2", "1/0/0", "1/0/0", "1/0/1", "1/0/2", "1/0/3"]
    assert images.labels["file"].tolist() == ["x2"] * 3 + ["x10"] + ["x11"] * 4
    assert images.labels["pdg"].tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert len(open_images("x*.h5:limit=4,entries=2-7", data_root=tmp_path)) == 4
    assert len(open_images("x1?.h5", data_root=tmp_path)) == 5 and len(open_targets(f"{tmp_path}/x[12]*.h5")) == 8
    assert images.fingerprint == ArrayImages(read_all(images)).fingerprint


@settings(max_examples=25, deadline=None)
@given(indices=st.lists(st.integers(-8, 7), max_size=12))
def test_scattered_reads(tmp_path_factory: pytest.TempPathFactory, indices: list[int]) -> None:
    images = ConcatImages(
        [ArrayImages(read_all(each), ids=each.ids + f"/{k}") for k, each in enumerate(three(tmp_path_factory.mktemp("x")))], "x"
    )
    assert np.array_equal(images.read(indices), read_all(images)[indices])
    assert np.array_equal(images.read_sparse(indices).to_dense(images.shape), read_all(images)[indices])
    assert images.nonzero_counts is None


def test_numbers_of_lit_pixels_are_known_where_all_files_know_them(tmp_path: Path) -> None:
    three(tmp_path)
    images = open_images(f"{tmp_path}/*.h5")
    counts = images.nonzero_counts
    assert counts is not None and counts.tolist() == np.count_nonzero(read_all(images), (1, 2, 3)).tolist()


def test_refusals(tmp_path: Path) -> None:
    one, _, _ = three(tmp_path)
    with pytest.raises(PgenError, match="no such file"):
        open_images(f"{tmp_path}/y*.h5")
    with pytest.raises(PgenError, match="unknown option plane="):
        open_images(f"{tmp_path}/x*.h5:plane=0")
    write_images(tmp_path / "x2.npz", one)
    with pytest.raises(PgenError, match="differ only in their ending, as x2"):
        open_images(f"{tmp_path}/x*")
    write_images(tmp_path / "x3.h5", ArrayImages(np.zeros((1, 1, 4, 6), np.float32)))
    with pytest.raises(PgenError, match=r"shape \(1, 4, 6\) differs from \(1, 4, 5\)"):
        open_images(f"{tmp_path}/x*.h5")
    with pytest.raises(PgenError, match=r"labels .* differs .* labels=none"):
        ConcatImages([one, ArrayImages(read_all(one), ids=["a", "b", "c"])], "x")
    with pytest.raises(PgenError, match="2 times"):
        ConcatImages([one, one], "x")


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    write_images(tmp_path / "x[1].h5", ArrayImages(np.ones((2, 1, 2, 2), np.float32)))
    assert len(open_images(f"{tmp_path}/x[1].h5")) == 2
