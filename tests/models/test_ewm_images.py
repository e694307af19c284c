"""EWM fitted to images: by their lit pixels where a store knows them, with the same outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgen.data import open_images, write_images
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import TrainingDataset, open_training_data
from pgen.engine.distributed.group import ProcessGroup
from pgen.plugins import registry

OPTIONS = ("--num-epochs", 1, "--max-steps", 12, "--n-hidden", 16, "--batch-size", 32, "--ots-steps", 6, "--sample-size", 0)


def test_lit_pixels_alone_give_the_same_generator(pgen, tmp_path: Path) -> None:
    store = write_images(tmp_path / "x.h5", open_images("simulate:n=40,size=32,seed=1"))
    write_images(tmp_path / "x.npz", open_images(str(store)))
    for name, more in (("store", ("x.h5",)), ("dense", ("x.npz",)), ("noisy", ("x.h5", "--tess-var", 0.1))):
        pgen("train", "ewm", "--targets", *more, *OPTIONS, "--name", name, cwd=tmp_path)
    weights = {name: load_file(tmp_path / f"runs/{name}/model/weights.safetensors") for name in ("store", "dense", "noisy")}
    assert all(torch.equal(values, weights["dense"][key]) for key, values in weights["store"].items())
    assert not torch.equal(weights["noisy"]["generator.0.0.weight"], weights["store"]["generator.0.0.weight"])


def test_there_is_no_dense_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_images(tmp_path / "x.h5", open_images("simulate:n=40,size=64,seed=1")))
    data = open_training_data(TrainConfig(targets=source), registry.load("ewm").spec)
    (whole,) = ProcessGroup().shards(len(data))
    dense = data.targets(whole, sparse=False).flatten(1)
    monkeypatch.setattr(TrainingDataset, "read", lambda *_: pytest.fail("images were made dense"))
    sparse = data.targets(whole, sparse=True)
    assert sparse.layout == torch.sparse_csr and torch.equal(sparse.to_dense(), dense)
