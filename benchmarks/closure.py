"""Closure of conditions: do generated images match the type and momentum they were requested for?

    python benchmarks/closure.py [--folder FOLDER]

Simulates particles, trains an auto-encoder with maps and a flow on its codes (an hour and a half on
one core), and writes results/closure.json and ../docs/closure_images.png: closure and FPD of
samples with several solvers and guidance weights; of reconstructed held-out images, which show what
the auto-encoder loses; and of real held-out images, the floor. Commands whose output FOLDER already
contains are not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import record
from kept import Kept
from pgen.data import open_images
from pgen.report.figures.base import save_figure
from pgen.report.figures.image_grid import plot_rows

DOCS = Path(__file__).parents[1] / "docs"

PARTICLES, HELD_OUT = 42_000, 2_000
#: Simulated images have no charge below 10 ADC.
FAINT = 9
REAL = f"--train particles/train.h5 --held-out particles/held_out.h5 --threshold {FAINT}"
COMMANDS = (
    f"data simulate -n {PARTICLES} --size 64 --seed 2 --out particles.h5",
    f"data split particles.h5 --held-out {HELD_OUT} --out particles",
    f"train ae --data particles/train.h5 --held-out particles/held_out.h5 --threshold {FAINT} --condition type,momentum "
    "--arch map --code-noise 0.4 --charge-weight 1000 --num-epochs 12 --name ae",
    "deploy runs/ae",
    "deploy runs/ae --data particles/held_out.h5 --out held_out",
    "train flow --targets runs/ae/deploy/codes.pt --condition type,momentum "
    "--coupling independent --batch-size 64 --lr 0.003 --ema 0.999 --num-epochs 50 --name flow",
)
#: How the flow is sampled.
SAMPLED = {
    "flow": "",
    "flow, sde, 64 steps": "--solver sde --n-steps 64",
    "flow, sde, 128 steps, guidance 2": "--solver sde --n-steps 128 --guidance 2",
    "flow, sde, 256 steps, guidance 2": "--solver sde --n-steps 256 --guidance 2",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(parser.parse_args().folder or Path(temporary))
        for command in COMMANDS:
            kept.pgen(command)
        images = {"reconstructions of held-out images": "held_out/reconstructions.h5"}
        for number, (name, how) in enumerate(SAMPLED.items()):
            images[name] = f"sampled-{number}.h5"
            kept.pgen(" ".join(f"sample runs/flow -n {HELD_OUT} {how} --out {images[name]}".split()))
        draw(kept, images)
        record.write(
            "closure", {"what": "closure of simulated particles", "seconds": kept.seconds, "sets": judged(kept, images)}, "scikit-learn"
        )


def judged(kept: Kept, images: dict[str, str]) -> dict[str, dict[str, object]]:
    """Return the measures of each set of images (name -> file)."""
    found: dict[str, dict[str, object]] = {name: {} for name in images}
    for metric in ("closure", "fpd"):
        results = kept.evaluated(metric, images.values(), REAL, metric)["generated"]
        for name, each in zip(found, results.values(), strict=True):
            found[name] |= {measure["name"]: measure for measure in each["metrics"][metric]["measures"]}
    return found


def draw(kept: Kept, images: dict[str, str]) -> None:
    """Draw three images of each particle from each set."""
    rows = {}
    for name, path in {"real held-out images": "particles/held_out.h5", **images}.items():
        found = open_images(str(kept.folder / path))
        pdg = found.labels["pdg"]
        rows[name] = np.concatenate([found.read(np.flatnonzero(pdg == value)[:3]) for value in np.unique(pdg)])
    save_figure(plot_rows(rows, vmax=100), DOCS / "closure_images.png")


if __name__ == "__main__":
    main()
