"""Same seed, same bytes: SHA-256 of short trainings, samples and an evaluation.

    python benchmarks/same_bytes.py             # writes results/same_bytes.json
    python benchmarks/same_bytes.py --check     # compares with it; exit code 1 and the differing names on a difference

A change that must not change what pgen computes (moving code, renaming, new docstrings) is checked
by running it before and after on the same machine with the same versions of torch and numpy. It
uses the command line only, so that it also runs on earlier versions of pgen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import load_file

import record

DATA = "--data data/train.h5 --threshold 10 --batch-size 32"
CODES = "--targets runs/conv/deploy/codes.pt --batch-size 32 --n-hidden 32"
COMMANDS = [
    "data simulate -n 240 --size 16 --seed 1 --out images.h5",
    "data split images.h5 --held-out 60 --out data",
    f"train gan {DATA} --num-epochs 3 --name gan",
    f"train ae {DATA} --held-out data/held_out.h5 --n-layers 2 --depth 4 --l-dim 6 --num-epochs 4 --name conv",
    f"train ae {DATA} --arch map --n-layers 2 --depth 4 --l-dim 2 --num-epochs 3 --ema 0.9 --name map",
    f"train ae {DATA} --arch mlp --n-layers 1 --depth 2 --l-dim 4 --loss-fn mse --num-epochs 2 --name mlp",
    f"train ae {DATA} --condition type --n-layers 2 --depth 4 --l-dim 6 --num-epochs 2 --name labelled",
    "deploy runs/conv",
    "deploy runs/map",
    "deploy runs/labelled",
    f"train ewm {CODES} --num-epochs 3 --ots-steps 20 --name ewm",
    f"train flow {CODES} --num-epochs 3 --name flow",
    "train flow --targets runs/map/deploy/codes.pt --batch-size 32 --n-hidden 8 --num-epochs 2 --name flow-map",
    "train flow --targets runs/labelled/deploy/codes.pt --condition type --batch-size 32 --n-hidden 16 --num-epochs 2 --name flow-type",
    f"train flow {DATA.replace('--data', '--targets')} --n-hidden 8 --n-layers 1 --num-epochs 1 --ema 0.9 --name flow-images",
    "train ewm --resume runs/ewm --num-epochs 4",
    *(f"sample runs/{name} -n 50 --seed 3 --out samples/{name}.h5" for name in ("gan", "ewm", "flow", "flow-map", "flow-images")),
    "sample runs/flow-type -n 50 --seed 3 --type proton --out samples/flow-type.h5",
    "evaluate all --generated samples/flow.h5 --train data/train.h5 --held-out data/held_out.h5 --out evaluation",
    "evaluate hamming --generated samples/flow.h5 --train data/train.h5 --held-out data/held_out.h5 --out hamming",
]
#: Of results.json: what depends on the day and the machine.
VOLATILE = {"seconds", "versions", "date", "created", "machine", "time", "pgen"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with results/same_bytes.json")
    parser.add_argument("--folder", type=Path, help="where to run, and to leave what was made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        hashes = compute_hashes(arguments.folder or Path(temporary))
    if not arguments.check:
        record.write("same_bytes", {"what": "SHA-256 of weights, samples and results", "sha256": hashes}, "scipy", "scikit-learn")
        return 0
    expected = json.loads((record.RESULTS / "same_bytes.json").read_text())["sha256"]
    different = [name for name in sorted(expected.keys() | hashes.keys()) if expected.get(name) != hashes.get(name)]
    print(f"{len(expected) - len(different)} of {len(expected)} are the same bytes", *different, sep="\n")
    return 1 if different else 0


def compute_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every tensor file, image store and result that COMMANDS write into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples").mkdir(exist_ok=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    for command in COMMANDS:
        result = subprocess.run(
            [sys.executable, "-m", "pgen", *shlex.split(command)], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise SystemExit(f"pgen {command}\n{result.stdout}\n{result.stderr}")
    hashers = {".safetensors": _hash_weights, ".h5": _hash_store, ".json": _hash_json}
    paths = [
        *folder.glob("runs/*/model/weights.safetensors"),
        *folder.glob("data/*.h5"),
        *folder.glob("samples/*.h5"),
        folder / "evaluation" / "results.json",
        *folder.glob("hamming/*.json"),
    ]
    return {path.relative_to(folder).as_posix(): hashers[path.suffix](path) for path in sorted(paths)}


def _hash_arrays(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes() if array.dtype != object else repr(array.tolist()).encode())
    return digest.hexdigest()


def _hash_weights(path: Path) -> str:
    return _hash_arrays(load_file(path))


def _hash_store(path: Path) -> str:
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return _hash_arrays({name: np.asarray(value) for name, value in arrays.items()})


def _hash_json(path: Path) -> str:
    return hashlib.sha256(json.dumps(_without_volatile(json.loads(path.read_text())), sort_keys=True).encode()).hexdigest()


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_volatile(item) for key, item in value.items() if key not in VOLATILE}
    return [_without_volatile(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
