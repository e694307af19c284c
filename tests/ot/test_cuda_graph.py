"""Steps replayed as a CUDA graph give the same result; on the CPU a tape takes the graph's place."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec

import pytest
import torch

from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.training.trainer import Trainer
from pgen.models.ewm.config import EwmConfig
from pgen.models.ewm.model import Ewm
from pgen.ot import COSTS, DualAscent, SemiDiscreteOT, Targets
from pgen.ot.assignment.reference import assign_reference
from pgen.ot.solvers import cuda_graph
from pgen.plugins.specs import Condition, DataInfo
from tests.helpers.problems import dense_and_sparse
from tests.helpers.tape import Noted, record

pytestmark = pytest.mark.gpu
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is recorded, where no GPU is."""
    kept: list[str] = []
    if not GPU:

        def noted(function):
            kept.append("recorded")
            return record(function)

        def plain(x, targets, psi, cost):
            return assign_reference(x, targets.dense, psi, cost)

        monkeypatch.setattr(cuda_graph, "capture", noted)
        for module in ("pgen.ot.solvers.semidiscrete", "pgen.models.ewm.model"):
            monkeypatch.setattr(f"{module}.make_graphed", lambda function, targets: cuda_graph.GraphedFunction(function))
        # The kernels of the CPU cannot be seen on a tape.
        monkeypatch.setattr(importlib.import_module("pgen.ot.assignment.assign"), "nearest", plain)
    return kept


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(30, 32, 5, generator=random).to(DEVICE), torch.rand(40, 5, generator=random).to(DEVICE) * 3


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(
    "options", [{}, {"method": "adam"}, {"averaging": "tail"}, {"averaging": "ema"}, {"epsilon": 0.05}, {"momentum": 0.9}], ids=str
)
@pytest.mark.parametrize("copies", [0, 15])
def test_ascent_is_the_same_replayed(cost: str, copies: int, options: dict) -> None:
    batches, y = problem()
    y[40 - copies :] = 0
    assert_the_same_replayed(batches, y, cost, **options)


def assert_the_same_replayed(batches: torch.Tensor, y: torch.Tensor, cost: str, **options) -> None:
    for targets in dense_and_sparse(y):
        plain, other = (DualAscent(40, cost, **options).to(DEVICE) for _ in range(2))
        step = cuda_graph.GraphedFunction(lambda x, other=other, targets=targets: other.device_step(x, targets))
        for ascent in (plain, other):
            ascent.unit, ascent.batch = 1.0, batches.shape[1]
        for x in batches:
            index, value = plain.step(x, targets)
            other.host_step(targets)
            other_index, other_value = step(x=x)
            assert torch.equal(index, other_index) and torch.equal(value, other_value)
        for name, state in plain.state_dict().items():
            assert torch.equal(state, other.state_dict()[name]), name


@pytest.mark.skipif(find_spec("triton") is None and "CI" not in os.environ, reason="Triton is not installed")
def test_kernels_of_a_gpu_are_the_same_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pgen.ot.assignment import cuda

    if not GPU:
        monkeypatch.setattr(importlib.import_module("pgen.ot.assignment.assign"), "nearest", cuda.assign_cuda)
        for name in ("dense_bounds", "sparse_bounds", "exact"):
            monkeypatch.setattr(cuda.kernels, name, Noted(getattr(cuda.kernels, name)))
    batches, y = problem()
    assert_the_same_replayed(batches[:5, :2], y, "sqeuclidean")


def test_a_recording_holds_the_sampler_too(recorded: list[str]) -> None:
    _, y = problem()
    found = []
    for use_graph in (False, True):
        torch.manual_seed(0)
        solver = SemiDiscreteOT(y, batch_size=32, shortlist=8)
        solver.fit(lambda n: torch.randn(n, 5, device=DEVICE), chi2=1e-6, max_samples_per_target=60, cuda_graph=use_graph)
        found.append(solver.psi)
    assert torch.equal(*found)
    # Anew where a stall has doubled the batch.
    assert GPU or len(recorded) > 1


@pytest.mark.parametrize("conditional", [False, True])
def test_ewm_is_the_same_replayed(conditional: bool, recorded: list[str]) -> None:
    def trained(replayed: bool) -> dict[str, torch.Tensor]:
        targets, labels = torch.rand(40, 6, generator=torch.Generator().manual_seed(1)), torch.eye(2).repeat(20, 1)
        told = (Condition("type", "type", (0, 1)),) if conditional else ()
        torch.manual_seed(0)
        config = EwmConfig(n_hidden=16, n_layers=1, ots_steps=9, fit_passes=2, tess_var=0.01, p=0.1, replay=replayed)
        model = Ewm(config, DataInfo("codes", (6,), 40, conditions=told)).to(DEVICE)
        trainer = Trainer(model.optimizers(), DEVICE, TrainConfig(batch_size=16))
        for step in range(50):
            trainer.start_step(step, 0.0)
            trainer.start_microbatch(ProcessGroup().shards(16, 1)[0], 0, 1, labels.to(DEVICE) if conditional else None)
            model.training_step(targets.to(DEVICE), trainer)
        assert model.iteration >= 2
        return model.state_dict()

    plain = trained(False)
    assert not recorded
    for name, state in trained(True).items():
        assert torch.equal(plain[name], state), name
    assert GPU or len(recorded) == 3  # a round each


def test_what_a_graph_cannot_hold_is_not_replayed() -> None:
    y = torch.rand(4, 3)
    assert cuda_graph.make_graphed(len, Targets(y)) is len
