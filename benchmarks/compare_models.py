"""The built-in models on the same real tiles, and what pgen evaluate says of them: gan, ewm on latent codes, ewm on pixels.

    python benchmarks/compare_models.py --train train.h5 --held-out held_out.h5 [--folder FOLDER]

trains them by the command line, evaluates them together, and writes results/compare_models.json (commands, times, every measure) and
../docs/compare_models.png (distributions) and ../docs/compare_models_images.png (generated images). What FOLDER holds of an earlier call is
not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
from pgen.data import open_images, read_all
from pgen.metrics.physics import physics
from pgen.metrics.sets import Sets
from pgen.report.distributions import save_distributions
from pgen.report.grid import save_rows

DOCS = Path(__file__).parents[1] / "docs"
THRESHOLD = 10
COMMANDS = {
    "gan": [
        "train gan --data train.h5 --threshold 2 --scale sqrt --p 0 --d-lr 0.0005 --g-lr 0.0001 --num-epochs 30 --checkpoint 275 "
        "--held-out held_out.h5 --best-by physics --name gan"
    ],
    "ewm-codes": [
        "train ae --data train.h5 --held-out held_out.h5 --threshold 2 --name ae",
        "deploy runs/ae",
        "train ewm --targets runs/ae/deploy/codes.pt --name ewm-codes",
    ],
    "ewm-pixels": ["train ewm --targets train.h5 --threshold 2 --scale sqrt --num-epochs 10 --name ewm-pixels"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        kept = folder / "seconds.json"
        seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
        for link, target in (("train.h5", given.train), ("held_out.h5", given.held_out)):
            if not (folder / link).exists():
                (folder / link).symlink_to(target.resolve())

        def run(command: str) -> None:
            line = f"pgen {command}"
            if line in seconds:
                return
            began = time.monotonic()
            subprocess.run([sys.executable, "-m", *line.split()], check=True, cwd=folder)
            seconds[line] = round(time.monotonic() - began, 1)
            kept.write_text(json.dumps(seconds))
            print(line, seconds[line], flush=True)

        for commands in COMMANDS.values():
            for command in commands:
                run(command)
        for model in COMMANDS:
            run(f"sample runs/{model} -n 3473 --out {model}.h5")
        files = " ".join(f"--generated {model}.h5" for model in COMMANDS)
        run(f"evaluate all {files} --train train.h5 --held-out held_out.h5 --threshold {THRESHOLD} --out report")
        results = json.loads((folder / "report" / "results.json").read_text())
        pixels = {each: read_all(open_images(str(folder / f"{each}.h5"))) for each in ("train", "held_out", *COMMANDS)}
    found = {
        model: physics(Sets(pixels[model], pixels["train"], pixels["held_out"], threshold=THRESHOLD)).histograms
        for model in COMMANDS
        if (pixels[model] > THRESHOLD).any()
    }
    save_distributions(DOCS / "compare_models.png", found)
    save_rows(DOCS / "compare_models_images.png", {model: pixels[model][:12] for model in COMMANDS}, vmax=100)
    about = {"what": "built-in models on real tiles", "seconds": seconds, "sets": results["sets"], "generated": results["generated"]}
    record.write("compare_models", about, "scikit-learn", "scipy")


if __name__ == "__main__":
    main()
