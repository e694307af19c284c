"""Training options are accepted in both spellings and change the result."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import open_images, write_images
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import open_training_data
from pgen.engine.dataloading.loaders import BatchLoader
from pgen.plugins import registry
from tests.helpers import trained as models

CHANGES = [
    ("gan", "--n_hidden", 24), ("gan", "--n_layers", 1), ("gan", "--z_dim", 7), ("gan", "--g_lr", 0.01), ("gan", "--d_lr", 0.01),
    ("gan", "--g_opt", "sgd"), ("gan", "--lr_decay", 0.01), ("gan", "--flip", "both"), ("gan", "--crop", "12"),
    ("gan", "--warm_up", 5), ("gan", "--max_grad_norm", 0.01), ("gan", "--accumulate", 2),
    ("ae", "--lr_decay", 0.01), ("ewm", "--lr_decay", 0.9),
    ("gan", "--d_opt", "sgd"), ("gan", "--beta", 0.9), ("gan", "--p", 0.5), ("gan", "--batch_size", 8), ("gan", "--num_epochs", 3),
    ("ae", "--l_dim", 5), ("ae", "--ae_opt", "sgd"), ("ae", "--ae_lr", 0.1), ("ae", "--depth", 2), ("ae", "--loss_fn", "mse"),
    ("ae", "--n_layers", 1),
    ("ae", "--beta", 0.1), ("ae", "--p", 0.5),
    ("ewm", "--g_lr", 0.1), ("ewm", "--g_opt", "sgd"), ("ewm", "--n_hidden", 9), ("ewm", "--psi_lr", 0.5), ("ewm", "--psi_slow", 5.0),
    ("ewm", "--mem_size", 32),
    ("ewm", "--tess_var", 0.5), ("ewm", "--beta", 0.1), ("ewm", "--p", 0.5), ("ewm", "--n_layers", 1),
    ("flow", "--coupling", "independent"), ("flow", "--coupling", "minibatch"), ("flow", "--chi2", 0.001), ("flow", "--n_hidden", 9),
    ("flow", "--n_layers", 1), ("flow", "--patch", 1), ("flow", "--lr", 0.1), ("flow", "--opt", "sgd"), ("flow", "--beta", 0.1),
]  # fmt: skip
BASE = {
    "gan": ("--data", "simulate:n=24,size=16,seed=1", "--n-hidden", 16, "--batch-size", 12, "--num-epochs", 2),
    "ae": ("--data", "simulate:n=24,size=16,seed=1", "--n-layers", 2, "--depth", 4, "--batch-size", 12, "--num-epochs", 2),
    "ewm": ("--targets", "simulate:n=24,size=16,seed=1", "--n-hidden", 16, "--ots-steps", 6, "--batch-size", 16, "--num-epochs", 2),
    "flow": ("--targets", "simulate:n=24,size=16,seed=1", "--n-hidden", 8, "--n-layers", 2, "--batch-size", 12, "--num-epochs", 2),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Trains in this process, for speed; returns the run."""
    root = tmp_path_factory.mktemp("options")

    @functools.cache
    def train(model: str, **options):
        _, source, *more = BASE[model]
        base = {str(name)[2:].replace("-", "_"): value for name, value in zip(more[::2], more[1::2], strict=True)}
        return models.trained(model, str(source), root, **base | options)

    return train


@pytest.mark.parametrize(("model", "option", "value"), CHANGES)
def test_an_option_changes_the_result(trained, model: str, option: str, value: object) -> None:
    before, after = trained(model), trained(model, **{option[2:]: value})
    a, b = before.load_model("last").state_dict(), after.load_model("last").state_dict()
    assert any(a[name].shape != b[name].shape or not torch.equal(a[name], b[name]) for name in a.keys() & b.keys()) or a.keys() != b.keys()


def test_options_are_spelled_with_hyphens_or_underscores(pgen) -> None:
    for name in ("--g_lr", "--g-lr"):
        text = pgen("train", "gan", name, "0.5", "--dry-run").stdout
        assert json.loads(text)["config"]["g_lr"] == 0.5


def test_data_root_save_root_and_sample_size_say_where_files_go(pgen, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((12, 8, 8), dtype=np.float32))
    arguments = ("--data_root", tmp_path, "--dataset", "images.npy", "--save_root", tmp_path / "out", "--sample_size", 4, "--num_epochs", 1)
    pgen("train", "gan", *arguments, "--n_hidden", 8)
    assert list((tmp_path / "out/gan-1/samples").glob("*.png"))
    pgen("train", "gan", *arguments[:-4], "--sample_size", 0, "--num_epochs", 1, "--n_hidden", 8)
    assert not (tmp_path / "out/gan-2/samples").exists()


SOURCE, CPU = "simulate:n=10,size=16,seed=1", torch.device("cpu")


def load_batches(data: str = SOURCE, **options) -> list[torch.Tensor]:
    settings = TrainConfig(data=data, batch_size=4, **options)
    images = open_training_data(settings, registry.load("gan").spec)
    batches = BatchLoader(images, settings, CPU)
    stream = batches.stream(0)
    return [next(stream)[1] for _ in range(2 * batches.steps_per_epoch)]


@pytest.mark.parametrize(("flip", "axes"), [("rows", [(2,)]), ("columns", [(3,)]), ("both", [(2,), (3,), (2, 3)])])
def test_flips_mirror_each_image_along_the_axes(flip: str, axes: list[tuple[int, ...]]) -> None:
    plain, flipped, repeated = load_batches(), load_batches(flip=flip), load_batches(flip=flip)
    assert all(map(torch.equal, flipped, repeated))
    flips = set()
    for image, variant in zip(torch.cat(plain), torch.cat(flipped), strict=True):
        ways = [way for way in [(), *axes] if torch.equal(variant[None], image[None].flip(way))]
        flips.add(ways[0])  # it must be one of them
    assert flips == {(), *axes}
    resumed = BatchLoader(open_training_data(s := TrainConfig(data=SOURCE, batch_size=4, flip=flip), registry.load("gan").spec), s, CPU)
    assert torch.equal(next(resumed.stream(4))[1], flipped[4])


def test_crops_are_windows_of_each_image() -> None:
    plain, cropped, repeated = load_batches(), load_batches(crop="9x13"), load_batches(crop="9x13")
    assert all(map(torch.equal, cropped, repeated))
    corners = set()
    for image, variant in zip(torch.cat(plain), torch.cat(cropped), strict=True):
        windows = [(r, c) for r in range(8) for c in range(4) if torch.equal(image[:, r : r + 9, c : c + 13], variant)]
        corners |= set(windows if len(windows) == 1 else [])
        assert windows  # it must be one of them
    assert {r for r, _ in corners} == set(range(8)) and {c for _, c in corners} == set(range(4))
    assert torch.equal(load_batches(crop="9x13", flip="both")[3].sum((2, 3)), cropped[3].sum((2, 3)))


def test_shuffle_and_drop_last_set_order_and_number_of_batches() -> None:
    plain = load_batches(shuffle=False)
    assert [len(batch) for batch in plain] == [4, 4, 2] * 2
    assert torch.equal(torch.cat(plain[:3]), torch.cat(plain[3:]))
    assert [len(batch) for batch in load_batches(shuffle=False, drop_last=True)] == [4, 4] * 2
    shuffled = load_batches(shuffle=True)
    assert not torch.equal(torch.cat(shuffled[:3]), torch.cat(shuffled[3:]))
    assert torch.equal(torch.cat(shuffled[:3]).sum(0), torch.cat(shuffled[3:]).sum(0)) or torch.allclose(
        torch.cat(shuffled[:3]).sum(0), torch.cat(plain[:3]).sum(0), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["simulate", "npy", "h5"])
def test_workers_load_the_same_batches(kind: str, tmp_path: Path) -> None:
    source = "simulate:n=10,size=16,seed=1"
    if kind == "npy":
        np.save(tmp_path / "x.npy", np.random.default_rng(0).random((10, 8, 8), dtype=np.float32))
        source = str(tmp_path / "x.npy")
    elif kind == "h5":
        source = str(write_images(tmp_path / "x.h5", open_images(source)))
    for here, there in zip(load_batches(source, shuffle=True), load_batches(source, shuffle=True, num_workers=2), strict=True):
        assert torch.equal(here, there)
