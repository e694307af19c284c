"""Are verdicts right where nothing is wrong? Real images against real ones, many times.

    python benchmarks/calibration.py [--images FILE] [--metrics physics,fpd,...] [--repetitions 200] [--sizes 100,300,1000]

Draws three disjoint sets of n images from one pool, simulated by default, as generated, training and
held-out images, and evaluates them. Of every measure it counts how often p <= 0.05 (the type-1
error, nominal 5 %) and how often the 95 % interval covers the floor, and how often Holm's method
rejects any headline measure. Writes results/calibration.json (or, with --metrics, adds these
metrics to it) and ../docs/calibration.png.

The pool is finite, but the permutation test is exact for draws from any pool. Optimal matchings are
of at most 300 images here, and there are 199 permutations in place of 999, which keeps the level.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from typing import Any

import numpy as np
from scipy import stats

import record
from pgen.data import open_images, read_all
from pgen.data.simulation.generate import simulate
from pgen.metrics.fidelity import wasserstein
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import LEVEL, PerSet
from pgen.metrics.runner import evaluate
from pgen.metrics.significance import holm
from pgen.report.figures.base import new_figure, save_figure

METRICS = ("physics", "profiles", "fpd", "kpd", "ks", "nplm", "wasserstein", "prdc", "memorisation", "closure")
POOL, SIZE = 24_000, 32
PERMUTATIONS = 199


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="a source of images in place of simulated ones")
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--sizes", default="100,300,1000")
    arguments = parser.parse_args()
    wasserstein.W1_LIMIT = 300
    source = open_images(arguments.images) if arguments.images else simulate(POOL, size=SIZE, seed=11)
    images, labels = read_all(source), dict(source.labels)
    metrics = arguments.metrics.split(",")
    path = record.RESULTS / "calibration.json"
    result: dict[str, Any] = {"what": "real against real images", "pool": len(images), "sizes": {}}
    if path.exists() and metrics != list(METRICS):
        result = {key: value for key, value in json.loads(path.read_text()).items() if key in (*result, "settings")}
    for n in map(int, arguments.sizes.split(",")):
        begin = time.monotonic()
        rows = count(images, labels, n, metrics, arguments.repetitions)
        result["sizes"].setdefault(str(n), {}).update(rows)
        print(f"n = {n}: {time.monotonic() - begin:.0f} s", flush=True)
        result["settings"] = {"permutations": PERMUTATIONS, "image": list(images.shape[1:])}
        record.write("calibration", result, "scipy", "scikit-learn")
    plot(result["sizes"])


def count(images: np.ndarray, labels: dict[str, np.ndarray], n: int, metrics: list[str], repetitions: int) -> dict[str, Any]:
    """Return, for each measure, how often it was significant and its interval covered the floor."""
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"repetitions": 0, "significant": 0, "covered": 0, "verdicts": defaultdict(int)})
    for seed in range(repetitions):
        parts = np.random.default_rng(seed).permutation(len(images))[: 3 * n].reshape(3, n)
        of_sets = {name: {key: values[part] for key, values in labels.items()} for name, part in zip(PerSet._fields, parts, strict=True)}
        sets = EvaluationSets(*(images[part] for part in parts), threshold=9.0, seed=seed, labels=of_sets, permutations=PERMUTATIONS)
        results = evaluate(sets, metrics).results
        headline: dict[str, float] = {}
        for metric, of_metric in results.items():
            for m in of_metric.measures:
                row = rows[f"{metric}: {m.name}"]
                row["repetitions"] += 1
                row["significant"] += m.p_value <= LEVEL
                row["covered"] += m.interval[0] <= m.floor <= m.interval[1]
                row["verdicts"][m.verdict] += 1
                if m.headline:
                    headline[f"{metric}: {m.name}"] = m.p_value
        family = rows[f"Holm over {len(headline)} headline measures of {', '.join(metrics)}"]
        family["repetitions"] += 1
        family["significant"] += min(holm(headline).values()) <= LEVEL
    return {name: _finish(row) for name, row in rows.items()}


def _finish(row: dict[str, Any]) -> dict[str, Any]:
    rates = {"type_1": "significant", "coverage": "covered"} if row["verdicts"] else {"type_1": "significant"}
    finished: dict[str, Any] = {"repetitions": row["repetitions"]}
    for name, key in rates.items():
        interval = stats.binomtest(int(row[key]), row["repetitions"]).proportion_ci()
        finished[name] = [row[key] / row["repetitions"], round(interval.low, 4), round(interval.high, 4)]
    return finished | ({"verdicts": dict(row["verdicts"])} if row["verdicts"] else {})


def plot(sizes: dict[str, Any]) -> None:
    """Plot type-1 error and coverage of every measure."""
    figure = new_figure(9, 4)
    axes = figure.subplots(1, 2)
    for axis, key, nominal in zip(axes, ("type_1", "coverage"), (0.05, 0.95), strict=True):
        for n, rows in sizes.items():
            values = np.sort([row[key][0] for row in rows.values() if key in row])
            axis.plot(values, np.arange(1, len(values) + 1) / len(values), drawstyle="steps-post", label=f"n = {n}")
        axis.axvline(nominal, color="k", linestyle=":")
        axis.set(xlabel={"type_1": "type-1 error", "coverage": "coverage of the 95 % interval"}[key], ylabel="fraction of the measures")
        axis.legend()
    save_figure(figure, record.RESULTS.parents[1] / "docs" / "calibration.png")


if __name__ == "__main__":
    main()
