"""Images per second from files to training batches: pgen's readers and common alternatives.

    pip install -e ".[bench]" -c constraints.txt
    python benchmarks/data_batches.py [--root FILE] [--images 4096] [--size 256]

Simulated images with 2 % of the pixels nonzero, as an image store, PNG, LArCV3 and dense HDF5;
LArCV2 from 40 copies of a given file, because only the LArCV library writes it. Batches of 64 in
random order, float32 in [0, 1] on the CPU. Each way runs in its own process, one after the other,
for its first epoch (including opening, fitting and loading) and for later epochs. Memory is the
maximum of the process and its workers together, without what imports take. The alternatives:
PyTorch's DataLoader over a folder of PNGs with PIL, over dense HDF5 (uncompressed, h5py, one image
at a time), and over LArCV3 by its documented layout; and, for ROOT, a loop over uproot's awkward
arrays; each with 0 or 2 workers, whichever is faster. Writes results/data_batches.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import record

BATCH, EPOCHS, AT_LEAST = 64, 3, 8.0  #: epochs, and seconds of them, at least; of those after the first the fastest counts
LIT = 0.02
COPIES = 40  #: of the LArCV2 file


def make(folder: Path, count: int, size: int) -> None:
    """Write the same images in every format."""
    import h5py

    from pgen.data import ArrayImages, write_images

    random = np.random.default_rng(0)

    def parts() -> Iterator[ArrayImages]:
        for start in range(0, count, 256):
            n = min(256, count - start)
            pixels = np.zeros((n, size * size), np.float32)
            for row in pixels:  # tracks: runs of lit pixels
                for begin in random.integers(0, size * size - 32, int(LIT * size * size / 16)):
                    row[begin : begin + 16] = random.integers(10, 500, 16)
            yield ArrayImages(pixels.reshape(n, 1, size, size), ids=[f"1/0/{start + i}" for i in range(n)])

    write_images(folder / "store.h5", parts())
    from pgen.data import open_images

    images = open_images(str(folder / "store.h5"))
    write_images(folder / "png", images)
    write_images(folder / "larcv3.h5", images, format="larcv3")
    with h5py.File(folder / "dense.h5", "w") as file:
        pixels = file.create_dataset("images", (count, 1, size, size), np.float32)
        for start in range(0, count, 256):
            pixels[start : start + 256] = images.read(range(start, min(start + 256, count)))


def ours(source: str, _: int) -> Iterator[torch.Tensor]:
    from pgen.engine.config import TrainConfig
    from pgen.engine.dataloading.dataset import open_training_data
    from pgen.engine.dataloading.loaders import BatchLoader
    from pgen.plugins import registry

    settings = TrainConfig(data=source, batch_size=BATCH)
    stream = BatchLoader(open_training_data(settings, registry.load("gan").spec), settings, torch.device("cpu")).stream(0)
    return (batch for _, batch in stream)


class Pngs(Dataset):
    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        from PIL import Image

        return torch.from_numpy(np.asarray(Image.open(self.paths[index]), np.float32)[None] / 500).clamp(0, 1)


class Dense(Dataset):
    def __init__(self, path: str) -> None:
        self.path, self.file = path, None

    def __len__(self) -> int:
        import h5py

        with h5py.File(self.path) as file:
            return len(file["images"])

    def __getitem__(self, index: int) -> torch.Tensor:
        import h5py

        self.file = self.file or h5py.File(self.path)
        return torch.from_numpy(self.file["images"][index] / 500).clamp(0, 1)


class Larcv3(Dataset):
    def __init__(self, path: str) -> None:
        self.path, self.file = path, None

    def __len__(self) -> int:
        import h5py

        with h5py.File(self.path) as file:
            return len(file["Events/event_id"])

    def __getitem__(self, index: int) -> torch.Tensor:
        import h5py

        self.file = self.file or h5py.File(self.path)
        group = self.file["Data/image2d_pgen_group"]
        image = group["extents"][index]["first"]
        span, size = group["image_extents"][image], group["image_meta"][image]["number_of_voxels"]
        pixels = group["images"][span["first"] : span["first"] + span["N"]]
        return torch.from_numpy(pixels.reshape(1, *size) / 500).clamp(0, 1)


def pngs(source: str, workers: int) -> Iterator[torch.Tensor]:
    return loader(Pngs(source), workers)


def dense(source: str, workers: int) -> Iterator[torch.Tensor]:
    return loader(Dense(source), workers)


def larcv3(source: str, workers: int) -> Iterator[torch.Tensor]:
    return loader(Larcv3(source), workers)


def loader(data: Dataset, workers: int) -> Iterator[torch.Tensor]:
    batches = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    while True:
        yield from batches


def awkward(source: str, _: int) -> Iterator[torch.Tensor]:
    """Read an array of events image by image, as in uproot's tutorials."""
    import uproot

    pattern, _, options = source.partition(":")
    plane = int(options.removeprefix("plane="))
    while True:
        waiting: list[torch.Tensor] = []
        for path in sorted(glob(pattern)):  # noqa: PTH207
            file = uproot.open(path)
            (name,) = [key for key in file.keys(cycle=False) if key.startswith("image2d_")]
            tree = file[name]
            pixels, rows, columns, planes = (
                tree[f"_image_v.{branch}"].array() for branch in ("_img", "_meta._row_count", "_meta._col_count", "_meta._id")
            )
            for event in range(len(pixels)):
                for k in range(len(pixels[event])):
                    if planes[event][k] == plane:
                        image = np.asarray(pixels[event][k], np.float32).reshape(columns[event][k], rows[event][k]).T
                        waiting.append(torch.from_numpy(image[None] / 500).clamp(0, 1))
                        if len(waiting) == BATCH:
                            yield torch.stack(waiting)
                            waiting = []
        if waiting:
            yield torch.stack(waiting)


def timed(way: Callable[[str, int], Iterator[torch.Tensor]], source: str, workers: int, count: int, queue: multiprocessing.Queue) -> None:
    torch.manual_seed(0)
    import h5py  # noqa: F401
    import PIL.Image  # noqa: F401
    import uproot  # noqa: F401

    import pgen.engine.dataloading.loaders  # noqa: F401

    queue.put(record.memory(os.getpid()))
    began, seen, seconds = time.perf_counter(), 0, []
    batches = way(source, workers)
    while len(seconds) < EPOCHS or sum(seconds) < AT_LEAST:
        seen += len(next(batches))
        if seen >= count:
            seconds.append(time.perf_counter() - began)
            began, seen = time.perf_counter(), 0
    queue.put({"first_epoch": count / seconds[0], "later": count / min(seconds[1:])})
    time.sleep(1)  # workers still there, to be looked at


def run(name: str, way: Callable[[str, int], Iterator[torch.Tensor]], source: str, count: int, workers: tuple[int, ...] = (0,)) -> dict:
    rows = []
    for number in workers:
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=timed, args=(way, source, number, count, queue))
        process.start()
        before, peak = queue.get(), 0
        while queue.empty():
            peak = max(peak, record.memory(process.pid))
            time.sleep(0.5)
        peak = max(peak, record.memory(process.pid))
        rows.append({"workers": number, **queue.get(), "peak_mib": (peak - before) / 2**20})
        process.join()
    best = max(rows, key=lambda row: row["later"])
    print(name, {key: round(value, 1) for key, value in best.items()}, flush=True)
    return {"way": name, **best, "all": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="LArCV2 file with one image2d, as FILE:plane=N")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, given.images, given.size)
        sizes = {p.name: sum(f.stat().st_size for f in (p.iterdir() if p.is_dir() else [p])) / 2**20 for p in folder.iterdir()}
        ways = [
            run("pgen, store", ours, str(folder / "store.h5"), given.images),
            run("pgen, PNG folder", ours, str(folder / "png"), given.images),
            run("PNG folder, PIL, DataLoader", pngs, str(folder / "png"), given.images, (0, 2)),
            run("dense HDF5, h5py, DataLoader", dense, str(folder / "dense.h5"), given.images, (0, 2)),
        ]
        ways += [
            run("pgen, LArCV3", ours, str(folder / "larcv3.h5"), given.images),
            run("LArCV3, h5py, DataLoader", larcv3, str(folder / "larcv3.h5"), given.images, (0, 2)),
        ]
        if given.root:
            from pgen.data import open_images

            path, _, options = given.root.partition(":")
            (folder / "root").mkdir()
            for k in range(COPIES):
                shutil.copy(path, folder / f"root/{k}.root")
            source = f"{folder}/root/*.root:{options}"
            count = len(open_images(source))
            # Nobody else reads labels.
            ways += [
                run("pgen, LArCV2 ROOT", ours, f"{source},labels=none", count),
                run("LArCV2 ROOT, awkward loop", awkward, source, count),
            ]
    best = max((way for way in ways[:4] if not way["way"].startswith("pgen")), key=lambda way: way["later"])
    about = {
        "what": "images a second to training batches of 64", "images": given.images, "size": given.size, "lit": LIT, "file_mib": sizes,
        "ways": ways, "best_peer": best["way"], "times_faster": {key: ways[0][key] / best[key] for key in ("first_epoch", "later")},
    }  # fmt: skip
    print(json.dumps({key: about[key] for key in ("file_mib", "best_peer", "times_faster")}, indent=1))
    record.write("data_batches", about, "h5py", "pillow", "uproot")


if __name__ == "__main__":
    main()
