"""The two stages from the command line, ae and ewm, and how good the images are.

    python benchmarks/two_stage.py NAME --train FILE --held-out FILE [--threshold 2] [--lit 10] [--show-real] [--seed 0]

Writes results/NAME.json and ../docs/NAME.png: generated images or, with --show-real, three rows of
real, reconstructed and generated images. --threshold is the zero suppression of the training; --lit
is the charge above which a pixel counts as occupied. Total charge is summed over all pixels of the
files, whatever was suppressed in training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import record
from kept import Kept
from pgen.data import open_images, read_all
from pgen.metrics.features.image_statistics import compare_statistics
from pgen.metrics.fidelity.reconstruction import reconstruction_error
from pgen.report.figures.base import save_figure
from pgen.report.figures.image_grid import plot_images, plot_rows

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=2)
    parser.add_argument("--lit", type=float, default=10)
    parser.add_argument("--show-real", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for link, target in (("train.h5", given.train), ("held_out.h5", given.held_out)):
            (folder / link).symlink_to(target.resolve())
        data = {key: read_all(open_images(str(folder / f"{key}.h5"))) for key in ("train", "held_out")}
        kept = Kept(folder)
        for command in (
            f"train ae --data train.h5 --held-out held_out.h5 --threshold {given.threshold:g} --name ae --seed {given.seed}",
            "deploy runs/ae",
            "deploy runs/ae --data held_out.h5 --out unseen",
            f"train ewm --targets runs/ae/deploy/codes.pt --name ewm --seed {given.seed}",
            f"sample runs/ewm -n {len(data['train'])} --out samples.h5",
            f"evaluate hamming --generated samples.h5 --train train.h5 --held-out held_out.h5 --threshold {given.lit:g} --out copies",
        ):
            kept.pgen(command)
        reconstructed = read_all(open_images(str(folder / "unseen/reconstructions.h5")))
        generated = read_all(open_images(str(folder / "samples.h5")))
        hamming = json.loads((folder / "copies/hamming.json").read_text())
        certificate = [line for line in map(json.loads, (folder / "runs/ewm/metrics.jsonl").read_text().splitlines()) if "chi2" in line]

    sets = {"held-out": data["held_out"], "reconstructed held-out": reconstructed, "train": data["train"], "generated": generated}
    error = reconstruction_error(data["held_out"], reconstructed, given.lit)
    statistics = {row.name: row.to_dict() for row in compare_statistics(sets, given.lit)}
    result = {
        "what": "two-stage generation; charge of all pixels, occupancy of pixels above `lit`; ratios to held-out",
        "lit": given.lit,
        "seed": given.seed,
        "commands_and_seconds": kept.seconds,
        "held_out_mse": error.mse,
        "held_out_mse_over_predict_zero": error.mse / error.predict_zero_mse,
        "statistics": statistics,
        "generated_over_train": {
            key: statistics["generated"][key] / statistics["train"][key] for key in ("charge_mean", "charge_std", "occupancy_mean")
        },
        "ewm_chi2": certificate[-1]["chi2"],
        "ewm_never_hit": certificate[-1]["never_hit"],
        "hamming_verdict": [at["verdict"] for at in hamming["thresholds"]],
    }
    record.write(given.name, result)
    picture = HERE.parent / "docs" / f"{given.name}.png"
    if given.show_real:
        rows = {"real": data["held_out"][:10], "reconstructed": reconstructed[:10], "generated": generated[:10]}
        save_figure(plot_rows(rows), picture)
    else:
        save_figure(plot_images(generated[:48], columns=8), picture)
    print(json.dumps({key: result[key] for key in ("held_out_mse_over_predict_zero", "statistics", "generated_over_train")}, indent=1))


if __name__ == "__main__":
    main()
