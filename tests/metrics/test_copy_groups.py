"""Copies by occupancy and by label."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.groups import count_copies, group_by_labels, group_by_occupancy
from pgen.metrics.memorisation.metric import memorisation
from pgen.metrics.memorisation.statistics import clopper_pearson
from pgen.metrics.validation import to_plain
from tests.helpers.toy_tracks import noisy, tracks


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.lists(st.integers(1, 60), max_size=30))
def test_every_image_is_in_the_group_whose_name_says_so(held_out: list[int], generated: list[int]) -> None:
    grouping = group_by_occupancy(np.array(generated, int), np.array(held_out))
    assert 1 <= len(grouping.names) <= 4 and len(set(grouping.names)) == len(grouping.names)
    for n_pixels, group in zip(generated + held_out, [*grouping.generated, *grouping.held_out], strict=True):
        low, high = limits(grouping.names[group])
        assert low <= n_pixels <= high
    assert set(grouping.held_out) == set(range(len(grouping.names)))  # none is empty


def limits(name: str) -> tuple[float, float]:
    words = name.split()
    if name == "all":
        return 1, np.inf
    if name.startswith("up to"):
        return 1, int(words[2])
    return int(words[0]), np.inf if name.endswith("more") else int(words[2])


def test_quartiles_hold_a_quarter_each() -> None:
    grouping = group_by_occupancy(np.arange(1, 101), np.arange(1, 101))
    assert grouping.names == ("up to 25 pixels", "26 to 50 pixels", "51 to 75 pixels", "76 pixels or more")
    assert np.bincount(grouping.held_out).tolist() == [25, 25, 25, 25]
    assert group_by_occupancy(np.array([3]), np.array([], int)).names == ("all",)


def test_labels_of_few_values_make_groups() -> None:
    held_out = {"pdg": np.array([11, 13, 13]), "momentum": np.arange(3.0), "vertex": np.zeros((3, 2)), "alone": np.zeros(3)}
    generated = {"pdg": np.array(["13", "2212"]), "momentum": np.arange(30.0)[:2], "vertex": np.zeros((2, 2)), "other": np.zeros(2)}
    groupings = group_by_labels(generated, held_out)
    assert groupings["pdg"].names == ("pdg 11", "pdg 13", "pdg 2212")
    assert groupings["pdg"].generated.tolist() == [1, 2] and groupings["pdg"].held_out.tolist() == [0, 1, 1]
    assert set(groupings) == {"pdg", "momentum"}
    many = {"event": np.arange(13)}
    assert group_by_labels(many, many) == {}
    assert group_by_labels({"pdg": np.array(["muon"])}, {"pdg": np.array([13])}) == {}


def test_counts_and_intervals() -> None:
    grouping = group_by_occupancy(np.array([1, 1, 9, 9]), np.array([1, 1, 9, 9, 9]))
    groups = count_copies(np.array([0.1, 0.5, 0.2, 0.3]), np.array([0.4, 0.1, 0.9, 0.9, 0.9]), 0.3, grouping)
    assert [(g.generated, g.copies, g.copy_rate, g.held_out, g.null_rate) for g in groups] == [(2, 1, 0.5, 2, 0.5), (2, 1, 0.5, 3, 0.0)]
    expected = stats.binomtest(0, 3).proportion_ci(method="exact")
    assert groups[1].null_interval == pytest.approx((expected.low, expected.high))
    assert np.isnan(clopper_pearson(0, 0)).all()


def test_copies_of_one_kind_are_seen_in_its_group_only() -> None:
    train, held_out, generated = (tracks(400, seed) for seed in range(3))
    generated[:40] = noisy(train[:40], 3)
    kinds = {"generated": {"kind": np.repeat(["copied", "new"], [40, 360])}, "held_out": {"kind": np.repeat(["copied", "new"], 200)}}
    result = memorisation(EvaluationSets(generated, train, held_out, threshold=2.0, labels=kinds))
    details = json.loads(json.dumps(to_plain(result.details)))["copies by group"]["jaccard"]
    copied, new = details["label kind"]
    assert copied["name"] == "kind copied" and copied["generated"] == 40 and copied["copy_rate"] > copied["copy_interval"][0] > 0.8
    assert new["copy_rate"] < 0.05 and copied["held_out"] == new["held_out"] == 200
    total = next(m for m in result.measures if m.name == "copy rate, Jaccard")
    by_occupancy = details["occupancy"]
    for groups in (by_occupancy, (copied, new)):
        assert sum(group["copies"] for group in groups) == round(total.value * total.n)
        assert sum(group["generated"] for group in groups) == total.n
