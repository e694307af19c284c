"""Which test of features sees what? NPLM against FPD, KPD, KS and boosted decision trees.

    python benchmarks/goodness_of_fit.py [--repetitions 40] [-n 500] [--seed 2000]

Draws three sets of n rows from one density, which is that of the features of simulated images
smoothed by a Gaussian kernel, plants a defect in the generated set, and counts how often each test
has p <= 0.05. Smoothing matters: a defect that moves whole numbers, such as clusters, off the whole
numbers would be seen by any test of ranks. All but the trees are tests of generated and training
rows with held-out ones as reference, as pgen evaluate makes them. NPLM, a kernel logistic
regression (arXiv:2204.02317, arXiv:2508.02275), is here with two widths, and also as a direct test,
which permutes the labels of generated and held-out rows. Width and penalty of the metric were chosen
with seeds below 2000. Writes results/goodness_of_fit.json.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier

import record
from pgen.data import read_all
from pgen.data.simulation.generate import simulate
from pgen.metrics.features.observables import quantities, quantities_to_features, scales
from pgen.metrics.fidelity.frechet import KPD_CLIP, frechet_distances, max_parts
from pgen.metrics.fidelity.kolmogorov_smirnov import SLICES, draw_directions, mean_and_sliced_ks
from pgen.metrics.fidelity.likelihood_ratio import CENTRES, kernel_embedding, likelihood_ratio
from pgen.metrics.fidelity.pooled_distances import mmd
from pgen.metrics.inputs import FEATURE_LIMIT
from pgen.metrics.results import LEVEL
from pgen.metrics.significance import PooledDistance, compare

POOL, SIZE, THRESHOLD = 6000, 32, 9.0
#: Width of the smoothing kernel in standard deviations of a feature.
SMOOTHING = 0.3
PERMUTATIONS = 199
#: Quantiles of the distances of centres that are the width of the kernel, and ridge penalties.
WIDTHS, PENALTIES = (0.5, 0.9), (0.1,)
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2000, help="of the first repetition")
    arguments = parser.parse_args()
    pool = features_of_images()
    seeds = range(arguments.seed, arguments.seed + arguments.repetitions)
    shares, seconds = {}, Counter[str]()
    for name, plant in DEFECTS.items():
        seen = Counter[str]()
        for seed in seeds:
            rng = np.random.default_rng(seed)
            rows = pool[rng.permutation(len(pool))[: 3 * arguments.n]]
            generated, train, held_out = (rows + SMOOTHING * rng.standard_normal(rows.shape)).reshape(3, arguments.n, -1)
            rows = np.concatenate([plant(generated, rng), train, held_out]).clip(-FEATURE_LIMIT, FEATURE_LIMIT)
            for test, p in p_values(rows, arguments.n, rng, seconds):
                seen[test] += p <= LEVEL
        shares[name] = {test: seen[test] / len(seeds) for test in seconds}
        print(name, shares[name], flush=True)
    result = {
        "what": "share of repetitions in which a test of features has p <= 0.05",
        "images of a set": arguments.n,
        "repetitions": len(seeds),
        "permutations": PERMUTATIONS,
        "features": pool.shape[1],
        "defects": shares,
        "seconds a test": {test: round(total / len(seeds) / len(DEFECTS), 3) for test, total in seconds.items()},
    }
    record.write("goodness_of_fit", result, "scipy", "scikit-learn")


def features_of_images() -> Floats:
    """Return the standardised features (N, D) of simulated images."""
    features = quantities_to_features(quantities(read_all(simulate(POOL, size=SIZE, seed=12)), THRESHOLD))
    return np.nan_to_num((features - np.nanmean(features, 0)) / scales(features)).clip(-FEATURE_LIMIT, FEATURE_LIMIT)


def p_values(rows: Floats, n: int, rng: np.random.Generator, seconds: Counter[str]):
    """Yield the p-value of each test of features (3 n, D), and add its time."""
    centres = rows[rng.choice(len(rows), CENTRES, replace=False)]
    clipped = rows.clip(-KPD_CLIP, KPD_CLIP)

    def exchange(distance: PooledDistance) -> Floats:
        return compare(distance, n, rng, permutations=PERMUTATIONS, rounds=0).p_value

    tests: dict[str, Callable[[], Floats]] = {
        "FPD": lambda: exchange(frechet_distances(rows, max_parts(n, rows.shape[1])))[:1],
        "KPD": lambda: exchange(mmd((clipped @ clipped.T / rows.shape[1] + 1) ** 4)),
        "mean KS, sliced KS": lambda: exchange(mean_and_sliced_ks(rows, draw_directions(rows.shape[1], SLICES, rng))),
        "trees AUC": lambda: np.array([trees_p_value(rows.reshape(3, n, -1))]),
    }
    for width in WIDTHS:
        embedded = kernel_embedding(centres, width)(rows)
        for penalty in PENALTIES:
            distance = likelihood_ratio(embedded, penalty)
            name = f"NPLM, width {width:g}, penalty {penalty:g}"
            tests[name] = lambda distance=distance: exchange(distance)
            tests[f"{name}, held-out permuted"] = lambda distance=distance: np.array([label_p_value(distance, n, rng)])
    for name, test in tests.items():
        begin = time.monotonic()
        for one, p in zip(name.split(", ") if "KS" in name else [name], test(), strict=True):
            seconds[one] += time.monotonic() - begin
            yield one, float(p)


def trees_p_value(sets: Floats) -> float:
    """Train trees on training images and half of the generated ones, and test them on the others."""
    generated, train, held_out = sets
    half = len(generated) // 2
    learn = np.concatenate([generated[:half], train])
    weight = np.repeat([len(train) / half, 1.0], [half, len(train)])
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(learn, np.arange(len(learn)) < half, weight)
    scores = [trees.decision_function(rows) for rows in (generated[half:], held_out)]
    return float(stats.mannwhitneyu(*scores, alternative="greater").pvalue)


def label_p_value(distance: PooledDistance, n: int, rng: np.random.Generator) -> float:
    """Permute the labels of generated and held-out images."""
    both = np.concatenate([np.arange(n), np.arange(2 * n, 3 * n)])
    labels = np.stack([both, *(rng.permutation(both) for _ in range(PERMUTATIONS))])
    values = distance(labels[:, :n], labels[:, n:])[:, 0]
    return float((values >= values[0] - 1e-12).mean())


def shift_one(features: Floats, rng: np.random.Generator) -> Floats:
    """Shift the first feature, total charge, by 0.15 standard deviations."""
    return features + 0.15 * np.eye(features.shape[1])[0]


def contaminate(features: Floats, rng: np.random.Generator) -> Floats:
    """Replace 5 % by images of one kind: two standard deviations away in three features."""
    features = features.copy()
    number = len(features) // 20
    features[:number] = 0.5 * rng.standard_normal((number, features.shape[1]))
    features[:number, :3] += 2
    return features


def widen(features: Floats, rng: np.random.Generator) -> Floats:
    """Make every feature 10 % wider."""
    return 1.1 * features


def lengthen_tail(features: Floats, rng: np.random.Generator) -> Floats:
    """Double the features of the 10 % with the most charge."""
    return np.where(features[:, :1] > np.quantile(features[:, 0], 0.9), 2 * features, features)


def decorrelate(features: Floats, rng: np.random.Generator) -> Floats:
    """Permute one feature, brightest pixel, among half of the images: all marginals stay."""
    features = features.copy()
    half = len(features) // 2
    features[:half, 2] = rng.permutation(features[:half, 2])
    return features


#: Name -> function of features (n, D) and random numbers.
DEFECTS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "none": lambda features, rng: features,
    "one feature shifted by 0.15": shift_one,
    "5 % contamination": contaminate,
    "10 % wider": widen,
    "longer tail": lengthen_tail,
    "one feature decorrelated": decorrelate,
}

if __name__ == "__main__":
    main()
