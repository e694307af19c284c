"""The fraction of noise that flow and ewm send to blank images, and of blank samples.

    python benchmarks/identical_targets.py [--folder FOLDER]

Simulates images, blanks a third, a tenth and a hundredth of them, trains both models on the images
and on their latent codes, and writes results/identical_targets.json (ten minutes on one core).
Commands whose output FOLDER already contains are not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import record
from kept import Kept
from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.engine.run import Run
from pgen.ot import Targets, assign

COUNT, SIZE, THRESHOLD = 1000, 16, 10
#: Every so many images is blank.
EVERY = (3, 10, 100)
#: Noise that is sent to targets, and samples that are drawn.
NOISE, SAMPLES = 50_000, 2000
#: A sample with less than so much of the mean charge of images that are not blank is called blank: a decoder rarely gives exactly nothing.
DIM = 0.05
#: By what the targets are: the options of the models.
MODELS = {
    "images": {"flow": "--n-hidden 8 --n-layers 1 --patch 4 --num-epochs 2", "ewm": "--n-hidden 64 --num-epochs 3"},
    "codes": {"flow": "--n-hidden 128 --batch-size 64 --num-epochs 150", "ewm": "--n-hidden 256 --num-epochs 12"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(parser.parse_args().folder or Path(temporary))
        rows = [row for every in EVERY for row in measure(kept, every)]
        about = {"what": "blank images among the targets", "images": COUNT, "noise": NOISE, "samples": SAMPLES}
        record.write("identical_targets", {**about, "rows": rows, "seconds": kept.seconds})


def measure(kept: Kept, every: int) -> list[dict[str, Any]]:
    """Return one row for each model and kind of targets."""
    store = f"blank-{every}.h5"
    if not (kept.folder / store).exists():
        images = read_all(open_images(f"simulate:n={COUNT},size={SIZE},seed=1"))
        images[::every] = 0
        write_images(kept.folder / store, ArrayImages(images))
    sizes = "--n-layers 2 --depth 16 --l-dim 12 --num-epochs 30 --sample-size 0"
    kept.pgen(f"train ae --data {store} --threshold {THRESHOLD} {sizes} --name ae-{every}")
    kept.pgen(f"deploy runs/ae-{every}")
    sources = {"images": f"{store} --threshold {THRESHOLD}", "codes": f"runs/ae-{every}/deploy/codes.pt"}
    rows = []
    for kind, models in MODELS.items():
        for model, options in models.items():
            name = f"{model}-{kind}-{every}"
            kept.pgen(f"train {model} --targets {sources[kind]} {options} --sample-size 0 --name {name}")
            row = {"targets": kind, "model": model, "blank": len(range(0, COUNT, every)) / COUNT, **measure_noise(kept.folder, name, every)}
            if kind == "codes":  # trained long enough to tell blank samples from others
                kept.pgen(f"sample runs/{name} -n {SAMPLES} --out {name}.h5")
                real = charge(kept.folder / store)
                is_blank = charge(kept.folder / f"{name}.h5") < DIM * real[real > 0].mean()
                row["blank_samples"] = float(is_blank.mean())
            rows.append(row)
            print(row, flush=True)
    return rows


def charge(path: Path) -> np.ndarray:
    """Return the total charge of each image."""
    return read_all(open_images(str(path))).sum((1, 2, 3), dtype=np.float64)


@torch.no_grad()
def measure_noise(folder: Path, name: str, every: int) -> dict[str, Any]:
    """Return the fraction of noise sent to blank targets, by flow's coupling or ewm's last pairs."""
    run = Run.open(folder / "runs" / name, device=torch.device("cpu"))
    model: Any = run.load_model("last:raw")
    with chdir(folder):  # where the run's data lie
        targets = run.data.tensor().flatten(1)
    is_blank = torch.arange(COUNT) % every == 0
    if run.plugin.spec.name == "ewm":
        index, chi2 = model.pair_hit, model.certified[0]
    else:
        index, chi2 = assigned(model, targets), model.certified["chi2"]
    return {"noise_to_blank": float(is_blank[index].double().mean()), "chi2": chi2}


def assigned(flow: Any, targets: Tensor) -> Tensor:
    """Return the targets of fresh noise."""
    noise = torch.randn(NOISE, targets.shape[1], generator=torch.Generator().manual_seed(1)) * flow.spread + flow.centre
    return assign(noise, Targets(targets), flow.coupling.psi, "sqeuclidean")[0]


if __name__ == "__main__":
    main()
