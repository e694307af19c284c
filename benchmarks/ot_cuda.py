"""The assignment on a GPU: pgen.ot against torch, KeOps and FAISS, and against what the card can do.

    pip install -e ".[bench]" triton
    python benchmarks/ot_cuda.py

Each takes turns, twenty times, timed by CUDA events; the median counts. Of the limit: dense l1, two FP32 instructions a coordinate
(multiprocessors x 128 lanes x clock / 2); sqeuclidean, two TF32 operations a coordinate on tensor cores (multiprocessors x 1024 x clock, as
sm_90 has, on other cards read it with care); sparse l1, bytes of lit pixels and of the samples' numbers met at them, from memory at its
rated speed. Then 10^6 assignments a kernel are compared with double precision by brute force, and a step of ascent, from noise to
potential, is launched kernel by kernel and replayed as one graph. KeOps and FAISS are left out where they are not installed. Writes
results/ot_cuda.json. Not yet run on a card; see docs/results.md.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise

import torch

import record
from pgen.ot import COSTS, DualAscent, Targets, assign
from pgen.ot.replay import WARM_UP, Replayed

ROUNDS = 20
CASES = {  # B, N, D, share of lit pixels
    "dense 512 x 60,000 x 784": (512, 60_000, 784, 1.0),
    "codes 4096 x 100,000 x 64": (4096, 100_000, 64, 1.0),
    "2 % lit, 256 x 50,000 x 4,096": (256, 50_000, 4_096, 0.02),
}
STEPS = 200
Method = Callable[[], torch.Tensor]


def case(samples: int, count: int, size: int, lit: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator("cuda").manual_seed(0)
    x, y = (torch.rand(n, size, generator=random, device="cuda") for n in (samples, count))
    if lit < 1:
        x, y = (part * (torch.rand(part.shape, generator=random, device="cuda") < lit) for part in (x, y))
    return x, y, torch.rand(count, generator=random, device="cuda")


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
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def limit(name: str, cost: str) -> float | None:
    """Seconds that the card needs at least, or None where no one bound holds."""
    samples, count, size, lit = CASES[name]
    card = torch.cuda.get_device_properties(0)
    clock = 1e3 * card.clock_rate
    if lit < 1:
        bandwidth = 2 * 1e3 * card.memory_clock_rate * card.memory_bus_width / 8
        return count * lit * size * (8 + 4 * samples / 64) / bandwidth if cost == "l1" else None
    lanes = 128 / 2 if cost == "l1" else 1024 / 2
    return samples * count * size / (card.multi_processor_count * lanes * clock)


def compare(name: str, cost: str) -> dict[str, object]:
    runs = methods(*case(*CASES[name]), cost)
    answers = {key: run() for key, run in runs.items()}
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            times[key].append(seconds(run))
    medians = {key: statistics.median(values) for key, values in times.items()}
    least = limit(name, cost)
    return {
        "case": name, "cost": cost, "milliseconds": {key: 1e3 * value for key, value in medians.items()},
        "times_slower_than_pgen.ot": {key: value / medians["pgen.ot"] for key, value in medians.items()},
        "of_the_limit": least and least / medians["pgen.ot"],
        "other_targets_than_pgen.ot": {key: int((answer != answers["pgen.ot"]).sum()) for key, answer in answers.items()},
    }  # fmt: skip


def wrong(cost: str, lit: float) -> int:
    """Of 10^6 assignments, how many are not the double-precision argmin."""
    x, y, psi = case(10**6, 500, 200, lit)
    targets, errors = Targets(y), 0
    for part in x.split(2000):
        index, _ = assign(part, targets, psi, cost)
        values = torch.cdist(part.double(), y.double(), p=1 if cost == "l1" else 2, compute_mode="donot_use_mm_for_euclid_dist")
        values = (values.square() if cost == "sqeuclidean" else values) - psi.double()
        errors += int((values.gather(1, index[:, None])[:, 0] > values.min(1).values * (1 + 1e-13) + 1e-12).sum())
    return errors


def steps() -> dict[str, float]:
    """Milliseconds of a step that makes 512 samples of noise, assigns them to 4,000 codes of 64 numbers and moves the potential."""
    sizes = (16, 512, 512, 512, 64)
    layers = [layer for pair in pairwise(sizes) for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    generator, targets = torch.nn.Sequential(*layers[:-1]).cuda(), Targets(torch.randn(4000, 64, device="cuda"))

    @torch.no_grad()
    def samples() -> torch.Tensor:
        return generator(torch.randn(512, 16, device="cuda"))

    found = {}
    for name, made in (("launched", lambda move: move), ("replayed", Replayed)):
        ascent = DualAscent(4000, "sqeuclidean").cuda()
        ascent.begin(samples(), targets)
        move = made(lambda ascent=ascent: ascent.move(samples(), targets))
        for step in range(-WARM_UP - 1, STEPS):
            if step == 0:
                torch.cuda.synchronize()
                began = time.perf_counter()
            ascent.plan(targets)
            move()
        torch.cuda.synchronize()
        found[name] = 1e3 * (time.perf_counter() - began) / STEPS
    return found


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("No GPU is here; run this on a machine that has one.")
    results = [compare(name, cost) for name in CASES for cost in ("l1", "sqeuclidean")]
    exact = {f"{cost}, {'sparse' if lit < 1 else 'dense'}": wrong(cost, lit) for cost in COSTS for lit in (1.0, 0.02)}
    about = {
        "what": "argmin over targets of cost - potential on a GPU",
        "results": results,
        "wrong_of_a_million": exact,
        "milliseconds_a_step": steps(),
    }
    print(json.dumps(about, indent=1))
    record.write("ot_cuda", about, "triton")


if __name__ == "__main__":
    main()
