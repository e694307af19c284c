"""Targets shared out to two processes give the potential of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from pgen.ot import SemiDiscreteOT, Targets, assign

dist.init_process_group("gloo")

def main(folder, cost, lit, shortlist, copies):
    rank, ranks = dist.get_rank(), dist.get_world_size()
    random = torch.Generator().manual_seed(0)
    y = torch.randn(151, 20, generator=random) * (torch.rand(151, 20, generator=random) < float(lit))
    if copies == "some":
        y[70:100] = y[3]
    elif copies == "all":
        y[80:] = y[:71]  # the second rank has none of its own
    group = dist.group.WORLD if ranks > 1 else None
    # Parts need not be alike.
    mine = Targets(y[:80] if rank == 0 else y[80:], group) if group else Targets(y)

    def noise(n):
        # All ranks draw the same batch, and each takes its part.
        return 1.5 * torch.randn(n * ranks, 20, generator=random)[rank * n : (rank + 1) * n]

    weights = torch.arange(1.0, 152)[mine.first : mine.first + len(mine)]
    solver = SemiDiscreteOT(mine, cost, weights=weights, batch_size=64, shortlist=int(shortlist))
    solver.fit(noise, chi2=0.01, max_samples_per_target=60)
    random.manual_seed(1)
    found = solver.certify(noise, 2000)
    certificate = [found.chi2, found.chi2_interval, found.tv, found.never_hit, found.evenness]
    certificate += [found.dual, found.dual_interval, found.samples]
    index, value = assign(noise(50 // ranks), mine, solver.psi, cost)
    merged = mine.merge(weights.double())
    parts = {"psi": solver.psi, "index": index, "value": value, "hits": found.hits, "certificate": torch.tensor(certificate)}
    parts |= {"merged": merged, "spread": mine.spread(merged), "distinct": torch.tensor(mine.distinct)}
    # The second rank holds nothing that can be nearest.
    only_first = torch.where(torch.arange(mine.first, mine.first + len(mine)) < 80, solver.psi, -torch.inf)
    parts["of_first"], _ = assign(noise(50 // ranks), mine, only_first, cost)
    if group:
        try:
            solver.certify(noise, 2000, bound=True)
        except ValueError as error:
            assert "in one process" in str(error)
    torch.save(parts | {"shape": mine.shape}, f"{folder}/{ranks}-{rank}.pt")

for arguments in map(str.split, open(sys.argv[1])):
    main(*arguments)
# Nothing holds on to the group any more: its threads end here, and not while the interpreter does, which aborts now and then.
dist.destroy_process_group()
"""


CASES = [
    ("l1", 1.0, 64, "none"),
    ("l1", 1.0, 0, "none"),
    ("sqeuclidean", 1.0, 64, "none"),
    ("l2", 0.05, 64, "none"),
    ("l1", 1.0, 64, "some"),
    ("sqeuclidean", 1.0, 0, "all"),
]


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each case, with what one process and each of two came to."""
    root = tmp_path_factory.mktemp("solved")
    (root / "solve.py").write_text(SCRIPT)
    for number in range(len(CASES)):
        (root / str(number)).mkdir()
    (root / "cases.txt").write_text("".join(f"{root / str(number)} {' '.join(map(str, case))}\n" for number, case in enumerate(CASES)))
    for ranks in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
        command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", root / "solve.py", root / "cases.txt"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_ranks_give_the_potential_of_one(case: tuple, solved: Path) -> None:
    folder = solved / str(CASES.index(case))
    one, *two = (torch.load(folder / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    # Of numbers of several digits, in single precision.
    scale = float(one["psi"].abs().max().clamp_min(1))
    for name in ("merged", "spread", "psi", "index", "value", "hits", "of_first"):
        torch.testing.assert_close(torch.cat([part[name] for part in two]), one[name], rtol=0, atol=1e-6 * scale)
    assert bool((one["of_first"] < 80).all())
    assert [int(part["distinct"]) for part in two] == [int(one["distinct"])] * 2
    assert [part["shape"] for part in two] == [(80, 20), (71, 20)]
    for part in two:
        torch.testing.assert_close(part["certificate"], one["certificate"], rtol=1e-5, atol=1e-6)
