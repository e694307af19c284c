import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.errors import UserError
from pgen.metrics.images import compare_statistics, image_statistics
from pgen.metrics.reconstruction import reconstruction_error, smallest_gap


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
    with pytest.raises(UserError, match="b: images of shape"):
        compare_statistics({"a": real, "b": real[..., :1]})
    with pytest.raises(UserError, match="found none"):
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
    with pytest.raises(UserError, match="found 4 images for 5"):
        reconstruction_error(real, real[:4])


def test_the_untrained_checkpoint_is_not_chosen_for_its_gap():
    #             untrained    learnt       best held-out   overfitted
    choice = smallest_gap([0, 10, 20, 30], [90.0, 10.0, 7.0, 2.0], [90.0, 10.2, 9.9, 14.0])
    assert (choice.step, choice.best_step, choice.smallest_gap_step, choice.qualified) == (10, 20, 0, 2)
    assert choice.gap == pytest.approx(0.2)
    assert smallest_gap([0, 10, 20, 30], [90.0, 10.0, 7.0, 2.0], [90.0, 10.2, 9.9, 14.0], slack=0).step == 20


def test_diverged_checkpoints_take_no_part():
    assert smallest_gap([1, 2], [np.nan, 1.0], [np.nan, 2.0]).step == 2
    with pytest.raises(UserError, match="no finite error"):
        smallest_gap([1], [np.nan], [1.0])
    with pytest.raises(UserError, match="2 steps, 1 train"):
        smallest_gap([1, 2], [1.0], [1.0, 2.0])
    with pytest.raises(UserError, match="slack"):
        smallest_gap([1], [1.0], [1.0], slack=-1)
