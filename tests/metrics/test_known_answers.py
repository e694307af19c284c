"""Sets of which the answer is known: real against real, and images with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from pgen.data import read_all
from pgen.data.simulation.generate import simulate
from pgen.errors import PgenError
from pgen.metrics.fidelity import closure, residual_network
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Measurement, PerSet
from pgen.metrics.runner import Evaluation, comparison_warnings, evaluate
from pgen.metrics.significance import holm, measure

N, THRESHOLD = 400, 1.0
SOURCE = simulate(3 * N, size=32, seed=7)
IMAGES = read_all(SOURCE)
FAST = ["physics", "fpd", "kpd", "ks", "nplm", "wasserstein", "prdc", "memorisation", "closure"]
#: Of so many real sets, how many may be told from real: at 95 %, more are one case in 400.
REAL_SETS, MISSED = 12, 3


def sets(seed: int = 0, spoil: Callable[[np.ndarray], np.ndarray] = lambda images: images, n: int = N) -> EvaluationSets:
    """Three disjoint sets, the generated one spoilt."""
    parts = np.split(np.random.default_rng(seed).permutation(3 * N)[: 3 * n], 3)
    labels = {name: {key: values[part] for key, values in SOURCE.labels.items()} for name, part in zip(PerSet._fields, parts, strict=True)}
    generated, train, held_out = (IMAGES[part] for part in parts)
    return EvaluationSets(spoil(generated), train, held_out, threshold=THRESHOLD, seed=seed, labels=labels)


def asked(given: EvaluationSets, metrics: Iterable[str]) -> Evaluation:
    return evaluate(given, list(metrics))


def measures(found: Evaluation) -> dict[str, Measurement]:
    return {each.name: each for finding in found.results.values() for each in finding.measures}


def test_real_images_are_seldom_called_different() -> None:
    significant: dict[str, int] = {}
    uncovered: dict[str, int] = {}
    families = 0
    for seed in range(REAL_SETS):
        by_name = measures(asked(sets(seed, n=200), FAST))
        for name, each in by_name.items():
            significant[name] = significant.get(name, 0) + (each.p_value <= 0.05)
            uncovered[name] = uncovered.get(name, 0) + (not each.interval[0] <= each.floor <= each.interval[1])
        families += min(holm({name: each.p_value for name, each in by_name.items() if each.headline}).values()) <= 0.05
    assert len(significant) > 50 and families <= MISSED
    for counts in (significant, uncovered):
        assert {name: count for name, count in counts.items() if count > MISSED} == {}
        # All of them together: at 95 % one in twenty. They depend on each other, so the mean varies.
        assert 0.01 < np.mean(list(counts.values())) / REAL_SETS < 0.08


def blurred(images: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, 0, 0.6, 0.6))


def shifted(images: np.ndarray) -> np.ndarray:
    return np.roll(images, 5, axis=2)


def brighter(images: np.ndarray) -> np.ndarray:
    return images * np.float32(1.5)


def without_a_mode(images: np.ndarray) -> np.ndarray:
    """No long tracks: they are replaced by shorter ones."""
    few = images[(images > THRESHOLD).sum((1, 2, 3)) < 60]
    return few[np.arange(len(images)) % len(few)]


def half_blank(images: np.ndarray) -> np.ndarray:
    return images * (np.arange(len(images)) % 2)[:, None, None, None].astype(np.float32)


@pytest.mark.parametrize(
    ("spoil", "trips", "leaves"),
    [
        (blurred, ["track width W1", "mean lit pixel W1", "lit pixels W1", "FPD", "precision", "trees AUC"], ["centroid row W1"]),
        (shifted, ["centroid row W1", "FPD", "sliced W1", "energy distance"], ["mean lit pixel W1", "track width W1"]),
        (brighter, ["total charge W1", "pixel charge W1", "mean lit pixel W1", "track dQ/dx W1"], ["lit pixels W1", "track length W1"]),
        (without_a_mode, ["recall", "coverage", "track length W1", "lit pixels W1", "FPD"], ["precision"]),
        (half_blank, ["blank images", "total charge W1"], ["track length W1", "copy rate, Jaccard"]),
    ],
)  # fmt: skip
def test_what_is_wrong_trips_its_metric(spoil, trips: list[str], leaves: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_network, "EPOCHS", 1)
    found = measures(asked(sets(0, spoil), [*FAST, "c2st"] if "trees AUC" in trips else FAST))
    assert {name: found[name].verdict for name in trips} == dict.fromkeys(trips, "worse")
    assert [name for name in leaves if found[name].verdict == "worse"] == []


def test_a_network_sees_what_physics_does_not() -> None:
    # Every other pixel of a track is moved to its neighbour's place: charge, places and shapes are nearly as they were.
    def scrambled(images: np.ndarray) -> np.ndarray:
        moved = images.copy()
        moved[:, :, ::2] = np.roll(images[:, :, ::2], 1, axis=3)
        return moved

    found = measures(asked(sets(0, scrambled, n=200), ["c2st"]))
    assert found["CNN AUC"].verdict == "worse" and found["CNN AUC"].value > max(0.8, found["trees AUC"].value)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.10])
def test_planted_copies_are_found(share: float) -> None:
    given = sets(1)
    copies = max(1, round(share * N))
    given.generated[:copies] = given.train[:copies] * np.float32(1.1)
    found = asked(given, ["memorisation"]).results["memorisation"]
    rates = [each for each in found.measures if each.name.startswith("copy rate")]
    assert found.details["duplicates"] == copies
    assert sum(generated == train < copies for generated, train, _ in found.pairs) == min(copies, len(found.pairs))
    if share > 0.01:
        assert all(each.verdict == "worse" for each in rates) and found.details["copying"] and found.warnings


def test_dim_images_are_no_copies() -> None:
    found = asked(sets(1, lambda images: images * (images > 80)), ["memorisation"]).results["memorisation"]
    assert not found.details["copying"] and not found.warnings


def test_closure_sees_wrong_labels() -> None:
    verdicts = []
    for seed in (2, 3):
        given = sets(seed)
        wrong = {key: np.roll(values, 1) for key, values in given.labels["generated"].items()}
        object.__setattr__(given, "labels", {**given.labels, "generated": wrong})
        found = measures(asked(given, ["closure"]))
        assert found["pdg accuracy"].verdict == "worse" and found["momentum width"].value > found["momentum width"].floor
        verdicts.append(found["momentum width"].verdict)
    # Momenta of particles that leave the image are hardly seen in it, so that wrong ones are shown in one of two sets.
    assert "worse" in verdicts


def test_closure_of_labels_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few numbers that are not whole are classes; what is missing is told; a class of one image is not learnt."""
    given = sets(2)

    def labelled(of: Callable[[np.ndarray], np.ndarray]) -> EvaluationSets:
        return replace(given, labels={name: {"x": of(each["momentum"])} for name, each in given.labels.items()})

    found = measures(asked(labelled(lambda momentum: 0.2 * (1 + (momentum > np.median(momentum)))), ["closure"]))
    assert found["x accuracy"].value > 0.6
    with pytest.raises(PgenError, match="label x of generated images has 1 values that are not finite"):
        asked(labelled(lambda momentum: np.r_[np.nan, momentum[1:]]), ["closure"])
    with pytest.raises(PgenError, match="closure needs a label"):
        asked(labelled(lambda momentum: np.arange(len(momentum)).astype(str)), ["closure"])
    alone = np.array(["alone", *5000 * ["a", "b"]])
    assert set(closure._train_trees(np.zeros((10_001, 1)), alone, True, 0)(np.zeros((3, 1)))) <= {"a", "b"}


def test_images_of_one_charge() -> None:
    given = sets(0, lambda images: (images > THRESHOLD) * np.float32(2))
    masks = EvaluationSets(
        *(2 * (each > THRESHOLD).astype(np.float32) for each in (given.generated, given.train, given.held_out)), threshold=THRESHOLD
    )
    found = measures(asked(masks, ["physics"]))
    assert found["pixel charge W1"].value == 0 and found["pixel charge W1"].verdict == "as real"


def test_nearly_all_training_images_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgen.metrics.fidelity.residual_network.EPOCHS", 1)
    given = sets(0, n=100)
    given.train[3:] = 0
    small = replace(given, generated=given.generated[:20])
    assert measures(asked(small, ["c2st"]))["CNN AUC"].n == 10


def test_too_few_images_to_extrapolate_are_told() -> None:
    found = asked(sets(0, n=25), ["fpd"]).results["fpd"]
    assert found.settings["parts"] == 1 and "too few to extrapolate" in found.notes[0]
    found = asked(sets(0, n=200), ["fpd"]).results["fpd"]
    assert found.settings["parts"] == 4 and not found.notes


def test_distances_are_drawn_on_the_bins_of_real_images() -> None:
    noise = np.random.default_rng(0).random((N, 1, 32, 32)).astype(np.float32) * 9
    real, far = (asked(given, ["memorisation"]).results["memorisation"].histograms[0] for given in (sets(), sets(0, lambda _: noise)))
    assert real.edges.tolist() == far.edges.tolist()
    assert far.counts.generated[-1] == far.counts.generated.sum() == N


def test_same_seed_same_numbers() -> None:
    first, second = (asked(sets(3), ["physics", "fpd", "prdc"]).to_dict()["metrics"] for _ in range(2))
    for one in (first, second):
        for metric in one.values():
            del metric["seconds"]
    assert first == second


def test_interval_is_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    rows = PerSet(rng.normal(1, 1, 500), rng.normal(size=500), rng.normal(size=400))
    found = measure("mean", lambda a, b: a.mean() - b.mean(), rows, rng, lowest=-np.inf, rounds=400)
    # What held-out images waver by is in value and floor alike.
    assert found.n == 400 and found.value == pytest.approx(1, abs=0.2)
    assert np.diff(found.interval)[0] == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.15)


def test_bad_sets_are_refused() -> None:
    given = sets()
    for change, told in (
        ({"generated": given.generated[:10]}, "generated: expected at least 20 images, got 10"),
        ({"generated": given.generated * 0}, "generated: all 400 images are blank"),
        ({"held_out": given.held_out[:, :, :20]}, "cannot be compared"),
        ({"train": given.train + np.nan}, "NaN"),
        ({"labels": {}}, "closure needs a label"),
        ({"extractor": lambda images: np.zeros(3)}, "expected finite values"),
        ({"extractor": lambda images: np.zeros((len(images), 0))}, "expected finite values"),
        ({"extractor": lambda images: [["a"]] * len(images)}, "the function failed on .* could not convert"),
        ({"extractor": lambda images: images.no}, "the function failed on .*AttributeError"),
    ):
        arguments = {name: getattr(given, name) for name in ("generated", "train", "held_out", "threshold", "labels", "extractor")} | change
        with pytest.raises(PgenError, match=told):
            asked(EvaluationSets(**arguments), ["prdc", "closure"])


def test_doubtful_comparisons_are_warned_of() -> None:
    given = sets()
    given.held_out[:7] = given.train[:7]
    assert any("HELD-OUT OVERLAPS TRAIN: 7" in warning for warning in comparison_warnings(given))
    faint = sets(0, lambda images: np.where(images > 0, images, np.float32(1.5)))
    assert any("faintest pixels" in warning and "set the threshold" in warning for warning in comparison_warnings(faint))
    halo = sets(0, lambda images: np.where(images > 0, images, np.float32(0.2)))  # below the threshold
    assert not any("faintest" in warning for warning in comparison_warnings(halo))
    assert not any("faintest" in warning or "OVERLAPS" in warning for warning in comparison_warnings(sets()))


def test_own_features() -> None:
    given = sets()
    own = EvaluationSets(given.generated, given.train, given.held_out, extractor=lambda images: images.sum((2, 3)))
    assert own.features.train.shape == (N, 1) and own.features.train.std() == pytest.approx(1, abs=0.03)
    assert asked(own, ["fpd", "kpd", "prdc"]).results["fpd"].settings["features"] == 1
