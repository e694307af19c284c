"""The assignment on a GPU: pgen.ot, torch, KeOps and FAISS, and the limit of the card.

    pip install -e ".[bench]" triton
    python benchmarks/ot_cuda.py [--quick]

All take turns, twenty times, timed by CUDA events; the median counts. The limits: for dense l1, two
FP32 instructions per coordinate (multiprocessors x 128 lanes x clock / 2); for sqeuclidean, two
TF32 operations per coordinate on tensor cores (multiprocessors x 1024 x clock, as on sm_90;
approximate on other cards), with the highest clock that nvidia-smi reports; for sparse l1, the
bytes of nonzero pixels and of the samples' numbers at them, at the speed of a copy within the card.
Then 10^6 assignments per kernel are compared with brute force in double precision, and a step of
the ascent, from noise to potential, is launched kernel by kernel and replayed as one graph. KeOps
and FAISS are left out if they are not installed. Writes results/ot_cuda.json as it goes. Not yet
run on a card; see docs/benchmarks.md.

--quick uses tiny sizes, on the CPU if there is no GPU, to test the script.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import record
from pgen.ot import COSTS, DualAscent, Targets, assign
from pgen.ot.solvers.cuda_graph import WARM_UP, GraphedFunction

ROUNDS = 20
CASES = {  # B, N, D, share of lit pixels
    "dense 512 x 60,000 x 784": (512, 60_000, 784, 1.0),
    "codes 4096 x 100,000 x 64": (4096, 100_000, 64, 1.0),
    "2 % lit, 256 x 50,000 x 4,096": (256, 50_000, 4_096, 0.02),
}
STEPS = 200
#: Of --quick: (samples, targets, dimension, fraction of pixels that are not 0), and how many assignments are compared with brute force.
QUICK = {"dense 8 x 300 x 20": (8, 300, 20, 1.0), "2 % lit, 8 x 200 x 400": (8, 200, 400, 0.02)}
MILLION, FEW = 10**6, 4000
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Method = Callable[[], torch.Tensor]


def case(samples: int, count: int, size: int, lit: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator(DEVICE).manual_seed(0)
    x, y = (torch.rand(n, size, generator=random, device=DEVICE) for n in (samples, count))
    if lit < 1:
        x, y = (part * (torch.rand(part.shape, generator=random, device=DEVICE) < lit) for part in (x, y))
    return x, y, torch.rand(count, generator=random, device=DEVICE)


def methods(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, cost: str) -> dict[str, Method]:
    targets = Targets(y)
    found: dict[str, Method] = {"pgen.ot": lambda: assign(x, targets, psi, cost)[0]}
    if cost == "l1":
        found["torch.cdist"] = lambda: (torch.cdist(x, y, p=1) - psi).argmin(1)
    else:
        offset = y.square().sum(1) - psi
        found["addmm + argmin"] = lambda: torch.addmm(offset, x, y.T, alpha=-2).argmin(1)
    if find_spec("pykeops"):
        from pykeops.torch import LazyTensor

        difference = LazyTensor(x[:, None]) - LazyTensor(y[None])
        values = (difference.abs() if cost == "l1" else difference.square()).sum(-1) - LazyTensor(psi[None, :, None])
        found["KeOps"] = lambda: values.argmin(1).flatten()
    if find_spec("faiss"):
        import faiss

        if hasattr(faiss, "GpuIndexFlat"):
            # The potential as one more coordinate: [x, 0] against [y, max psi - psi], under l1; its root under sqeuclidean.
            last = psi.max() - psi
            last = last if cost == "l1" else last.sqrt()
            metric = faiss.METRIC_L1 if cost == "l1" else faiss.METRIC_L2
            index = faiss.GpuIndexFlat(faiss.StandardGpuResources(), y.shape[1] + 1, metric)
            index.add(torch.cat([y, last[:, None]], 1).cpu().numpy())
            asked = torch.cat([x, x.new_zeros(len(x), 1)], 1).cpu().numpy()
            found["FAISS"] = lambda: torch.from_numpy(index.search(asked, 1)[1][:, 0]).to(x.device)
    return found


def seconds(run: Method) -> float:
    if DEVICE.type == "cpu":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


@cache
def highest_clock() -> float | None:
    """Return the highest clock in Hz, from nvidia-smi; None without it."""
    command = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return 1e6 * float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


@cache
def bandwidth() -> float:
    """Return bytes per second, read and written, of a copy within the card."""
    source = torch.empty(2**30, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * len(source) / statistics.median(seconds(lambda: target.copy_(source)) for _ in range(ROUNDS))


def limit(size: tuple[int, int, int, float], cost: str) -> float | None:
    """Return the minimum time on this card, or None if no single bound applies."""
    samples, count, dimension, lit = size
    if DEVICE.type == "cpu":
        return None
    if lit < 1:
        return count * lit * dimension * (8 + 4 * samples / 64) / bandwidth() if cost == "l1" else None
    lanes, clock = 128 / 2 if cost == "l1" else 1024 / 2, highest_clock()
    return clock and samples * count * dimension / (torch.cuda.get_device_properties(0).multi_processor_count * lanes * clock)


def compare(name: str, size: tuple[int, int, int, float], cost: str) -> dict[str, object]:
    runs = methods(*case(*size), cost)
    answers = {key: run() for key, run in runs.items()}
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            times[key].append(seconds(run))
    medians = {key: statistics.median(values) for key, values in times.items()}
    least = limit(size, cost)
    return {
        "case": name, "cost": cost, "milliseconds": {key: 1e3 * value for key, value in medians.items()},
        "times_slower_than_pgen.ot": {key: value / medians["pgen.ot"] for key, value in medians.items()},
        "of_the_limit": least and least / medians["pgen.ot"],
        "other_targets_than_pgen.ot": {key: int((answer != answers["pgen.ot"]).sum()) for key, answer in answers.items()},
    }  # fmt: skip


def wrong(cost: str, lit: float, samples: int) -> int:
    """Count assignments that differ from the double-precision argmin."""
    x, y, psi = case(samples, 500, 200, lit)
    targets, errors = Targets(y), 0
    for part in x.split(2000):
        index, _ = assign(part, targets, psi, cost)
        values = torch.cdist(part.double(), y.double(), p=1 if cost == "l1" else 2, compute_mode="donot_use_mm_for_euclid_dist")
        values = (values.square() if cost == "sqeuclidean" else values) - psi.double()
        errors += int((values.gather(1, index[:, None])[:, 0] > values.min(1).values * (1 + 1e-13) + 1e-12).sum())
    return errors


def steps() -> dict[str, float]:
    """Return the milliseconds of a step: 512 samples, 4,000 codes of 64 numbers."""
    sizes = (16, 512, 512, 512, 64)
    layers = [layer for pair in pairwise(sizes) for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    generator, targets = torch.nn.Sequential(*layers[:-1]).to(DEVICE), Targets(torch.randn(4000, 64, device=DEVICE))

    @torch.no_grad()
    def samples() -> torch.Tensor:
        return generator(torch.randn(512, 16, device=DEVICE))

    def now() -> float:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    found = {}
    for name, made in {"launched": lambda move: move, **({"replayed": GraphedFunction} if DEVICE.type == "cuda" else {})}.items():
        ascent = DualAscent(4000, "sqeuclidean").to(DEVICE)
        ascent.begin(samples(), targets)
        move = made(lambda ascent=ascent: ascent.device_step(samples(), targets))
        for step in range(-WARM_UP - 1, STEPS):
            if step == 0:
                began = now()
            ascent.host_step(targets)
            move()
        found[name] = 1e3 * (now() - began) / STEPS
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="folder of the result")
    options = parser.parse_args()
    if DEVICE.type == "cpu" and not options.quick:
        raise SystemExit("No GPU is here; run this on a machine that has one, or try it with --quick.")
    about: dict[str, Any] = {"what": f"argmin over targets of cost - potential on {DEVICE.type}", "results": []}
    about["wrong"] = {"of": FEW if options.quick else MILLION}

    def keep(what: object) -> None:
        print(json.dumps(what), flush=True)
        record.write("ot_cuda", about, *(["triton"] if find_spec("triton") else []), folder=options.out)

    about["milliseconds_a_step"] = steps()
    keep(about["milliseconds_a_step"])
    for cost in COSTS:
        for lit in (1.0, 0.02):
            about["wrong"][f"{cost}, {'sparse' if lit < 1 else 'dense'}"] = wrong(cost, lit, about["wrong"]["of"])
            keep(about["wrong"])
    for name, size in (QUICK if options.quick else CASES).items():
        for cost in ("l1", "sqeuclidean"):
            about["results"].append(compare(name, size, cost))
            keep(about["results"][-1])


if __name__ == "__main__":
    main()
