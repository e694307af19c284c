"""The built-in models and a DDPM, trained on the same images in about the same time.

    python benchmarks/compare_models.py real|simulated --train train.h5 --held-out held_out.h5 --peer PYTHON [--folder FOLDER]

Trains the models from the command line, one after the other, evaluates them together, and writes
results/compare_NAME.json (commands, times, every measure), ../docs/compare_NAME.png (distributions)
and ../docs/compare_NAME_images.png (generated images). Commands whose output FOLDER already
contains are not run again. PYTHON is an interpreter with diffusers and pgen, see peer_ddpm.py.

Charge at or below 10 ADC is set to 0 in all images (simulated ones have none below 10), so that no
model is recognised by faint charge that it never saw. The time of an auto-encoder counts for each
model of its codes. Two flows differ only in their coupling, and are also sampled in 4 and 8 steps;
the independent one is also sampled with fresh noise in each step. On simulated images, which have
labels, models are conditioned on type and momentum.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import record
from kept import Kept
from pgen.data import open_images, read_all
from pgen.metrics.fidelity.marginals import physics
from pgen.metrics.inputs import EvaluationSets
from pgen.report.figures.base import save_figure
from pgen.report.figures.distributions import plot_distributions
from pgen.report.figures.image_grid import plot_rows

DOCS = Path(__file__).parents[1] / "docs"
N = 1200
#: Charge that is taken for nothing.
FAINT = {"real": 10.0, "simulated": 9.0}
CONDITION = {"real": "", "simulated": "--condition type,momentum "}
#: The brightest simulated pixel is eight times as bright as the brightest real one: on its scale other charges differ by less.
AE = {"real": "", "simulated": f"{CONDITION['simulated']}--charge-weight 1000 "}
#: Of the auto-encoder whose codes are maps.
MAPS = "--arch map --code-noise 0.4 "
#: Such that each model, with the auto-encoder where it has one, takes about as long as the others: twelve minutes of one core.
EPOCHS = {
    "real": {
        "ae": 20, "maps": 12, "flow-independent": 65, "flow-semidiscrete": 65, "ewm-codes": 20, "ewm-maps": 12, "ewm-pixels": 5, "gan": 140,
    },
    "simulated": {
        "ae": 20, "maps": 15, "flow-independent": 60, "flow-semidiscrete": 60, "ewm-codes": 28, "ewm-maps": 20, "ewm-pixels": 7, "gan": 90,
    },
}  # fmt: skip
#: Auto-encoders: of vectors, which ewm does better with, and of maps, which flow does.
ENCODERS = ("ae", "maps")
#: What is sampled in another way besides: its name, the run and how.
OTHERWISE = {"flow-sde": ("flow-independent", "--solver sde --n-steps 128")}
#: Steps of Euler's in which the two flows are compared.
FEW = (4, 8)


def commands(name: str) -> dict[str, list[str]]:
    """Return the training commands of each model, auto-encoders first."""
    train, held_out = sources(name)
    pixels = f"{CONDITION[name]}--threshold {FAINT[name]:g} --scale sqrt"
    codes = {encoder: f"--targets runs/{encoder}/deploy/codes.pt {CONDITION[name]}" for encoder in ENCODERS}
    epochs = EPOCHS[name]
    ae = f"train ae --data {train} --held-out {held_out} {AE[name]}--threshold {FAINT[name]:g}"
    flow = f"train flow {codes['maps']}--batch-size 32 --lr 0.003 --ema 0.995"
    return {
        "ae": [f"{ae} --num-epochs {epochs['ae']} --name ae", "deploy runs/ae"],
        "maps": [f"{ae} {MAPS}--num-epochs {epochs['maps']} --name maps", "deploy runs/maps"],
        "flow-independent": [f"{flow} --coupling independent --num-epochs {epochs['flow-independent']} --name flow-independent"],
        "flow-semidiscrete": [f"{flow} --coupling semidiscrete --num-epochs {epochs['flow-semidiscrete']} --name flow-semidiscrete"],
        "ewm-codes": [f"train ewm {codes['ae']}--num-epochs {epochs['ewm-codes']} --name ewm-codes"],
        "ewm-maps": [f"train ewm {codes['maps']}--num-epochs {epochs['ewm-maps']} --name ewm-maps"],
        "ewm-pixels": [f"train ewm --targets {train} {pixels} --num-epochs {epochs['ewm-pixels']} --name ewm-pixels"],
        "gan": [f"train gan --data {train} {pixels} --p 0 --d-lr 0.0005 --g-lr 0.0001 --num-epochs {epochs['gan']} --name gan"],
    }


def sources(name: str) -> tuple[str, str]:
    """Return training and held-out images."""
    return f"train.h5:suppress={FAINT[name]:g}", f"held_out.h5:suppress={FAINT[name]:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["real", "simulated"])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--peer-seconds", type=float, default=720)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(given.folder or Path(name), given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    kept = Kept(folder)
    run = kept.pgen

    def link(name: str, target: Path) -> None:
        if not (folder / name).exists():
            (folder / name).symlink_to(target.resolve())

    link("train.h5", given.train)
    link("held_out.h5", given.held_out)

    trained, (train, held_out) = commands(given.name), sources(given.name)
    for command in itertools.chain(*trained.values()):
        run(command)
    models = [model for model in trained if model not in ENCODERS]
    for model in models:
        run(f"sample runs/{model} -n {N} --out {model}.h5")
    for name, (model, how) in OTHERWISE.items():
        run(f"sample runs/{model} -n {N} {how} --out {name}.h5")
    few = [(model, steps) for model in models if model.startswith("flow") for steps in FEW]
    for model, steps in few:
        run(f"sample runs/{model} -n {N} --solver euler --n-steps {steps} --out {model}-{steps}.h5")
    ddpm = f"--train {train} --threshold {FAINT[given.name]:g} --seconds {given.peer_seconds:g} --n {N} --out ddpm.h5"
    peer = [*shlex.split(given.peer), str(Path(__file__).with_name("peer_ddpm.py").resolve())]
    kept.timed(f"peer_ddpm.py {ddpm}", [*peer, *shlex.split(ddpm)])

    real = f"--train {train} --held-out {held_out} --threshold {FAINT[given.name]:g}"

    def judged(metric: str, sets: Iterable[str]) -> dict[str, Any]:
        return kept.evaluated(metric, (f"{each}.h5" for each in sets), real, f"report-{metric}")

    shown = [*OTHERWISE, *models, "ddpm"]
    for encoder in ENCODERS:
        link(f"reconstructed-{encoder}.h5", folder / f"runs/{encoder}/deploy/reconstructions.h5")
    results = judged("all", [*shown, *(f"reconstructed-{encoder}" for encoder in ENCODERS)])
    run(f"evaluate cost {' '.join(f'runs/{model}' for model in models)} --out cost")
    in_few_steps = {metric: judged(metric, (f"{model}-{steps}" for model, steps in few))["generated"] for metric in ("physics", "fpd")}
    faint = FAINT[given.name]
    pixels = {each: read_all(open_images(str(folder / f"{each}.h5:suppress={faint:g}"))) for each in ("train", "held_out", *shown)}
    found = {
        model: physics(EvaluationSets(pixels[model], pixels["train"], pixels["held_out"], threshold=faint)).histograms
        for model in shown
        if (pixels[model] > faint).any()
    }
    save_figure(plot_distributions(found), DOCS / f"compare_{given.name}.png")
    rows = {model: pixels[model][:12] for model in ("held_out", *shown)}
    save_figure(plot_rows(rows, vmax=100), DOCS / f"compare_{given.name}_images.png")
    about = {
        "what": f"models on {given.name} images",
        "seconds": kept.seconds,
        "ddpm": json.loads((folder / "ddpm.json").read_text()),
        "sets": results["sets"],
        "generated": results["generated"],
        "cost": json.loads((folder / "cost" / "cost.json").read_text()),
        "in_few_steps": in_few_steps,
    }
    record.write(f"compare_{given.name}", about, "scikit-learn", "scipy")


if __name__ == "__main__":
    main()
