"""The built-in models, and diffusers' DDPM, on the same images in about the same training time, and what pgen evaluate says of them.

    python benchmarks/compare_models.py real|simulated --train train.h5 --held-out held_out.h5 --peer PYTHON [--folder FOLDER]

trains them by the command line, one after the other, evaluates them together, and writes results/compare_NAME.json (commands, times, every
measure) and ../docs/compare_NAME.png (distributions) and ../docs/compare_NAME_images.png (generated images). What FOLDER holds of an
earlier call is not done again. PYTHON: one that has diffusers besides pgen, as ``PYTHONPATH=... python`` would; see peer_ddpm.py.

Charge at or below 10 ADC is taken for nothing in all images, so that no model is told from real images by a halo that it was not shown. The
time of the auto-encoder counts for each model that is fitted to its codes. Two flows differ in their coupling alone, and are sampled with
4, 8 and 32 evaluations of the network besides. Simulated images have labels: there, ewm and flow on codes are made for type and momentum.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import record
from pgen.data import open_images, read_all
from pgen.metrics.physics import physics
from pgen.metrics.sets import Sets
from pgen.report.distributions import save_distributions
from pgen.report.grid import save_rows

DOCS = Path(__file__).parents[1] / "docs"
TRAIN, HELD_OUT = "train.h5:suppress=10", "held_out.h5:suppress=10"
N = 2000
CODES = "--targets runs/ae/deploy/codes.pt"
#: Evaluations of the network in a sample, and the options that make so many.
STEPS = {4: "--solver euler --n-steps 4", 8: "--solver euler --n-steps 8", 32: "--solver heun --n-steps 16"}


def commands(told: str) -> dict[str, list[str]]:
    """Of each model, the commands that train it after the auto-encoder. told: the condition of models on codes."""
    flow = f"train flow {CODES}{told} --n-hidden 256 --num-epochs 450 --ema 0.99"
    pixels = f"--data {TRAIN} --threshold 10 --scale sqrt"
    return {
        "gan": [f"train gan {pixels} --p 0 --d-lr 0.0005 --g-lr 0.0001 --num-epochs 200 --checkpoint 1000 --name gan"],
        "ewm-pixels": [f"train ewm {pixels} --num-epochs 14 --name ewm-pixels"],
        "ewm-codes": [f"train ewm {CODES}{told} --num-epochs 24 --name ewm-codes"],
        "flow-independent": [f"{flow} --coupling independent --name flow-independent"],
        "flow-semidiscrete": [f"{flow} --coupling semidiscrete --chi2 0.03 --name flow-semidiscrete"],
    }


ENCODER = [
    f"train ae --data {TRAIN} --held-out {HELD_OUT} --threshold 10 --num-epochs 32 --name ae",
    "deploy runs/ae",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["real", "simulated"])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--peer-seconds", type=float, default=600)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        compare(folder, given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    kept = folder / "seconds.json"
    seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for link, target in (("train.h5", given.train), ("held_out.h5", given.held_out)):
        if not (folder / link).exists():
            (folder / link).symlink_to(target.resolve())

    def timed(line: str, words: Sequence[str], shell: bool = False) -> None:
        if line not in seconds:
            began = time.monotonic()
            subprocess.run(" ".join(words) if shell else words, check=True, cwd=folder, shell=shell)
            seconds[line] = round(time.monotonic() - began, 1)
            kept.write_text(json.dumps(seconds))
            print(line, seconds[line], flush=True)

    def run(command: str) -> None:
        timed(f"pgen {command}", [sys.executable, "-m", "pgen", *shlex.split(command)])

    trained = commands(" --condition type,momentum" if given.name == "simulated" else "")
    for command in [*ENCODER, *(command for each in trained.values() for command in each)]:
        run(command)
    for model in trained:
        run(f"sample runs/{model} -n {N} --out {model}.h5")
    for model in ("flow-independent", "flow-semidiscrete"):
        for evaluations, options in STEPS.items():
            run(f"sample runs/{model} -n {N} {options} --out {model}-{evaluations}.h5")
    ddpm = f"--train {TRAIN} --threshold 10 --seconds {given.peer_seconds:g} --n {N} --out ddpm.h5"
    timed(f"peer_ddpm.py {ddpm}", [given.peer, str(Path(__file__).with_name("peer_ddpm.py").resolve()), ddpm], shell=True)

    sets = [*trained, "ddpm", *(f"flow-{coupling}-{steps}" for coupling in ("independent", "semidiscrete") for steps in (4, 8))]
    files = " ".join(f"--generated {model}.h5" for model in sets)
    run(f"evaluate all {files} --train {TRAIN} --held-out {HELD_OUT} --threshold 10 --out report")
    run(f"evaluate reconstruction runs/ae --held-out {HELD_OUT}")
    results = json.loads((folder / "report" / "results.json").read_text())
    shown = [model for model in [*trained, "ddpm"] if model != "flow-independent"]
    pixels = {each: read_all(open_images(str(folder / f"{each}.h5:suppress=10"))) for each in ("train", "held_out", *shown)}
    found = {
        model: physics(Sets(pixels[model], pixels["train"], pixels["held_out"], threshold=10)).histograms
        for model in shown
        if (pixels[model] > 10).any()
    }
    save_distributions(DOCS / f"compare_{given.name}.png", found)
    rows = {model: pixels[model][:12] for model in ("held_out", *shown)}
    save_rows(DOCS / f"compare_{given.name}_images.png", rows, vmax=100)
    about = {
        "what": f"models on {given.name} images",
        "seconds": seconds,
        "ddpm": json.loads((folder / "ddpm.json").read_text()),
        "sets": results["sets"],
        "generated": results["generated"],
    }
    record.write(f"compare_{given.name}", about, "scikit-learn", "scipy")


if __name__ == "__main__":
    main()
