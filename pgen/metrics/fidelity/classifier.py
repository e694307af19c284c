"""Classifier two-sample tests: can a trained classifier distinguish generated from real images?

Lopez-Paz and Oquab, arXiv:1610.06545. A CNN on images sees what other metrics miss; boosted
decision trees on features show whether physics quantities are enough to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from pgen.data.sparse import above_threshold
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Measurement, MetricResult, PerSet, draw_equal
from pgen.metrics.significance import ROUNDS, WIDTH, Ints

Floats = npt.NDArray[np.float64]

FOLDS = 3
PERMUTATIONS = 1000
#: Images of each set; epochs; batch size.
CNN_LIMIT, EPOCHS, BATCH = 2000, 12, 64
TREES_LIMIT = 5000
#: With fewer images of a set, the CNN often misses even plain differences, such as noise or a blur.
CNN_FEWEST = 50
#: With fewer, trees with leaves of 20 images can split at most once.
TREES_FEWEST = 40
#: Longest side in pixels that the CNN sees: larger images are pooled.
SIDE = 128

#: From training rows, whether each is generated (1 or 0), and test rows, to a score of each test
#: row.
Classifier = Callable[[npt.NDArray, npt.NDArray, npt.NDArray], Floats]


def c2st(sets: EvaluationSets) -> MetricResult:
    """Compute the area under the ROC curve (AUC) of a CNN and of boosted trees; 0.5 is chance.

    The value is for generated against held-out images. The floor is for training against held-out
    images, by classifiers of their own.
    """
    rng = sets.rng("c2st")
    images = draw_equal(PerSet(sets.generated, sets.train, sets.held_out), rng, CNN_LIMIT)
    charge = images.train[above_threshold(images.train, sets.threshold)]
    if not charge.size:  # the images that were drawn are all blank
        charge = sets.train[above_threshold(sets.train, sets.threshold)]
    scale = float(np.quantile(np.abs(charge), 0.99))
    seed = int(rng.integers(2**31))

    def cnn(rows: npt.NDArray, is_generated: npt.NDArray, test: npt.NDArray) -> Floats:
        return _classify_by_cnn(rows / scale, is_generated, test / scale, seed, sets.device)

    measures, details = [], {}
    features = draw_equal(sets.features, rng, TREES_LIMIT)
    tests = (("CNN AUC", cnn, images, CNN_FEWEST), ("trees AUC", _boosted_trees(seed), features, TREES_FEWEST))
    for name, classifier, rows, fewest in tests:
        measurement, p = _test(name, classifier, rows, fewest, rng, partial(sets.cached, f"c2st, {name}, {seed}"))
        measures.append(measurement)
        details[f"{name}, permutation p"] = p
    settings = {"folds": FOLDS, "epochs": EPOCHS, "CNN limit": CNN_LIMIT, "trees limit": TREES_LIMIT}
    return MetricResult("c2st", tuple(measures), settings, details)


def auc(generated: Floats, real: Floats) -> float:
    """Compute the area under the ROC curve.

    It is the fraction of pairs with a higher score of the generated image; ties count half.
    """
    # U / (n m), as scipy.stats.mannwhitneyu has it, without the p-value that takes most of its time
    # in every round of a bootstrap.
    ranks = stats.rankdata(np.concatenate([generated, real]))[: len(generated)]
    return float((ranks.sum() - len(generated) * (len(generated) + 1) / 2) / (len(generated) * len(real)))


def _test(
    name: str, classifier: Classifier, rows: PerSet, fewest: int, rng: np.random.Generator, cached: Callable[..., Floats]
) -> tuple[Measurement, float]:
    """Return the AUC with its floor, and the p-value of a permutation test."""
    n = len(rows.train)
    fold = rng.permutation(np.arange(n) % FOLDS)
    score = partial(_cross_validate, classifier)
    scores = {
        "generated": score(rows.generated, rows.held_out, fold),
        "train": cached(score, rows.train, rows.held_out, fold),
    }
    value, floor = (auc(*scores[key]) for key in ("generated", "train"))

    def excess(g: Ints, t: Ints, h: Ints) -> float:
        return auc(scores["generated"][0][g], scores["generated"][1][h]) - auc(scores["train"][0][t], scores["train"][1][h])

    unclear = ""
    if any(np.ptp(scores[key][:, fold == k]) == 0 for key in scores for k in range(FOLDS)):
        unclear = f"it gave all images one score: {n} images of a set are too few to learn from, or their features do not differ"
    elif n < fewest:
        unclear = f"{n} images of a set are too few to learn from; give {fewest} or more"
    interval = interval_around(value, bootstrap(excess, n, rng), 0.0, 1.0)
    # If the labels of test images were exchanged at random, how often would the area be as large?
    ranks = stats.rankdata(np.concatenate(scores["generated"]))
    chance = np.array([rng.permutation(ranks)[:n].sum() for _ in range(PERMUTATIONS)])
    p = (1 + int((chance >= ranks[:n].sum()).sum())) / (1 + PERMUTATIONS)
    return Measurement(name, value, floor, interval, n, unclear=unclear), p


def _cross_validate(classifier: Classifier, generated: npt.NDArray, real: npt.NDArray, fold: npt.NDArray) -> Floats:
    """Score the images of both sets (2, n), each by a classifier trained on the other folds.

    Scores are ranks within their fold, since classifiers differ in their scale.
    """
    scores = np.empty((2, len(fold)))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        rows, is_generated = np.concatenate([generated[train], real[train]]), np.repeat([1, 0], train.sum())
        score = classifier(rows, is_generated, np.concatenate([generated[test], real[test]]))
        scores[:, test] = (stats.rankdata(score) / len(score)).reshape(2, -1)
    return scores


def _boosted_trees(seed: int) -> Classifier:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def classify(rows: npt.NDArray, is_generated: npt.NDArray, test: npt.NDArray) -> Floats:
        trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=True, random_state=seed)
        return trees.fit(rows, is_generated).predict_proba(test)[:, 1]

    return classify


class ConvClassifier(nn.Module):
    """A small CNN: images (B, C, H, W) to scores (B,).

    It has four convolutions with stride 2, and takes mean and maximum over positions.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=2, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]
        self.layers, self.score = nn.Sequential(*layers), nn.Linear(8 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Score images (n, C, H, W); return (n,)."""
        maps = self.layers(images)
        return self.score(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))[:, 0]


def _classify_by_cnn(rows: npt.NDArray, is_generated: npt.NDArray, test: npt.NDArray, seed: int, device: torch.device) -> Floats:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = ConvClassifier(rows.shape[1]).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    label = torch.from_numpy(is_generated.astype(np.float32))
    order = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(rows), generator=order).split(BATCH):
            batch = _preprocess(rows[index.numpy()], device)
            loss = functional.binary_cross_entropy_with_logits(model(batch), label[index].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return np.concatenate([model(batch).cpu().double().numpy() for batch in _batches(test, device)])


def _batches(images: npt.NDArray, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), 256):
        yield _preprocess(images[start : start + 256], device)


def _preprocess(images: npt.NDArray, device: torch.device) -> Tensor:
    """Take the signed square root of the charge, so that faint pixels count; pool large images."""
    charge = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    roots = charge.abs().sqrt() * charge.sign()
    pooling = -(-max(roots.shape[2:]) // SIDE)
    return functional.avg_pool2d(roots, pooling, ceil_mode=True) if pooling > 1 else roots


def bootstrap(
    excess: Callable[[Ints, Ints, Ints], Any], n: int, rng: np.random.Generator, rounds: int = ROUNDS, halves: bool = False
) -> npt.NDArray[np.float64]:
    """Compute value - floor of resampled sets.

    Args:
        excess: value - floor of the images at three arrays of indices: generated, train, held-out.
        n: Images of each set.
        rng: Random numbers.
        rounds: How often to resample.
        halves: Draw half of the images without replacement, in place of n with replacement.

    Returns:
        (rounds, ...) what ``excess`` returned.
    """

    def indices() -> Iterable[Ints]:
        return [rng.permutation(n)[: n // 2] for _ in range(3)] if halves else rng.integers(n, size=(3, n))

    return np.array([excess(*indices()) for _ in range(rounds)])


def interval_around(value: float, excess: npt.NDArray[np.float64], lowest: float = 0.0, highest: float = np.inf) -> tuple[float, float]:
    """Compute the interval of a :class:`Measurement`.

    Only the spread of ``excess`` counts: resampled sets are further apart than the sets themselves,
    by about as much in the value as in the floor.

    Args:
        value: The centre.
        excess: (rounds,) value - floor of resampled sets, see :func:`bootstrap`.
        lowest: Lower limit of any value.
        highest: Upper limit of any value.
    """
    finite = excess[np.isfinite(excess)]  # a resampled set may hold none of the images that a distance is defined for
    width = WIDTH * float(np.std(finite)) if len(finite) > len(excess) / 2 else np.nan
    return max(lowest, float(value) - width), min(highest, float(value) + width)
