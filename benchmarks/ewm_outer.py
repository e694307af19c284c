"""One outer iteration of EWM on the CPU: pgen's `ewm`, and the loop of arXiv:1906.03471.

    python benchmarks/ewm_outer.py --mnist FOLDER [--images 2000]

Both start from the same generator, which three rounds have brought half-way, and from the potential
of the last round; ground cost l1. The authors' loop is written here from its description, with its
defaults: OTS of up to 20,000 steps of batch 64 with Adam(psi, 0.1) (0.05 here, because pixels are
in [0, 1] and not in [-1, 1]), not centred and not averaged. Every 1,000 steps it stops if the last
256,000 hits in 1,000 bins are all in [200, 320]. FIT is one pass over the stored 4,000 batches with
Adam(1e-4). Costs are computed with torch.cdist. pgen's side is the code of the model with its
defaults, except for the ground cost and for `chi2`, which is set to the certificate that the
authors' potential reached, so that both solves are equally good. Each is judged by the transport
cost (dual value) of the resulting generator, solved again. Writes results/ewm_outer.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections import deque
from pathlib import Path

import torch
from torch import nn

import record
from ot_solve import Problem
from pgen.data import open_images, read_all
from pgen.engine.config import TrainConfig
from pgen.engine.training.trainer import Trainer
from pgen.models.ewm.config import EwmConfig
from pgen.models.ewm.model import FIT, OTS, Ewm
from pgen.ot import SemiDiscreteOT, certify, pair_cost
from pgen.plugins.specs import DataInfo


def authors(problem: Problem, net: nn.Module) -> dict[str, float]:
    """Run the authors' outer iteration; updates ``net``."""
    y, random = problem.y, torch.Generator().manual_seed(3)
    psi = nn.Parameter(problem.warm.psi.clone())
    ascent, fit = torch.optim.Adam([psi], 0.05), torch.optim.Adam(net.parameters(), 1e-4)
    ring: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=4000)
    began = time.perf_counter()
    for step in range(1, 20_001):
        z = torch.randn(64, problem.noise_size, generator=random)
        with torch.no_grad():
            hit = (torch.cdist(net(z), y, p=1) - psi).argmin(1)
        ring.append((z, hit))
        ascent.zero_grad()
        # Minus the dual, as far as psi goes.
        (psi[hit].mean() - psi.mean()).backward()
        ascent.step()
        if step % 1000 == 0 and len(ring) == 4000:
            hits = torch.histc(torch.cat([hit for _, hit in ring]).double(), bins=1000, min=0, max=len(y))
            if hits.min() >= 200 and hits.max() <= 320:
                break
    solved = time.perf_counter()
    for z, hit in ring:
        fit.zero_grad()
        pair_cost(net(z), y[hit], "l1").mean().backward()
        fit.step()
    return {
        "steps": step, "ots_seconds": solved - began, "fit_seconds": time.perf_counter() - solved,
        "chi2": problem.chi2(psi.detach() - psi.detach().mean()),
    }  # fmt: skip


def ours(problem: Problem, net: nn.Module, chi2: float) -> dict[str, float]:
    """Run pgen's outer iteration; updates ``net``."""
    config = EwmConfig(cost="l1", chi2=chi2, z_dim=problem.noise_size)
    model = Ewm(config, DataInfo(kind="codes", shape=tuple(problem.y.shape[1:]), count=len(problem.y)))
    model.generator = net
    model.ascent.load_state_dict(problem.warm.ascent.state_dict())
    trainer = Trainer(model.optimizers(), torch.device("cpu"), TrainConfig(batch_size=512))
    began, seconds = time.perf_counter(), {}
    while model.iteration == 0:
        phase = model.phase
        model.training_step(problem.y, trainer)
        trainer.step += 1
        if phase == OTS and model.phase == FIT:
            seconds["steps"], seconds["ots_seconds"] = trainer.step, time.perf_counter() - began
            judged = model.ascent.average.clone()
    net.eval()
    seconds["fit_seconds"] = time.perf_counter() - began - seconds["ots_seconds"]
    return seconds | {"chi2": certify(problem.fresh, problem.targets, judged, "l1").chi2}


def transport_cost(problem: Problem, net: nn.Module) -> float:
    """Return the dual value of the generator from a new solve."""
    random = torch.Generator().manual_seed(9)

    def sample(n: int) -> torch.Tensor:
        with torch.no_grad():
            return net(torch.randn(n, problem.noise_size, generator=random))

    solver = SemiDiscreteOT(problem.targets, "l1")
    solver.fit(sample, chi2=0.05)
    return solver.certify(sample).dual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    digits = torch.from_numpy(read_all(open_images(f"mnist:root={given.mnist},limit={given.images}"))).flatten(1).float()
    problem = Problem(digits / digits.max(), "l1", 0.5, [32, 512, 512, 512, 784], nn.Sigmoid)
    ours(problem, copy.deepcopy(problem.net), 0.5)  # to compile
    nets = {name: copy.deepcopy(problem.net) for name in ("authors", "pgen")}
    result: dict[str, dict[str, float]] = {"authors": authors(problem, nets["authors"])}
    result["pgen"] = ours(problem, nets["pgen"], result["authors"]["chi2"])
    for name, row in result.items():
        row["seconds"] = row["ots_seconds"] + row["fit_seconds"]
        row["transport_cost_after"] = transport_cost(problem, nets[name])
    before = transport_cost(problem, problem.net)
    ratio = result["authors"]["seconds"] / result["pgen"]["seconds"]
    about = {"what": "one outer iteration of EWM", "images": given.images, "transport_cost_before": before, **result, "times_faster": ratio}
    print(json.dumps(about, indent=1))
    record.write("ewm_outer", about, "numba")


if __name__ == "__main__":
    main()
