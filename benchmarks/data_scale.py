"""Memory and time to simulate, split and train on more images than fit into memory as dense arrays.

    python benchmarks/data_scale.py [--images 200000] [--size 512] [--steps 300]

Runs `pgen data simulate`, `pgen data split` and `pgen train ae` one after the other, and records
for each the wall time and the highest memory of all its processes (proportional set size, sampled
five times per second). Writes results/data_scale.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate = f"data simulate -n {given.images} --size {given.size} --seed 1 --out all.h5"
        split = "data split all.h5 --held-out .1 --out data"
        train = f"train ae --data data/train.h5 --depth 8 --n-layers 6 --batch-size 8 --max-steps {given.steps} --name big"
        rows = [record.measured(*command.split(), folder=folder) for command in (simulate, split, train)]
        size = (folder / "all.h5").stat().st_size
    about = {
        "what": "wall time and memory of a set larger than memory when dense", "images": given.images, "size": given.size,
        "dense_gib": 4 * given.images * given.size**2 / 2**30, "store_gib": size / 2**30, "commands": rows,
    }  # fmt: skip
    print(json.dumps({key: about[key] for key in ("dense_gib", "store_gib")}))
    record.write("data_scale", about, "h5py")


if __name__ == "__main__":
    main()
