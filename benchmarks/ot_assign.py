"""argmin_j c(x_i, y_j) - psi_j on the CPU: pgen.ot and five libraries on the same numbers.

    pip install -e ".[bench]" -c constraints.txt
    python benchmarks/ot_assign.py [--tiles FILE]

FILE is a set of real 64 x 64 tiles, as `pgen data crop` writes it; the script applies a threshold
of 10 and adds their mirror images. Every method runs once to warm up (and to compile). Then all
take turns, five times unless they are slow, each four times in a row; only the last run counts,
because threads of the previous method may still be active. The median is reported. FAISS and KeOps
get the potential as an additional coordinate or term. What can be prepared once (indices, norms,
the sparse form) is not timed. Writes results/ot_assign.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import jax
import jax.numpy as jnp
import numpy as np
import ot
import torch
from ott.geometry import costs as ott_costs
from pykeops.torch import LazyTensor

import record
from pgen.data import open_images, read_all
from pgen.ot import Targets, assign

ROUNDS = 5
#: Seconds after which a method has had its turns.
LONGEST = 5.0
#: A method quicker than this runs four times a turn, and the last counts.
SHORT = 0.5
Method = Callable[[], object]


def methods(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, cost: str) -> dict[str, Method]:
    """Return the methods; each returns indices (B,)."""
    targets = Targets(y)
    targets.norms(cost), targets.csr if targets.sparse else targets.dense
    # Nearest neighbours know no potential: max psi - psi is one more coordinate of the targets, 0 of the samples.
    height = psi.max() - psi
    index = faiss.IndexFlat(y.shape[1] + 1, faiss.METRIC_L1 if cost == "l1" else faiss.METRIC_L2)
    index.add(torch.cat([y, (height if cost == "l1" else height.sqrt())[:, None]], 1).numpy())
    raised = torch.cat([x, torch.zeros(len(x), 1)], 1).numpy()

    def keops() -> torch.Tensor:
        difference = LazyTensor(x[:, None]) - LazyTensor(y[None])
        values = difference.abs().sum(-1) if cost == "l1" else difference.square().sum(-1)
        return (values - LazyTensor(psi[None, :, None])).argmin(1)[:, 0]

    def torch_cdist() -> torch.Tensor:
        values = torch.cdist(x, y, p=1) if cost == "l1" else torch.cdist(x, y).square_()
        return (values - psi).argmin(1)

    def pot() -> np.ndarray:
        return (ot.dist(x.numpy(), y.numpy(), metric="cityblock" if cost == "l1" else "sqeuclidean") - psi.numpy()).argmin(1)

    function = ott_costs.PNormP(1.0) if cost == "l1" else ott_costs.SqEuclidean()

    def row(one: jax.Array, all_targets: jax.Array, potential: jax.Array) -> jax.Array:
        return jnp.argmin(function.all_pairs(one[None], all_targets)[0] - potential)

    # Eight samples at a time where the differences of all pairs would not fit in memory.
    batch = 8 if cost == "l1" else len(x)
    step = jax.jit(lambda a, b, p: jax.lax.map(lambda one: row(one, b, p), a, batch_size=batch))
    arrays = [jnp.asarray(part.numpy()) for part in (x, y, psi)]
    found: dict[str, Method] = {
        "pgen.ot": lambda: assign(x, targets, psi, cost)[0],
        "faiss": lambda: index.search(raised, 1)[1][:, 0],
        "keops": keops,
        "torch.cdist": torch_cdist,
        "pot": pot,
        "ott-jax": lambda: np.asarray(step(*arrays)),
    }
    if cost == "sqeuclidean":
        offset = y.square().sum(1) - psi
        found["addmm + argmin"] = lambda: torch.addmm(offset, x, y.T, alpha=-2).argmin(1)
    return found


def compare(name: str, x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, cost: str) -> dict[str, object]:
    every = methods(x, y, psi, cost)
    answers, times = {}, {}
    for key, method in every.items():
        began = time.perf_counter()
        answers[key] = torch.as_tensor(np.asarray(method()))
        first = time.perf_counter() - began
        # Beside so long a run, what it took to warm up is nothing.
        times[key] = [first] if first > 4 * LONGEST else []
    for _ in range(ROUNDS):
        for key, method in every.items():
            if sum(times[key]) < LONGEST:
                if times[key][:1] < [SHORT]:
                    for _ in range(3):  # so that the threads of the one before have gone to sleep, and its own each to a core
                        method()
                began = time.perf_counter()
                method()
                times[key].append(time.perf_counter() - began)
    seconds = {key: statistics.median(values) for key, values in times.items()}
    ours = answers["pgen.ot"]
    result = {
        "case": name,
        "cost": cost,
        "samples": len(x),
        "targets": len(y),
        "dimension": y.shape[1],
        "lit": round(float(y.count_nonzero()) / y.numel(), 4),
        "milliseconds": {key: round(1e3 * value, 2) for key, value in seconds.items()},
        "times_slower_than_pgen.ot": {key: round(value / seconds["pgen.ot"], 2) for key, value in seconds.items()},
        "other_targets_than_pgen.ot": {key: int((answer != ours).sum()) for key, answer in answers.items()},
    }
    print(name, cost, result["milliseconds"], flush=True)
    return result


def random_case(samples: int, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(torch.rand(*shape, generator=random) for shape in ((samples, size), (count, size), (count,)))  # type: ignore[return-value]


def sparse_case(samples: int, count: int, size: int, lit: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y, psi = random_case(samples, count, size)
    random = torch.Generator().manual_seed(1)
    return x * (torch.rand(x.shape, generator=random) < lit), y * (torch.rand(y.shape, generator=random) < lit), psi


def tiles_case(file: Path, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return real tiles and mirror images as targets, and noisy ones as samples."""
    images = torch.from_numpy(read_all(open_images(str(file))))[:, 0]
    images = torch.where(images > 10, images, 0) / images.max()
    y = torch.cat([images, images.flip(1), images.flip(2), images.flip(1, 2)]).flatten(1).contiguous()
    random = torch.Generator().manual_seed(2)
    x = y[torch.randperm(len(y), generator=random)[:samples]]
    x = x * (1 + 0.3 * torch.randn(x.shape, generator=random))
    return x.roll(3, 1), y, torch.rand(len(y), generator=random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path)
    given = parser.parse_args()
    cases = {
        "dense 64 x 60,000 x 784": random_case(64, 60_000, 784),
        "dense 250 x 20,000 x 384": random_case(250, 20_000, 384),
        "codes 512 x 4,000 x 64": random_case(512, 4_000, 64),
        "2 % lit, 64 x 50,000 x 4,096": sparse_case(64, 50_000, 4_096, 0.02),
    }
    if given.tiles:
        cases["real tiles and mirror images"] = tiles_case(given.tiles, 64)
    results = [compare(name, *case, cost) for name, case in cases.items() for cost in ("l1", "sqeuclidean")]
    about = {"what": "argmin over targets of cost - potential, median of rounds", "rounds": ROUNDS, "results": results}
    record.write("ot_assign", about, "numba", "faiss-cpu", "pykeops", "pot", "ott-jax", "jax")


if __name__ == "__main__":
    main()
