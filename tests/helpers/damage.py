"""Reads damaged copies of a file, in a process of its own: a library may crash on one.

python -m tests.helpers.damage FILE FOLDER SEED COUNT EVERY FLIPS exact|finite [OPTIONS...]: every EVERY-th copy is truncated, the others
have up to FLIPS flipped bits. The copies are read with the OPTIONS in turn. What can be read must be exactly what the whole file holds, or
finite pixels of the promised shape. Prints how many were refused.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from pgen.data import open_images, read_all
from pgen.errors import PgenError
from pgen.plugins import entry_points as entries


def damage(path: Path, folder: Path, *, seed: int, count: int, every: int, flips: int, judge: str, options: tuple[str, ...] = ()) -> int:
    """How many of the copies were refused, where nothing worse happened."""
    command = [sys.executable, "-m", "tests.helpers.damage", path, folder, seed, count, every, flips, judge, *options]
    root = Path(__file__).parents[2]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def _same(found, wanted) -> bool:
    columns = all(np.array_equal(getattr(found, name), getattr(wanted, name)) for name in ("ids", "events"))
    labels = all(np.array_equal(found.labels[name], values) for name, values in wanted.labels.items())
    return columns and labels and found.unit == wanted.unit and np.array_equal(read_all(found), read_all(wanted))


def _finite(found, _) -> bool:
    pixels = read_all(found)
    return pixels.shape == (len(found), *found.shape) and bool(np.isfinite(pixels).all())


def main() -> None:
    # Nothing is installed meanwhile, and looking for plug-ins takes a third of the time of opening a file.
    entries.entries = cache(entries.entries)
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    seed, count, every, flips = map(int, sys.argv[3:7])
    judge = {"exact": _same, "finite": _finite}[sys.argv[7]]
    sources = [f":{option}" for option in sys.argv[8:]] or [""]
    whole, random = path.read_bytes(), np.random.default_rng(seed)
    wanted = {options: open_images(f"{path}{options}") for options in sources}
    refused = 0
    for k in range(count):
        broken = bytearray(whole)
        if k % every == 0:
            del broken[random.integers(len(broken)) :]
        else:
            for at in random.integers(len(broken), size=random.integers(1, flips + 1)):
                broken[at] ^= 1 << random.integers(8)
        bad = folder / f"bad-{seed}{path.suffix}"
        bad.write_bytes(broken)
        options = sources[k // every % len(sources)]
        try:
            assert judge(open_images(f"{bad}{options}"), wanted[options]), (k, options)
        except PgenError as error:
            assert str(error).count("\n") == 0
            refused += 1
    print(refused)


if __name__ == "__main__":
    main()
