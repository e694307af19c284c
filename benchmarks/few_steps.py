"""A flow on codes that are maps: FPD and charge of samples by solver and number of steps.

    python benchmarks/few_steps.py --train train.h5 --held-out held_out.h5 [--folder FOLDER]

Trains an auto-encoder and a flow on its codes from the command line, as compare_models.py does (a
quarter of an hour on one core), and samples it three times with each sampler. Writes
results/few_steps.json: every FPD with its interval, the mean charge of samples relative to training
images, times, and how evenly noise is coupled to targets. Commands whose output FOLDER already
contains are not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import torch

import record
from kept import Kept
from pgen.data import open_images, read_all
from pgen.engine.run import Run
from pgen.ot import Targets, assign

N, SEEDS = 3473, (0, 1, 2)
#: Charge that is zero to both models, and in the evaluation.
FAINT = 10
TRAIN, HELD_OUT = f"train.h5:suppress={FAINT}", f"held_out.h5:suppress={FAINT}"
COMMANDS = (
    f"train ae --data {TRAIN} --held-out {HELD_OUT} --threshold {FAINT} --arch map --code-noise 0.4 --num-epochs 12 --name maps",
    "deploy runs/maps",
    "train flow --targets runs/maps/deploy/codes.pt --batch-size 32 --lr 0.003 --ema 0.995 --num-epochs 65 --name flow",
)
SAMPLERS = {"Euler 2": "euler", "Euler 4": "euler", "Euler 8": "euler", "Heun 16": "heun"}
#: Noise that is assigned to targets, to see which they are.
NOISE = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(options.folder or Path(temporary))
        for name, path in (("train.h5", options.train), ("held_out.h5", options.held_out)):
            if not (kept.folder / name).exists():
                (kept.folder / name).symlink_to(path.resolve())
        for command in COMMANDS:
            kept.pgen(command)
        result = {"what": "a flow in few steps", "n": N, "samplers": measure_samplers(kept), "coupling": measure_coupling(kept.folder)}
        record.write("few_steps", {**result, "seconds": kept.seconds}, "scikit-learn", "scipy")


def measure_samplers(kept: Kept) -> dict[str, Any]:
    """Return FPD and charge of three draws of each sampler."""
    charge = mean_charge(kept.folder / TRAIN)
    files = {name: [f"{name.replace(' ', '-').lower()}-{seed}.h5" for seed in SEEDS] for name in SAMPLERS}
    for name, paths in files.items():
        for seed, path in zip(SEEDS, paths, strict=True):
            how = f"--solver {SAMPLERS[name]} --n-steps {name.split()[1]} --seed {seed}"
            kept.pgen(f"sample runs/flow -n {N} {how} --out {path}")
    every = [path for paths in files.values() for path in paths]
    found = kept.evaluated("fpd", every, f"--train {TRAIN} --held-out {HELD_OUT} --threshold {FAINT}", "fpd")["generated"]
    measures = {path: each["metrics"]["fpd"]["measures"][0] for path, each in zip(every, found.values(), strict=True)}
    return {
        name: {
            "fpd": float(np.mean([measures[path]["value"] for path in paths])),
            "draws": [measures[path] for path in paths],
            "charge": [mean_charge(kept.folder / path) / charge for path in paths],
        }
        for name, paths in files.items()
    }


def mean_charge(path: Path) -> float:
    """Return the mean total charge of images."""
    return float(read_all(open_images(str(path))).sum((1, 2, 3), dtype=np.float64).mean())


@torch.no_grad()
def measure_coupling(folder: Path) -> dict[str, Any]:
    """Return charge and pixels of the images that noise is coupled to, relative to all images."""
    run = Run.open(folder / "runs/flow", device=torch.device("cpu"))
    model: Any = run.load_model("last:raw")
    with chdir(folder):  # where the run's data lie
        targets = Targets(run.data.tensor())
    noise = torch.randn(NOISE, targets.shape[1], generator=torch.Generator().manual_seed(1))
    index, _ = assign(noise, targets, model.coupling.psi, "sqeuclidean")
    images = read_all(open_images(str(folder / TRAIN)))
    charge, pixels = images.sum((1, 2, 3), dtype=np.float64), (images > FAINT).sum((1, 2, 3))
    hit = index.numpy()
    return {
        "noise": NOISE,
        **model.certified,
        "charge": float(charge[hit].mean() / charge.mean()),
        "pixels": float(pixels[hit].mean() / pixels.mean()),
    }


if __name__ == "__main__":
    main()
