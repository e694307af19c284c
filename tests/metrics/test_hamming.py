import json

import numpy as np
import pytest
import torch

from pgen.errors import PgenError
from pgen.metrics.memorisation.hamming import hamming
from tests.helpers.toy_tracks import noisy, tracks

TRAIN, HELD_OUT, REAL = tracks(2000, 0), tracks(1000, 1), tracks(1000, 2)


def ask(generated, train=TRAIN, held_out=HELD_OUT, **options):
    return hamming(generated, train, held_out, **({"thresholds": [2.0]} | options)).thresholds[0]


def planted(share):
    number = int(share * len(REAL))
    return np.concatenate([noisy(TRAIN[:number], 3), REAL[number:]])


def z(result, name):
    return result.distances[name].memorisation.z


def test_real_images_are_no_copies():
    result = ask(REAL)
    assert not result.copying
    assert "no copying found" in result.verdict
    for name in ("hamming", "jaccard"):
        found = result.distances[name].memorisation
        assert abs(found.z) < 3 and abs(found.matched.z) < 3
        assert found.copy_rate < 0.025 and found.null_rate <= 0.01


def test_noisy_copies_are_found():
    result = ask(planted(1.0))
    assert result.copying and "copying" in result.verdict
    assert max(z(result, "hamming"), z(result, "jaccard")) < -20
    assert result.distances["jaccard"].authenticity < 0.2 < result.distances["jaccard"].authenticity_null


def test_exact_copies_are_duplicates_and_lead_the_pairs():
    result = ask(np.concatenate([TRAIN[:5], REAL[5:]]))
    assert result.duplicates == 5 and result.duplicates_null == 0
    assert {(pair.generated, pair.train) for pair in result.pairs[:5]} == {(i, i) for i in range(5)}
    assert result.pairs[0].jaccard == result.pairs[0].hamming == 0
    assert result.pairs[0].lit_generated >= result.pairs[4].lit_generated


@pytest.mark.parametrize("blank_train_images", [0, 20])
def test_blank_images_look_like_copies_to_hamming_only(blank_train_images):
    train = TRAIN.copy()
    train[:blank_train_images] = 0
    result = ask(np.zeros_like(REAL), train)
    assert z(result, "hamming") < -20 and z(result, "jaccard") > 20
    assert not result.copying and "blank" in result.verdict
    assert result.blank_rate["generated"] == 1 and result.duplicates == 0 and result.pairs == ()


def test_copies_among_blank_images_are_still_found():
    result = ask(np.concatenate([np.zeros_like(REAL[:800]), noisy(TRAIN[:200], 3)]))
    assert result.copying


@pytest.mark.parametrize("share", [0.05, 0.10])
def test_planted_copies_are_found(share):
    assert ask(planted(share)).copying


def test_the_power_self_test_finds_its_copies_and_no_others():
    found = {row.share: row.found for row in ask(REAL).power}
    assert found[0.0] is False and found[0.05] and found[0.10]


def test_copies_of_the_brightest_are_found():
    """Also where no held-out image is as bright."""
    many = tracks(3000, 7)
    order = (many > 2).sum((1, 2, 3)).argsort()
    train, held_out = many[order[1000:]], many[order[:1000]]
    result = ask(train[-300:], train, held_out)
    assert result.copying and "nan" not in result.verdict


def test_images_dimmer_than_all_held_out_ones_are_not_compared():
    many = tracks(3000, 7)
    order = (many > 2).sum((1, 2, 3)).argsort()
    dim = many[order[:300]]
    assert (dim > 2).any((1, 2, 3)).mean() > 0.9
    result = ask(dim, many[order[::2]], many[order[2000:]])
    assert not result.copying and "none can be compared" in result.verdict and "nan" not in result.verdict


def test_more_dim_images_than_there_should_be_are_no_copies():
    many = tracks(3000, 7)
    lit = (many > 2).sum((1, 2, 3))
    result = ask(many[lit < np.median(lit)][:1000])
    assert z(result, "hamming") < -10
    assert not result.copying


def test_sets_of_unequal_size_are_compared_in_equal_number():
    result = hamming(REAL[:120], TRAIN, HELD_OUT, thresholds=[2.0])
    assert result.sizes == {"train": 2000, "generated": 120, "held_out": 1000}
    assert result.compared == 120
    near = result.thresholds[0].distances["hamming"].nearest
    assert {len(distances.values) for distances in near.values()} == {120}
    more = hamming(REAL, TRAIN, HELD_OUT[:120], thresholds=[2.0]).thresholds[0]
    assert max(pair.generated for pair in more.pairs) > 120  # indices are into the set as given


def test_deterministic_and_json_able_and_progress_told():
    told = []
    first, second = (
        hamming(REAL[:150], TRAIN[:300], HELD_OUT[:150], thresholds=[0, 8], seed=1, progress=lambda *at: told.append(at)) for _ in "ab"
    )
    assert json.dumps(first.to_dict(), allow_nan=False) == json.dumps(second.to_dict(), allow_nan=False)
    assert told[:16] == [(i, 16) for i in range(1, 17)]


def test_tensors_and_channels():
    images = torch.from_numpy(np.random.default_rng(0).random((60, 3, 9, 5), dtype=np.float32))
    result = hamming(images[:20], images[20:40], images[40:], thresholds=[0.5])
    assert result.shape == (3, 9, 5)
    assert any("20 images" in warning for warning in result.warnings)


def test_held_out_images_that_are_training_images_are_told():
    held_out = HELD_OUT.copy()
    held_out[:7] = TRAIN[100:107]
    result = hamming(REAL, TRAIN, held_out, thresholds=[2.0])
    assert result.overlap == 7 and "7 held-out images" in result.warnings[0]
    assert hamming(REAL[:50], TRAIN[:50], HELD_OUT[:50], thresholds=[2.0]).overlap == 0


@pytest.mark.parametrize("name", ["train", "held_out"])
def test_a_blank_real_set_gets_no_answer(name):
    sets = {"train": TRAIN, "held_out": HELD_OUT} | {name: np.zeros_like(HELD_OUT)}
    result = ask(REAL, **sets)
    assert not result.copying and "lower the threshold" in result.verdict


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"generated": REAL[:3]}, "generated: expected at least 20 images, got 3"),
        ({"generated": REAL[:, 0]}, r"generated: expected images as \(N, C, H, W\), got an array of shape \(1000, 32, 32\)"),
        ({"held_out": HELD_OUT[..., :16]}, r"held_out: images of shape \(1, 32, 16\)"),
        ({"generated": np.full_like(REAL, np.nan)}, "generated: .* NaN"),
        ({"thresholds": []}, "thresholds: expected one or more finite"),
        ({"thresholds": [np.nan]}, "thresholds: expected one or more finite"),
    ],
)
def test_bad_input_is_one_sentence(change, words):
    with pytest.raises(PgenError, match=words):
        hamming(**({"generated": REAL, "train": TRAIN, "held_out": HELD_OUT, "thresholds": [2.0]} | change))
