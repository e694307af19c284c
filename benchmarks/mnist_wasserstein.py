"""MNIST: how close do `ewm` and `gan` come to held-out digits in the same training time?

    python benchmarks/mnist_wasserstein.py --mnist FOLDER [--seconds 500] [--images 10000] [--compare 2000]

Both are trained from the command line on the same images, one after the other, for the same number
of seconds. At every checkpoint, the script computes the exact W1 (POT's ot.emd2, ground cost l1,
pixels in [-1, 1]) between equally many generated and held-out images. The floor is that of real
training images. `ae` is trained too; its result is the held-out error relative to predicting zero.
FOLDER has the four IDX files. Writes results/mnist_wasserstein.json and .png.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import ot
from scipy.spatial.distance import cdist

import record
from pgen.data import open_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.inference.reconstruct import reconstruct_checkpoints
from pgen.engine.inference.sampler import generate_samples
from pgen.engine.run import Run
from pgen.engine.runtime.seeding import generator

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OPTIONS = {
    # The epochs are without end here, so the learning rate must not follow them.
    "ewm": "--z-dim 32 --ots-steps 240 --mem-size 81920 --lr-decay 1",
    "gan": "",
    "ae": "--n-layers 2 --l-dim 32 --loss-fn mse --lr-decay 1",
}


SEED = 0


def train(model: str, source: str, root: Path, seconds: float, every: int) -> Path:
    """Train for the given time, from the first step; return the run folder."""
    data = "--targets" if model == "ewm" else "--data"
    options = f"{OPTIONS[model]} --seed {SEED} --num-epochs 100000 --checkpoint {every} --keep-checkpoints 10000 --name {model}"
    command = [sys.executable, "-m", "pgen", "train", model, data, source, *options.split(), "--save-root", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    metrics = root / model / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    if process.wait() != 128 + signal.SIGTERM:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return root / model


def pixels(source: str, n: int) -> np.ndarray:
    """Return the first n images, (n, 784) in [-1, 1]."""
    images = open_images(f"{source},limit={n}")
    return np.asarray(images.read(range(n))).reshape(n, -1).astype(np.float64) / 127.5 - 1


def w1(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact W1 of two equally large sets with l1 ground cost."""
    return float(ot.emd2([], [], cdist(a, b, "cityblock"), numItermax=10_000_000))


def generated(run: Run, step: int | None, n: int) -> np.ndarray:
    model = run.new_model().eval() if step is None else run.load_model(str(step))
    images = generate_samples(run, model, n, generator(0, "benchmark", 0, run.device))
    return images.reshape(n, -1).double().numpy() * 2 - 1


def curve(path: Path, held_out: np.ndarray) -> list[dict[str, float]]:
    """Return W1 at the start and at each checkpoint, with training times from the files."""
    run = Run.open(path)
    began = run.folder.config.stat().st_mtime
    points = [{"seconds": 0.0, "step": 0, "w1": w1(generated(run, None, len(held_out)), held_out)}]
    for step in checkpoints.steps(run.folder):
        seconds = checkpoints.path_of(run.folder, step).stat().st_mtime - began
        points.append({"seconds": round(seconds, 1), "step": step, "w1": w1(generated(run, step, len(held_out)), held_out)})
        print(f"{path.name} step {step}: {points[-1]['w1']:.1f} after {seconds:.0f} s", flush=True)
    return points


def draw(curves: dict[str, list[dict[str, float]]], floor: float, out: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in curves.items():
        axes.plot([p["seconds"] for p in points], [p["w1"] for p in points], marker=".", label=name)
    axes.axhline(floor, color="black", linestyle="--", label="floor: train against held-out")
    axes.set(xlabel="training time [s]", ylabel="exact W1 to held-out images (l1, pixels in [-1, 1])", yscale="log", title="MNIST")
    axes.set_yticks([100, 150, 200, 300, 500, 800], ["100", "150", "200", "300", "500", "800"])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(out, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--compare", type=int, default=2_000)
    given = parser.parse_args()
    train_source, test_source = (f"mnist:root={given.mnist.resolve()},split={split}" for split in ("train", "test"))
    held_out = pixels(test_source, given.compare)
    floor = w1(pixels(train_source, given.compare), held_out)
    print(f"floor {floor:.1f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = f"{train_source},limit={given.images}"
        curves = {
            "ewm": curve(train("ewm", source, root, given.seconds, 500), held_out),
            "gan": curve(train("gan", source, root, given.seconds, 3000), held_out),
        }
        run = Run.open(train("ae", source, root, given.seconds / 5, 1000))
        measured = reconstruct_checkpoints(run, None, f"{test_source},limit={given.compare}", None, lambda done, total: None)
        ae_error = measured[max(measured)][1]
    result = {
        "what": "exact W1 (ot.emd2, l1, pixels in [-1, 1]) of generated against held-out MNIST images",
        "images": given.images,
        "compared": given.compare,
        "seconds": given.seconds,
        "floor": floor,
        "curves": curves,
        "ratio_to_floor": {name: points[-1]["w1"] / floor for name, points in curves.items()},
        "ae_held_out_mse_over_predict_zero": ae_error.mse / ae_error.predict_zero_mse,
        "options": OPTIONS,
        "seed": SEED,
    }
    record.write("mnist_wasserstein", result, "pot")
    draw(curves, floor, record.RESULTS / "mnist_wasserstein.png")
    print(json.dumps(result["ratio_to_floor"]))


if __name__ == "__main__":
    main()
