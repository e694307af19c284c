"""Latent codes with a spread, from a variational auto-encoder: redrawn in each epoch, equally on all ranks."""

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
from tests.engine.test_resume import truncate_run


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


def test_a_variational_encoder_gives_normal_codes_with_a_spread(codes: Path) -> None:
    latents = load_codes(codes)
    assert latents.spread is not None and latents.spread.shape == latents.codes.shape
    assert float(latents.spread.min()) > 0
    # The KL term asks for a standard normal distribution over all images.
    variance = latents.codes.square().mean() + latents.spread.square().mean()
    assert float(variance) == pytest.approx(1, abs=0.35)
    lines = RunDirectory(codes.parents[1]).read_metrics()
    assert lines[-1]["kl"] > 0 and lines[-1]["loss"] < lines[0]["loss"]


def test_codes_are_standardised_with_their_spread() -> None:
    random = torch.Generator().manual_seed(0)
    codes = torch.randn(4000, 3, generator=random) * torch.tensor([1.0, 0.3, 0.0])
    spread = torch.tensor([0.0, 0.8, 1.0]).expand(4000, 3)
    latents = LatentCodes.from_vectors(codes, [str(i) for i in range(4000)], {}, spread=spread)
    samples = codes + spread * torch.randn(4000, 3, generator=random)
    assert torch.allclose(samples.std(0), latents.std, rtol=0.05)


def test_targets_are_redrawn_each_epoch_and_equal_on_all_ranks(codes: Path) -> None:
    data = open_training_data(TrainConfig(targets=str(codes)), registry.load("ewm").spec)
    assert data.spread is not None

    def load(shard) -> list[torch.Tensor]:
        epochs = iter([0.0, 0.4, 1.0, 2.5])
        loader = TargetLoader(data, shard, torch.device("cpu"), 7, sparse=True)
        return list(islice(loader.stream(lambda: next(epochs)), 4))

    first, same, second, third = load(ProcessGroup().shards(60)[0])
    assert first is same and not torch.equal(first, second) and not torch.equal(second, third)
    deviation = (torch.stack([first, second, third]) - data.tensor()) / data.spread
    assert float(deviation.mean()) == pytest.approx(0, abs=0.1) and float(deviation.std()) == pytest.approx(1, abs=0.1)
    halves = [load(shard)[2] for shard in ProcessGroup().shards(60, 2)]
    assert torch.equal(torch.cat(halves), second)


@pytest.mark.parametrize("model", ["ewm", "flow"])
def test_generators_trained_on_redrawn_codes_resume_exactly(model: str, codes: Path, pgen, tmp_path: Path) -> None:
    more = ("--ots-steps", 4) if model == "ewm" else ()
    arguments = ("train", model, "--targets", codes, "--n-hidden", 16, "--batch-size", 32, "--sample-size", 0, *more)
    pgen(*arguments, "--max-steps", 9, "--checkpoint", 5, "--name", "whole", cwd=tmp_path)
    truncate_run(shutil.copytree(tmp_path / "runs/whole", tmp_path / "runs/broken"), 5)
    pgen("train", model, "--resume", "runs/broken", cwd=tmp_path)
    one, other = (checkpoints.load(RunDirectory(tmp_path / "runs" / name)).model for name in ("whole", "broken"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_spread_that_does_not_fit_is_refused() -> None:
    values = torch.randn(4, 3)
    for spread in (torch.ones(4, 2), -torch.ones(4, 3), torch.full((4, 3), torch.nan), [1.0]):
        with pytest.raises(PgenError, match="its spread is not"):
            LatentCodes.from_vectors(values, list("abcd"), {}, spread=spread)  # type: ignore[arg-type]
