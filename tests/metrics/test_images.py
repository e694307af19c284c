import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.errors import PgenError
from pgen.metrics.features.image_statistics import compare_statistics, image_statistics
from pgen.metrics.fidelity.reconstruction import reconstruction_error


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)), st.floats(0, 5), st.integers(0, 1000))
def test_statistics_of_any_shape(shape, threshold, seed):
    images = np.random.default_rng(seed).gamma(1, 2, shape).astype(np.float32)
    found = image_statistics(torch.from_numpy(images), threshold)
    for i, image in enumerate(images):
        assert found.charge[i] == pytest.approx(image.astype(float).sum())
        assert found.lit[i] == np.count_nonzero(image > threshold)
        assert found.occupancy[i] == found.lit[i] / image.size


def test_the_table_compares_with_the_first_set():
    real = np.zeros((4, 1, 2, 2), np.float32)
    real[:2] = 3
    first, second = compare_statistics({"real": real, "generated": real[:2] / 2})
    assert (first.charge_mean, first.charge_std, first.charge_ratio, first.blank_rate) == (6, 6, 1, 0.5)
    assert (second.charge_mean, second.charge_ratio, second.occupancy_ratio, second.blank_rate) == (6, 1, 2, 0)
    blank, other = compare_statistics({"blank": real * 0, "real": real})
    assert json.dumps(other.to_dict(), allow_nan=False) and np.isnan(other.charge_ratio) and np.isnan(blank.charge_ratio)
    with pytest.raises(PgenError, match="b: images of shape"):
        compare_statistics({"a": real, "b": real[..., :1]})
    with pytest.raises(PgenError, match="got none"):
        compare_statistics({})


def test_reconstruction_error():
    real = np.random.default_rng(0).gamma(1, 2, (5, 2, 4, 4)).astype(np.float32)
    perfect, blank, half = (reconstruction_error(real, real * f) for f in (1, 0, 0.5))
    assert perfect.mse == 0 and perfect.charge_ratio == perfect.occupancy_ratio == 1
    assert blank.mse == pytest.approx(blank.predict_zero_mse) == pytest.approx(np.square(real).mean())
    assert blank.charge_ratio == blank.occupancy_ratio == 0
    assert half.per_image == pytest.approx(np.square(real / 2).mean((1, 2, 3)))
    assert half.charge_ratio == pytest.approx(0.5)
    assert "per_image" not in half.to_dict()
    with pytest.raises(PgenError, match="expected one image for each of 5 real ones, got 4"):
        reconstruction_error(real, real[:4])
