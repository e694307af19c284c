"""Which metric sees what? Real images with one planted defect, many times.

    python benchmarks/power.py [--defects bent,smooth,...] [--metrics physics,...] [--repetitions 40] [-n 500]

Draws three disjoint sets of n images from one pool of simulated images with tracks, plants a defect
in the generated set, and counts how often each measure is significantly worse (p <= 0.05). Writes
results/power.json; with --defects or --metrics, what is already in it is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from scipy import ndimage

import record
from pgen.data import read_all
from pgen.data.images import FloatArray
from pgen.data.simulation.generate import simulate
from pgen.metrics.fidelity import wasserstein
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import LEVEL
from pgen.metrics.runner import evaluate

METRICS = ("physics", "profiles", "fpd", "kpd", "ks", "nplm", "wasserstein", "prdc", "memorisation")
POOL, SIZE, THRESHOLD = 6000, 64, 9.0
PERMUTATIONS = 199
Defect = Callable[[FloatArray, FloatArray], FloatArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defects", default=",".join(DEFECTS))
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("-n", type=int, default=500)
    arguments = parser.parse_args()
    wasserstein.W1_LIMIT = 300
    images = read_all(simulate(POOL, size=SIZE, seed=12))
    path = record.RESULTS / "power.json"
    defects = json.loads(path.read_text())["defects"] if path.exists() else {}
    for name in arguments.defects.split(","):
        begin, worse = time.monotonic(), Counter[str]()
        for seed in range(arguments.repetitions):
            generated, train, held_out = (
                images[part] for part in np.random.default_rng(seed).permutation(len(images))[: 3 * arguments.n].reshape(3, -1)
            )
            sets = EvaluationSets(
                DEFECTS[name](generated, train), train, held_out, threshold=THRESHOLD, seed=seed, permutations=PERMUTATIONS
            )
            for metric, result in evaluate(sets, arguments.metrics.split(",")).results.items():
                for m in result.measures:
                    worse[f"{metric}: {m.name}"] += m.p_value <= LEVEL and (m.value > m.floor) == (m.better == "low")
        defects.setdefault(name, {}).update({measure: count / arguments.repetitions for measure, count in worse.items()})
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
        settings = {"images of a set": arguments.n, "repetitions": arguments.repetitions, "pool": POOL, "size": SIZE}
        record.write("power", {"what": "share of repetitions in which a measure is worse", **settings, "defects": defects}, "scipy")


def bend(images: FloatArray, sagitta: float) -> FloatArray:
    """Bend each image's charge to a parabola of this sagitta in pixels, across its longer extent."""
    bent = np.zeros_like(images)
    for image, target in zip(images[:, 0], bent[:, 0], strict=True):
        rows, columns = np.nonzero(image)
        if not len(rows):
            continue
        along, across = (rows, columns) if np.ptp(rows) > np.ptp(columns) else (columns, rows)
        middle, half = (along.min() + along.max()) / 2, max(1, np.ptp(along) / 2)
        moved = np.clip(across + np.rint(sagitta * (1 - ((along - middle) / half) ** 2)).astype(int), 0, SIZE - 1)
        np.maximum.at(target, (rows, moved) if along is rows else (moved, columns), image[rows, columns])
    return bent


def remove_specks(images: FloatArray) -> FloatArray:
    """Remove clusters of a single pixel."""
    neighbours = ndimage.convolve((images > 0).astype(np.int32), np.ones((1, 1, 3, 3), np.int32), mode="constant")
    return np.where(neighbours > 1, images, np.float32(0))


def smooth(images: FloatArray) -> FloatArray:
    """Smooth as a decoder does, by a third of a pixel, and remove what falls below threshold."""
    blurred = ndimage.gaussian_filter(images, (0, 0, 0.35, 0.35))
    return np.where(blurred > THRESHOLD, blurred, np.float32(0))


def cut_short(images: FloatArray) -> FloatArray:
    """End every track earlier: charge in the outer fifth of its longer extent is removed."""
    short = images.copy()
    for image in short[:, 0]:
        rows, columns = np.nonzero(image)
        if len(rows):
            axis, along = (0, rows) if np.ptp(rows) > np.ptp(columns) else (1, columns)
            last = along.max() - int(0.2 * np.ptp(along))
            image[(slice(last + 1, None), slice(None)) if axis == 0 else (slice(None), slice(last + 1, None))] = 0
    return short


def drop_mode(images: FloatArray) -> FloatArray:
    """Replace the fifth with the most charge by copies of others."""
    charge = images.sum((1, 2, 3))
    order = np.argsort(charge)
    fifth = len(images) // 5
    images = images.copy()
    images[order[-fifth:]] = images[order[:fifth]][:, :, ::-1]
    return images


#: Name -> function of generated and training images.
DEFECTS: dict[str, Defect] = {
    "none": lambda images, _: images,
    "bent by 1 pixel": lambda images, _: bend(images, 1.0),
    "bent by 2 pixels": lambda images, _: bend(images, 2.0),
    "no single-pixel clusters": lambda images, _: remove_specks(images),
    "smooth": lambda images, _: smooth(images),
    "shifted by 3 pixels": lambda images, _: np.roll(images, 3, axis=2),
    "dimmed by 10 %": lambda images, _: images * np.float32(0.9),
    "tracks cut short": lambda images, _: cut_short(images),
    "brightest fifth missing": lambda images, _: drop_mode(images),
    "10 % copies": lambda images, train: np.concatenate([train[: len(images) // 10], images[len(images) // 10 :]]),
    "fractional charge": lambda images, _: np.where(images > 0, images + np.float32(0.37), images),
}

if __name__ == "__main__":
    main()
