"""Classifier two-sample tests: can a trained classifier distinguish generated from real images?

Lopez-Paz and Oquab, arXiv:1610.06545. A CNN on images sees what other metrics miss; boosted
decision trees on features show whether physics quantities are enough to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pgen.metrics.fidelity.residual_network import ImageClassifier, affordable_epochs, affordable_images, train_network
from pgen.metrics.fidelity.roc import auc, auc_interval, auc_p_value
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Highlight, Histogram, Measurement, MetricResult, PerSet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Generated images that trees learn from, and images of each set that are judged.
TREES_LIMIT, JUDGED_LIMIT = 10_000, 5_000
#: With fewer generated images to learn from, a CNN often misses even plain differences, and trees
#: with leaves of 20 images can split at most once.
CNN_FEWEST, TREES_FEWEST = 50, 40
#: Parts of the learning images for the learning curve, and the fewest images of a part.
PARTS, FEWEST_OF_PART = (4, 2), 20
#: An AUC this far from chance does not matter.
TOLERANCE = 0.05
#: Training images to learn from for each generated one, if there are so many.
REAL = 4
#: Fraction of the training images that are not learnt from, and the p-value at which they differ
#: from held-out ones.
UNSEEN, DIFFERENT = 0.2, 0.001
#: Images of each highlight.
SHOWN = 10
#: Bins of the histogram of log weights; the outermost also count all weights beyond.
EDGES = np.linspace(-10, 10, 41)


class Scorer(Protocol):
    """A trained classifier."""

    def score(self, rows: npt.NDArray) -> Floats:
        """Return log p(generated) - log p(real) of each row."""


#: From generated rows, and at least as many real ones, to a classifier.
Learner = Callable[[npt.NDArray, npt.NDArray], Scorer]


class Split(NamedTuple):
    """Which images a classifier learns from, and which it is judged on: indices into each set.

    Attributes:
        generated: (n,) to learn from.
        train: (m,) to learn from, m >= n.
        judged: Others of these sets, and held-out images.
    """

    generated: Ints
    train: Ints
    judged: PerSet


@dataclass(frozen=True)
class Judgement:
    """What a classifier says of images that it has not learnt from.

    Attributes:
        scores: Of the judged images, higher for those that look generated.
        curve: Learning images of each kind -> AUC.
        classifier: The one that learnt from all.
    """

    scores: PerSet
    curve: Mapping[int, float]
    classifier: Scorer


def c2st(sets: EvaluationSets) -> MetricResult:
    """Compute the AUC of a CNN and of boosted trees for generated against held-out images.

    Classifiers learn to tell generated from training images, and are judged on other generated
    images and on held-out ones. If generated images are as real ones, then, whatever was learnt,
    the scores of the two can be exchanged: the AUC is 0.5, which is the floor, and the
    Mann-Whitney test of the scores is valid.
    """
    rng = sets.rng("c2st")
    split = split_sets(sets, rng)
    seed, shape = int(rng.integers(2**31)), sets.train.shape[1:]
    scale = float(np.abs(sets.train).mean(dtype=np.float64))
    cnn_split, trees_split = (_limit(split, n) for n in (affordable_images(shape), TREES_LIMIT))
    epochs = affordable_epochs(len(cnn_split.generated), shape)

    def learn_cnn(generated: npt.NDArray, real: npt.NDArray) -> ImageClassifier:
        return train_network(generated, real, scale, epochs, seed, sets.device)

    parts = PARTS if sets.permutations else ()  # values only
    cnn = judge(PerSet(sets.generated, sets.train, sets.held_out), cnn_split, learn_cnn, parts)
    trees = judge(sets.features, trees_split, lambda generated, real: BoostedTrees(generated, real, seed), parts)
    measures: list[Measurement] = []
    details: dict[str, Any] = {}
    warnings: list[str] = []
    for name, judgement, fewest in (("CNN AUC", cnn, CNN_FEWEST), ("trees AUC", trees, TREES_FEWEST)):
        measures.append(_measure(name, judgement, fewest))
        details[f"{name} by learning images"] = {str(n): value for n, value in judgement.curve.items()}
        details[f"{name} of infinitely many"] = extrapolate(judgement.curve)
        real = auc(judgement.scores.train, judgement.scores.held_out)
        details[f"{name} of unseen training images"] = real
        if auc_p_value(judgement.scores.train, judgement.scores.held_out) <= DIFFERENT:
            warnings.append(
                f"{name}: training images that the classifier has not seen have an AUC of {real:.3g} against held-out images, so these "
                "two sets differ, and a perfect model would have an AUC like that; split the data at random events."
            )
    settings = {
        "CNN learning images": len(cnn_split.generated),
        "CNN epochs": epochs,
        "trees learning images": len(trees_split.generated),
        "judged images": {name: len(indices) for name, indices in split.judged._asdict().items()},
    }
    log_weights = PerSet(*(-scores for scores in cnn.scores))
    of_images = np.full(len(sets.generated), np.nan)
    of_images[split.judged.generated] = log_weights.generated
    return MetricResult(
        "c2st",
        tuple(measures),
        settings,
        details,
        tuple(warnings),
        histograms=(Histogram("log weight", "", EDGES, PerSet(*(np.histogram(w.clip(-10, 10), EDGES)[0] for w in log_weights))),),
        per_image={"c2st log weight": of_images},
        highlights=_highlight(sets.generated, split.judged.generated, log_weights.generated, cnn.classifier),
    )


def split_sets(sets: EvaluationSets, rng: np.random.Generator) -> Split:
    """Divide images into those to learn from and those to judge.

    As many generated images are judged as there are held-out ones, at most half of them; all that
    classifiers do not learn from are. A fifth of the training images or more are not learnt from
    either. If training images are the held-out ones, each half of them serves as one of the two.
    """
    generated, train, held_out = (rng.permutation(len(images)) for images in (sets.generated, sets.train, sets.held_out))
    if np.array_equal(sets.train, sets.held_out):
        train, held_out = np.array_split(held_out, 2)
    judged = min(len(generated) // 2, len(held_out))
    n = min(len(generated) - judged, int((1 - UNSEEN) * len(train)), TREES_LIMIT)
    m = min(REAL * n, int((1 - UNSEEN) * len(train)))
    rest = (generated[n:], train[m:], held_out)
    return Split(generated[:n], train[:m], PerSet(*(np.sort(indices[:JUDGED_LIMIT]) for indices in rest)))


def judge(rows: PerSet, split: Split, learn: Learner, parts: Sequence[int]) -> Judgement:
    """Train a classifier on all learning images, and others on parts of them.

    Args:
        rows: One row per image of each set.
        split: Which to learn from and which to judge.
        learn: Trains a classifier.
        parts: Divisors of the number of learning images, for the learning curve.
    """
    n = len(split.generated)
    judged = PerSet(*(values[indices] for values, indices in zip(rows, split.judged, strict=True)))
    curve: dict[int, float] = {}
    for size in (*(n // part for part in parts if n // part >= FEWEST_OF_PART), n):
        part = _limit(split, size)
        classifier = learn(rows.generated[part.generated], rows.train[part.train])
        scores = PerSet(classifier.score(judged.generated), np.zeros(0), classifier.score(judged.held_out))
        curve[size] = auc(scores.generated, scores.held_out)
    return Judgement(scores._replace(train=classifier.score(judged.train)), curve, classifier)


def extrapolate(curve: Mapping[int, float]) -> float | None:
    """Return the AUC that a classifier would have that learnt from infinitely many images.

    It is ``a``, at most 1, of a least-squares fit of a + b / n; None for fewer than three points.
    """
    if len(curve) < 3:
        return None
    slope_and_constant = np.polyfit(1 / np.array(list(curve)), np.array(list(curve.values())), 1)
    return float(slope_and_constant[1].clip(0, 1))


class BoostedTrees:
    """Gradient-boosted decision trees on features.

    Args:
        generated: (n, D) features.
        real: (m, D) features; both sets have the same weight.
        seed: Same seed, same trees.
    """

    def __init__(self, generated: npt.NDArray, real: npt.NDArray, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        trees = HistGradientBoostingClassifier(class_weight="balanced", early_stopping=True, random_state=seed)
        self._trees = trees.fit(np.concatenate([generated, real]), np.repeat([1, 0], [len(generated), len(real)]))

    def score(self, rows: npt.NDArray) -> Floats:
        """Return log p(generated) - log p(real) of each row."""
        return self._trees.decision_function(rows) if len(rows) else np.zeros(0)


def _limit(split: Split, n: int) -> Split:
    """Keep ``n`` generated images to learn from, and training images in proportion."""
    n = min(n, len(split.generated))
    return split._replace(generated=split.generated[:n], train=split.train[: len(split.train) * n // len(split.generated)])


def _measure(name: str, judgement: Judgement, fewest: int) -> Measurement:
    generated, _, held_out = judgement.scores
    learnt, unclear = max(judgement.curve), ""
    if np.ptp(np.concatenate([generated, held_out])) == 0:
        unclear = f"it gave all images one score: {learnt} generated images are too few to learn from, or features do not differ"
    elif learnt < fewest:
        unclear = f"{learnt} generated images are too few to learn from; give {fewest - learnt} more, or more training images"
    n, interval, p = min(len(generated), len(held_out)), auc_interval(generated, held_out), auc_p_value(generated, held_out)
    return Measurement(name, auc(generated, held_out), 0.5, interval, n, unclear=unclear, p_value=p, tolerance=TOLERANCE)


def _highlight(images: npt.NDArray, judged: Ints, log_weights: Floats, classifier: Scorer) -> tuple[Highlight, ...]:
    """Return the judged images that look most and least like generated ones."""
    assert isinstance(classifier, ImageClassifier)
    order = np.argsort(log_weights, kind="stable")
    titles = {"least like real images (CNN)": order[:SHOWN], "most like real images (CNN)": order[::-1][:SHOWN]}
    return tuple(
        Highlight(
            title,
            tuple(map(int, judged[chosen])),
            tuple(f"log weight {log_weights[k]:.2f}" for k in chosen),
            classifier.saliency(images[judged[chosen]]),
        )
        for title, chosen in titles.items()
    )
