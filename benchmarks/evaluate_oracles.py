"""Do FPD and KPD agree with those of jetnet, the reference implementation?

    pip install jetnet; python benchmarks/evaluate_oracles.py

Computes both with jetnet (with its default sample sizes) and with pgen on the same numbers:
Gaussian features with a known Frechet distance, and features of simulated images and of modified
ones. jetnet draws with replacement, so that its limit is the distance between the two finite sets,
including the bias of their size. That corresponds to pgen's value at N. Writes
results/evaluate_oracles.json.
"""

from __future__ import annotations

import numpy as np
from jetnet import evaluation

import record
from pgen.metrics.features.observables import quantities, quantities_to_features
from pgen.metrics.fidelity.frechet import frechet_distances
from pgen.metrics.fidelity.pooled_distances import mmd

N = 50_000
#: Sizes of samples for KPD: jetnet's median over batches.
KPD_BATCH, KPD_BATCHES = 5000, 10


def ours_kpd(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return median and spread of the unbiased MMD over batches, as jetnet does."""
    values = []
    for _ in range(KPD_BATCHES):
        both = np.concatenate([each[rng.choice(len(each), KPD_BATCH)] for each in (a, b)])
        kernel = (both @ both.T / both.shape[1] + 1) ** 4
        values.append(mmd(kernel)(np.arange(KPD_BATCH)[None], np.arange(KPD_BATCH, 2 * KPD_BATCH)[None])[0, 0])
    low, high = np.percentile(values, [16.275, 83.725])
    return float(np.median(values)), float((high - low) / 2)


def simulated() -> tuple[np.ndarray, np.ndarray]:
    """Return standardised features of simulated images, and of images with 3 % more charge."""
    from pgen.data import read_all
    from pgen.data.simulation.generate import simulate

    sets = [quantities_to_features(quantities(read_all(simulate(20_000, size=32, seed=seed)), 10)) for seed in (1, 2)]
    sets[1][:, [0, 2, 3, 11]] *= 1.03
    mean, spread = np.nanmean(sets[0], 0), np.nanstd(sets[0], 0)
    a, b = (np.nan_to_num((each - mean) / spread) for each in sets)
    return a, b


def main() -> None:
    rng = np.random.default_rng(0)
    shift = np.zeros(15)
    shift[:3] = 0.1
    cases = {
        "gaussian, 0.03 apart": (rng.standard_normal((N, 15)), rng.standard_normal((N, 15)) + shift),
        "gaussian, equal": (rng.standard_normal((N, 15)), rng.standard_normal((N, 15))),
        "simulated, 3 % more charge": simulated(),
    }
    rows = {}
    for name, (a, b) in cases.items():
        least = min(len(a), len(b))
        sizes = {"min_samples": int(0.4 * least), "max_samples": least}
        fpd = evaluation.fpd(a, b, **sizes, normalise=False)
        kpd = evaluation.kpd(a, b, num_batches=KPD_BATCHES, batch_size=KPD_BATCH, normalise=False)
        distance = frechet_distances(np.concatenate([a, b]), 4)
        orders = [
            [np.random.default_rng(seed + k).permutation(len(each))[None] for k, each in enumerate((a, b))] for seed in range(0, 10, 2)
        ]
        draws, (at_n, *_) = np.transpose([distance(first, len(a) + second)[0] for first, second in orders])
        rows[name] = {
            "FPD": {
                "pgen": float(np.mean(draws)),
                "pgen at N": at_n,
                "spread": float(np.std(draws)),
                "jetnet": float(fpd[0]),
                "jetnet error": float(fpd[1]),
            },
            "KPD": {
                **dict(zip(("pgen", "spread"), ours_kpd(a, b, rng), strict=True)),
                "jetnet": float(kpd[0]),
                "jetnet error": float(kpd[1]),
            },
        }
        print(name, rows[name], flush=True)
    record.write("evaluate_oracles", {"what": "FPD and KPD beside jetnet's, on the same numbers", "cases": rows}, "jetnet", "scipy")


if __name__ == "__main__":
    main()
