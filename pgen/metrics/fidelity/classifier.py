"""Classifier two-sample tests: can a classifier that has learnt from some images tell other generated images from real ones?

Lopez-Paz and Oquab, arXiv:1610.06545. A convolutional network on images sees what others miss; boosted trees on features say whether
physics alone gives the images away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from pgen.data.sparse import above_threshold
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Ints, Measure, MetricResult, PerSet, bootstrap, draw, interval_of

Floats = npt.NDArray[np.float64]

FOLDS = 3
PERMUTATIONS = 1000
#: Images of each set; passes over them; images a step.
CNN_LIMIT, EPOCHS, BATCH = 2000, 12, 64
TREES_LIMIT = 5000
#: Images of a set below which the network seldom learns even plain differences, such as noise or a blur.
CNN_FEWEST = 50
#: Below so many, trees with leaves of 20 images have one split to make at most.
TREES_FEWEST = 40
#: Pixels along either side that the network sees at most: larger images are pooled.
SIDE = 128

#: From rows to learn from, whether each is generated, and rows to judge, to how generated each of the latter looks.
Classifier = Callable[[npt.NDArray, npt.NDArray, npt.NDArray], Floats]


def c2st(sets: EvaluationSets) -> MetricResult:
    """Area under the ROC curve of both classifiers on images they have not seen, of generated against held-out images; 0.5 is chance. The
    floor is that of train against held-out images, by classifiers of their own."""
    rng = sets.rng("c2st")
    images = draw(PerSet(sets.generated, sets.train, sets.held_out), rng, CNN_LIMIT)
    lit = images.train[above_threshold(images.train, sets.threshold)]
    # Those drawn may all be blank.
    bright = float(np.quantile(np.abs(lit if lit.size else sets.train[above_threshold(sets.train, sets.threshold)]), 0.99))
    seed = int(rng.integers(2**31))

    def network(rows: npt.NDArray, generated: npt.NDArray, judged: npt.NDArray) -> Floats:
        return _judge_by_network(rows / bright, generated, judged / bright, seed, sets.device)

    found, details = [], {}
    features = draw(sets.features, rng, TREES_LIMIT)
    tests = (("CNN AUC", network, images, CNN_FEWEST), ("trees AUC", _trees(seed), features, TREES_FEWEST))
    for name, classifier, rows, fewest in tests:
        measure, p = _two_tests(name, classifier, rows, fewest, rng, partial(sets.once, f"c2st, {name}, {seed}"))
        found.append(measure)
        details[f"{name}, permutation p"] = p
    settings = {"folds": FOLDS, "epochs": EPOCHS, "CNN limit": CNN_LIMIT, "trees limit": TREES_LIMIT}
    return MetricResult("c2st", tuple(found), settings, details)


def auc(generated: Floats, real: Floats) -> float:
    """The share of pairs of which the generated image has the higher score; of equal ones half."""
    ranks = stats.rankdata(np.concatenate([generated, real]))[: len(generated)]
    return float((ranks.sum() - len(generated) * (len(generated) + 1) / 2) / (len(generated) * len(real)))


def _two_tests(
    name: str, classifier: Classifier, rows: PerSet, fewest: int, rng: np.random.Generator, once: Callable[..., Floats]
) -> tuple[Measure, float]:
    n = len(rows.train)
    fold = rng.permutation(np.arange(n) % FOLDS)
    judged = partial(_out_of_fold, classifier)
    scores = {
        "generated": judged(rows.generated, rows.held_out, fold),
        "train": once(judged, rows.train, rows.held_out, fold),
    }
    value, floor = (auc(*scores[key]) for key in ("generated", "train"))

    def difference(g: Ints, t: Ints, h: Ints) -> float:
        return auc(scores["generated"][0][g], scores["generated"][1][h]) - auc(scores["train"][0][t], scores["train"][1][h])

    unclear = ""
    if any(np.ptp(scores[key][:, fold == k]) == 0 for key in scores for k in range(FOLDS)):
        unclear = f"it gave all images one score: {n} images of a set are too few to learn from, or their features do not differ"
    elif n < fewest:
        unclear = f"{n} images of a set are too few to learn from; give {fewest} or more"
    above = bootstrap(difference, n, rng)
    # Were the labels of judged images exchanged at random, how often would the area be as large?
    ranks = stats.rankdata(np.concatenate(scores["generated"]))
    chance = np.array([rng.permutation(ranks)[:n].sum() for _ in range(PERMUTATIONS)])
    p = (1 + int((chance >= ranks[:n].sum()).sum())) / (1 + PERMUTATIONS)
    return Measure(name, value, floor, interval_of(value, above, 0.0, 1.0), n, unclear=unclear), p


def _out_of_fold(classifier: Classifier, generated: npt.NDArray, real: npt.NDArray, fold: npt.NDArray) -> Floats:
    """Scores (2, n) of the images of either set, each by a classifier that learnt from the other folds of both. As ranks within their fold,
    since classifiers differ in their scale."""
    found = np.empty((2, len(fold)))
    for k in range(FOLDS):
        seen, judged = fold != k, fold == k
        rows, label = np.concatenate([generated[seen], real[seen]]), np.repeat([1, 0], seen.sum())
        score = classifier(rows, label, np.concatenate([generated[judged], real[judged]]))
        found[:, judged] = (stats.rankdata(score) / len(score)).reshape(2, -1)
    return found


def _trees(seed: int) -> Classifier:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def judge(rows: npt.NDArray, generated: npt.NDArray, judged: npt.NDArray) -> Floats:
        trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=True, random_state=seed)
        return trees.fit(rows, generated).predict_proba(judged)[:, 1]

    return judge


class Network(nn.Module):
    """Four convolutions of stride 2 and the mean and maximum over what they see: images (B, C, H, W) to a score (B,)."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=2, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        self.layers, self.score = nn.Sequential(*layers), nn.Linear(8 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.layers(images)
        return self.score(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1))[:, 0]


def _judge_by_network(rows: npt.NDArray, generated: npt.NDArray, judged: npt.NDArray, seed: int, device: torch.device) -> Floats:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Network(rows.shape[1]).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    label = torch.from_numpy(generated.astype(np.float32))
    order = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(rows), generator=order).split(BATCH):
            batch = _prepared(rows[index.numpy()], device)
            loss = functional.binary_cross_entropy_with_logits(model(batch), label[index].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return np.concatenate([model(part).cpu().double().numpy() for part in _parts(judged, device)])


def _parts(images: npt.NDArray, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), 256):
        yield _prepared(images[start : start + 256], device)


def _prepared(images: npt.NDArray, device: torch.device) -> Tensor:
    """Square roots with the sign of the charge, so that faint pixels count; large images by the mean of their pixels."""
    charge = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    there = charge.abs().sqrt() * charge.sign()
    pooling = -(-max(there.shape[2:]) // SIDE)
    return functional.avg_pool2d(there, pooling, ceil_mode=True) if pooling > 1 else there
