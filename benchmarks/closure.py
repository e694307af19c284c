"""Are samples of what they were asked to be of? Closure and FPD of runs with conditions, of flows with several guidances.

    python benchmarks/closure.py FOLDER

FOLDER: what compare_models.py simulated left: train.h5, held_out.h5, runs of the auto-encoders and of models on their codes, made for type
and momentum. Writes results/closure.json. The reconstructions of training images say what an auto-encoder alone costs; those of held-out
images, what it costs on images that it never saw.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import record
from compare_models import ENCODERS, FAINT, N, sources

RUNS = ("flow-semidiscrete", "ewm-codes")
GUIDANCE = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    train, held_out = sources("simulated")

    def pgen(*words: object) -> None:
        subprocess.run([sys.executable, "-m", "pgen", *map(str, words)], check=True, cwd=folder)

    with tempfile.TemporaryDirectory() as name:
        made = {}
        for encoder in ENCODERS:
            pgen("deploy", f"runs/{encoder}", "--data", held_out, "--out", Path(name) / encoder)
            made[f"reconstructions, {encoder}"] = folder / f"runs/{encoder}/deploy/reconstructions.h5"
            made[f"reconstructions of held-out images, {encoder}"] = Path(name) / encoder / "reconstructions.h5"
        for run in RUNS:
            for guidance in GUIDANCE if run.startswith("flow") else GUIDANCE[:1]:
                set_name = f"{run}, guidance {guidance:g}" if run.startswith("flow") else run
                made[set_name] = Path(name) / f"{len(made)}.h5"
                asked = ("--guidance", guidance) if run.startswith("flow") else ()
                pgen("sample", f"runs/{run}", "-n", N, *asked, "--out", made[set_name])
        found = {}
        for set_name, path in made.items():
            found[set_name] = {}
            for metric in ("closure", "fpd"):
                out = Path(name) / f"{len(found)}-{metric}"
                real = ("--train", train, "--held-out", held_out, "--threshold", FAINT["simulated"])
                pgen("evaluate", metric, "--generated", path, *real, "--out", out)
                (judged,) = json.loads((out / "results.json").read_text())["generated"].values()
                found[set_name].update({each["name"]: each for each in judged["metrics"][metric]["measures"]})
    seconds = json.loads((folder / "seconds.json").read_text())
    record.write("closure", {"what": "closure of simulated particles", "seconds": seconds, "sets": found}, "scikit-learn", "scipy")


if __name__ == "__main__":
    main()
