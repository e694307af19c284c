"""Codes with a spread, of a variational auto-encoder: kept in codes.pt, drawn anew in each epoch, the same however training is divided."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch

from pgen.data import LatentCodes, load_codes
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import open_training_data
from pgen.engine.dataloading.loaders import TargetLoader
from pgen.engine.distributed.group import ProcessGroup
from pgen.errors import PgenError
from pgen.plugins import registry
from tests.conftest import SMALL_AE, run_pgen
from tests.engine.test_resume import cut_back


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vae")
    for arguments in (
        ("train", "ae", "--data", "simulate:n=60,size=16,seed=3", *SMALL_AE, "--kl-weight", 1, "--num-epochs", 20, "--name", "vae"),
        ("deploy", "runs/vae"),
    ):
        done = run_pgen(*arguments, cwd=root)
        assert done.returncode == 0, done.stderr
    return root / "runs/vae/deploy/codes.pt"


def test_a_variational_encoder_gives_normal_codes_with_their_spread(codes: Path) -> None:
    found = load_codes(codes)
    assert found.spread is not None and found.spread.shape == found.codes.shape
    assert float(found.spread.min()) > 0
    # What the divergence asks for: of all images together, a standard normal distribution.
    whole = found.codes.square().mean() + found.spread.square().mean()
    assert float(whole) == pytest.approx(1, abs=0.35)
    lines = RunDirectory(codes.parents[1]).read_metrics()
    assert lines[-1]["kl"] > 0 and lines[-1]["loss"] < lines[0]["loss"]


def test_codes_are_standardised_as_they_are_drawn() -> None:
    random = torch.Generator().manual_seed(0)
    codes = torch.randn(4000, 3, generator=random) * torch.tensor([1.0, 0.3, 0.0])
    spread = torch.tensor([0.0, 0.8, 1.0]).expand(4000, 3)
    found = LatentCodes.from_vectors(codes, [str(i) for i in range(4000)], {}, spread=spread)
    drawn = codes + spread * torch.randn(4000, 3, generator=random)
    assert torch.allclose(drawn.std(0), found.std, rtol=0.05)


def test_targets_are_drawn_anew_each_epoch_and_shared_out_alike(codes: Path) -> None:
    data = open_training_data(TrainConfig(targets=str(codes)), registry.load("ewm").spec)
    assert data.spread is not None

    def of(part) -> list[torch.Tensor]:
        epochs = iter([0.0, 0.4, 1.0, 2.5])
        every = TargetLoader(data, part, torch.device("cpu"), 7, sparse=True)
        return list(islice(every.stream(lambda: next(epochs)), 4))

    first, same, second, third = of(ProcessGroup().shards(60)[0])
    assert first is same and not torch.equal(first, second) and not torch.equal(second, third)
    off = (torch.stack([first, second, third]) - data.tensor()) / data.spread
    assert float(off.mean()) == pytest.approx(0, abs=0.1) and float(off.std()) == pytest.approx(1, abs=0.1)
    halves = [of(part)[2] for part in ProcessGroup().shards(60, 2)]
    assert torch.equal(torch.cat(halves), second)


@pytest.mark.parametrize("model", ["ewm", "flow"])
def test_generators_learn_from_them_and_go_on_exactly(model: str, codes: Path, pgen, tmp_path: Path) -> None:
    more = ("--ots-steps", 4) if model == "ewm" else ()
    arguments = ("train", model, "--targets", codes, "--n-hidden", 16, "--batch-size", 32, "--sample-size", 0, *more)
    pgen(*arguments, "--max-steps", 9, "--checkpoint", 5, "--name", "whole", cwd=tmp_path)
    cut_back(shutil.copytree(tmp_path / "runs/whole", tmp_path / "runs/broken"), 5)
    pgen("train", model, "--resume", "runs/broken", cwd=tmp_path)
    one, other = (checkpoints.load(RunDirectory(tmp_path / "runs" / name)).model for name in ("whole", "broken"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_spread_that_does_not_fit_is_refused() -> None:
    values = torch.randn(4, 3)
    for spread in (torch.ones(4, 2), -torch.ones(4, 3), torch.full((4, 3), torch.nan), [1.0]):
        with pytest.raises(PgenError, match="its spread is not"):
            LatentCodes.from_vectors(values, list("abcd"), {}, spread=spread)  # type: ignore[arg-type]
