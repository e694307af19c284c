"""Results of a preset: train its models, sample, and evaluate on held-out images.

    python benchmarks/presets.py NAME [--data PATH] [--models MODEL ...] [--busy]

Writes ../pgen/presets/NAME.json: the options, the commands with their times, and for each model the
measures in `figures` below. --data is the folder with MNIST's four files (mnist), or the npz of
real planes (tracks64); the other presets use simulated images. --models measures only some models
and keeps what the file says about the others. --busy records that other work ran on the machine, so
that times are too long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import record
from kept import Kept
from pgen.cli.commands.presets import FOLDER, load_tables

CROP = "--size 64 --threshold 10 --min-occupancy 0.01"
CODES = "--targets runs/ae/deploy/codes.pt"

#: By preset: what the images are, the name by which --data is linked, commands before training, what a model trains on besides what the
#: preset says, real images, and the charge above which a pixel is lit in the evaluation.
JOBS: dict[str, dict[str, Any]] = {
    "mnist": {
        "images": "MNIST, its training and test images",
        "link": "mnist",
        "before": [],
        "train": {"gan": "--data mnist:root=mnist", "ae": "--data mnist:root=mnist", "ewm": "--targets mnist:root=mnist,limit=10000"},
        "real": ("mnist:root=mnist,limit=10000", "mnist:root=mnist,split=test"),
        "lit": 127,
    },
    "simulated64": {
        "images": "simulated",
        "before": ["data simulate -n 2500 --size 64 --seed 1 --out train.h5", "data simulate -n 500 --size 64 --seed 2 --out held_out.h5"],
        "train": {"ae": "", "ewm": CODES},
        "real": ("train.h5", "held_out.h5"),
        "lit": 10,
    },
    "tracks64": {
        "images": "real: 40 MicroBooNE planes for training and 8 held out, cut into tiles",
        "link": "planes.npz",
        "before": [
            "data split planes.npz --held-out 8 --out planes",
            f"data crop planes/train.h5 {CROP} --out train.h5",
            f"data crop planes/held_out.h5 {CROP} --out held_out.h5",
        ],
        "train": {
            "gan": "--data train.h5 --held-out held_out.h5",
            "ae": "--data train.h5 --held-out held_out.h5",
            "ewm": CODES,
        },
        "real": ("train.h5", "held_out.h5"),
        "lit": 10,
    },
    "larcv256-conv": {
        "images": "simulated, 256x256: no set of real images of this size is at hand that is large enough",
        "before": [
            "data simulate -n 1800 --size 256 --seed 1 --out simulated.h5",
            "data split simulated.h5 --held-out 300 --out .",
        ],
        "train": {"ae": "--data train.h5 --held-out held_out.h5", "ewm": CODES},
        "real": ("train.h5", "held_out.h5"),
        "lit": 10,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--busy", action="store_true")
    given = parser.parse_args()
    job = JOBS[given.name]
    if ("link" in job) != (given.data is not None):
        parser.error(f"{given.name} is measured {'on --data PATH' if 'link' in job else 'without --data'}")
    options = load_tables(given.name)
    models = given.models or list(options)
    if "ewm" in models and job["train"]["ewm"] == CODES and "ae" not in models:
        parser.error("ewm is trained on codes of ae; measure both")
    path = FOLDER / f"{given.name}.json"
    before = json.loads(path.read_text()) if given.models and path.exists() else {}
    if changed := [each for each, old in before.get("options", {}).items() if each not in models and old != options.get(each)]:
        parser.error(f"the options of {', '.join(changed)} have changed since; measure all models")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = Kept(folder)
        run = kept.pgen
        if given.data:
            (folder / job["link"]).symlink_to(given.data.resolve())

        for command in job["before"]:
            run(command)
        trained = {}
        for model in models:
            source = job["train"][model]
            if source == CODES:
                run("deploy runs/ae")
            trained[model] = run(" ".join(f"train {model} --preset {given.name} {source} --name {model}".split()))
        found = figures(folder, job, models, run)
    result = {
        "what": "what this preset gives; physics is the mean W1 of thirteen quantities, in standard deviations, beside its floor",
        "images": job["images"],
        "times": "of a machine that other work shared: too long" if given.busy else "of a machine alone",
        "options": options,
        "training_seconds": trained,
        "figures": found,
        "commands_and_seconds": kept.seconds,
    }
    for key in ("training_seconds", "figures", "commands_and_seconds"):
        result[key] = before.get(key, {}) | result[key]
    print(record.write(given.name, result, "scipy", folder=FOLDER))


def figures(folder: Path, job: dict[str, Any], models: list[str], run: Any) -> dict[str, dict[str, Any]]:
    """Return held-out error / blank (ae), physics (generators) and certificate (ewm)."""
    train, held_out = job["real"]
    found: dict[str, dict[str, Any]] = {model: {} for model in models}
    if "ae" in models:
        run(f"evaluate reconstruction runs/ae --held-out {held_out} --out reconstruction")
        checkpoints = json.loads((folder / "reconstruction/reconstruction.json").read_text())["checkpoints"]
        step, last = list(checkpoints.items())[-1]
        found["ae"] = {"step": int(step), "held_out_mse_over_blank": last["held_out"]["mse"] / last["held_out"]["predict_zero_mse"]}
    generators = [model for model in models if model != "ae"]
    if not generators:
        return found
    for model in generators:
        run(f"sample runs/{model} -n 3000 --out {model}.h5")
    files = " ".join(f"--generated {model}.h5" for model in generators)
    run(f"evaluate physics {files} --train {train} --held-out {held_out} --threshold {job['lit']} --out physics")
    for name, each in json.loads((folder / "physics/results.json").read_text())["generated"].items():
        measures = {measure["name"]: measure for measure in each["metrics"]["physics"]["measures"]}
        kept = ("value", "floor", "interval", "n", "verdict")
        found[name]["physics"] = {key: measures["mean W1"][key] for key in kept}
        found[name]["blank_images"] = measures["blank images"]["value"]
    if "ewm" not in models:
        return found
    certificates = [line for line in map(json.loads, (folder / "runs/ewm/metrics.jsonl").read_text().splitlines()) if "chi2" in line]
    found["ewm"] |= {key: certificates[-1][key] for key in ("chi2", "never_hit")}
    return found


if __name__ == "__main__":
    main()
