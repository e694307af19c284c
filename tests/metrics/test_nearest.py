import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pgen.metrics.memorisation import nearest_neighbours as module
from pgen.metrics.memorisation.nearest_neighbours import binarise, nearest


def brute_force(a, b, name):
    flat_a, flat_b = (x.reshape(len(x), -1) > 0 for x in (a, b))
    if name == "hamming":
        return cdist(flat_a, flat_b, "hamming") * flat_a.shape[1]
    blank = ~flat_a.any(1)[:, None] & ~flat_b.any(1)[None]
    return np.where(blank, 1.0, cdist(flat_a, flat_b, "jaccard"))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 40),
    m=st.integers(2, 40),
    channels=st.integers(1, 3),
    side=st.integers(1, 9),
    occupancy=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    leave_one_out=st.booleans(),
)
def test_distances_are_those_of_scipy(n, m, channels, side, occupancy, seed, leave_one_out):
    rng = np.random.default_rng(seed)
    a, b = ((rng.random((k, channels, side, side + 1)) < occupancy).astype(np.float32) for k in (n, m))
    own = None
    if leave_one_out:
        own = rng.integers(0, m, n)
        a = b[own]
    # Small blocks, so that the borders between them are crossed.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", (7, 5))
        found = nearest(binarise(a, 0), binarise(b, 0), own=own)
    for name in ("hamming", "jaccard"):
        wanted = brute_force(a, b, name)
        if own is not None:
            wanted[np.arange(n), own] = np.inf
        np.testing.assert_allclose(found.distance[name], wanted.min(1), atol=1e-6)
        np.testing.assert_allclose(wanted[np.arange(n), found.index[name]], wanted.min(1), atol=1e-6)


def test_sparse_and_dense_products_agree(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (binarise((rng.random((50, 1, 16, 16)) < 0.03).astype(np.float32), 0) for _ in range(2))
    sparse = nearest(a, b)
    monkeypatch.setattr(module, "_SPARSE", 0.0)
    dense = nearest(a, b)
    for name in ("hamming", "jaccard"):
        np.testing.assert_array_equal(sparse.distance[name], dense.distance[name])
        np.testing.assert_array_equal(sparse.index[name], dense.index[name])


def test_a_pixel_at_the_threshold_is_dark():
    assert binarise(np.full((1, 1, 2, 2), 5, np.float32), 5).n_pixels.tolist() == [0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    images = (np.random.default_rng(0).random((300, 1, 64, 64)) < 0.1).astype(np.float32)
    here, there = (nearest(binarise(images[:100], 0, d), binarise(images[100:], 0, d)) for d in ("cpu", "cuda"))
    for name in ("hamming", "jaccard"):
        np.testing.assert_allclose(here.distance[name], there.distance[name], atol=1e-6)
