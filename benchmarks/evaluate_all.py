"""Time and memory of a complete evaluation, and speed of the search for nearest neighbours.

    python benchmarks/evaluate_all.py [--train 50000] [--generated 10000] [--size 64] [--queries 200]

Simulates the sets, runs `pgen evaluate all`, and records its wall time and the highest memory of
its processes. Then it finds the nearest training image of generated images by Hamming and by
Jaccard distance, one after the other in this process: with
pgen.metrics.memorisation.nearest_neighbours, with NumPy on packed bits, and, for some of the
images, with scikit-learn's brute force on boolean arrays. Writes results/evaluate_all.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

import record
from pgen.data import open_images, read_all
from pgen.metrics.memorisation.nearest_neighbours import binarise, nearest

THRESHOLD = 10


def by_scikit_learn(queries: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the distances as pgen does: Hamming in pixels."""
    found = {}
    for name in ("hamming", "jaccard"):
        search = NearestNeighbors(n_neighbors=1, algorithm="brute", metric=name, n_jobs=-1).fit(train)
        found[name] = search.kneighbors(queries)[0][:, 0] * (train.shape[1] if name == "hamming" else 1)
    return found


def by_numpy(queries: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """Compare 64 pixels per word, one query after the other."""
    a, b = (np.packbits(each, axis=1).view(np.uint64) for each in (queries, train))
    found = {name: np.empty(len(a)) for name in ("hamming", "jaccard")}
    for i, query in enumerate(a):
        differ = np.bitwise_count(query ^ b).sum(1, dtype=np.int64)
        either = np.bitwise_count(query | b).sum(1, dtype=np.int64)
        found["hamming"][i], found["jaccard"][i] = differ.min(), (differ / np.maximum(either, 1)).min()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--generated", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--queries", type=int, default=200, help="of scikit-learn, which is slow")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, n, seed in (("train", given.train, 1), ("held_out", given.generated, 2), ("generated", given.generated, 3)):
            record.measured(*f"data simulate -n {n} --size {given.size} --seed {seed} --out {file}.h5".split(), folder=folder)
        command = "evaluate all --generated generated.h5 --train train.h5 --held-out held_out.h5 --threshold 10 --out report"
        whole = record.measured(*command.split(), folder=folder)
        results = json.loads((folder / "report" / "results.json").read_text())["generated"]["generated"]["metrics"]
        pixels = {file: read_all(open_images(str(folder / f"{file}.h5"))) for file in ("train", "generated")}

    train = pixels["train"].reshape(given.train, -1) > THRESHOLD
    asked = pixels["generated"].reshape(given.generated, -1) > THRESHOLD
    few = min(given.queries, given.generated)
    ways: dict[str, tuple[int, Callable[[], dict[str, np.ndarray]]]] = {
        "pgen": (len(asked), lambda: nearest(binarise(pixels["generated"], THRESHOLD), binarise(pixels["train"], THRESHOLD)).distance),
        "numpy": (len(asked), lambda: by_numpy(asked, train)),
        "scikit-learn": (few, lambda: by_scikit_learn(asked[:few], train)),
    }
    per_query, found = {}, {}
    for way, (count, search) in ways.items():
        began = time.monotonic()
        found[way] = search()
        per_query[way] = (time.monotonic() - began) / count
        print(way, per_query[way], flush=True)
    for way in ("scikit-learn", "numpy"):
        for distance in ("hamming", "jaccard"):
            # Of two blank images pgen says that they share nothing; others have no such rule.
            bright = asked[: len(found[way][distance])].any(1)
            wanted = found["pgen"][distance][: len(bright)]
            assert np.allclose(found[way][distance][bright], wanted[bright], atol=1e-6), (way, distance)
    ratios = {way: each / per_query["pgen"] for way, each in per_query.items() if way != "pgen"}
    print({"times faster": ratios})
    about = {
        "what": "pgen evaluate all, and nearest neighbours by Hamming and Jaccard distance",
        "train": given.train, "held_out": given.generated, "generated": given.generated, "size": given.size, "all": whole,
        "seconds_by_metric": {metric: each["seconds"] for metric, each in results.items()},
        "neighbours": {"queries": {way: count for way, (count, _) in ways.items()}, "seconds_per_query": per_query, "times_faster": ratios},
    }  # fmt: skip
    record.write("evaluate_all", about, "scikit-learn", "scipy")


if __name__ == "__main__":
    main()
