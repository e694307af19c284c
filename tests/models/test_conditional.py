"""Models that are told of labels make samples for them, and their transport keeps to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import ArrayImages, open_images, write_images
from pgen.engine.dataloading.conditions import encode
from pgen.engine.inference.sampler import make_sampler
from pgen.models.transport import append_labels, label_scale
from pgen.ot import SemiDiscreteOT, Targets, assign, pair_cost
from tests.helpers.trained import trained


def test_labels_beside_lit_pixels_are_labels_beside_images() -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(30, 12, generator=random) * (torch.rand(30, 12, generator=random) < 0.2)
    values[3] = 0
    labels = torch.randn(30, 3, generator=random)
    labels[5] = 0
    found = append_labels(values.to_sparse_csr(), labels)
    assert found.layout == torch.sparse_csr
    assert torch.equal(found.to_dense(), torch.cat([values, labels], 1))
    for cost in ("l1", "l2", "sqeuclidean"):
        x = torch.randn(20, 15, generator=random)
        index, _ = assign(x, Targets(found), torch.zeros(30), cost)
        assert torch.equal(index, assign(x, Targets(found.to_dense()), torch.zeros(30), cost)[0])


@pytest.mark.parametrize("cost", ["l1", "l2", "sqeuclidean"])
def test_weight_is_what_labels_cost_against_targets(cost: str) -> None:
    random = torch.Generator().manual_seed(0)
    values, labels = 3 * torch.randn(500, 6, generator=random), torch.randn(500, 2, generator=random)
    scale = label_scale(Targets(values), labels, 5.0, cost, random)
    one, other = torch.randint(500, (2, 20000), generator=random)
    ratio = pair_cost(scale * labels[one], scale * labels[other], cost).mean() / pair_cost(values[one], values[other], cost).mean()
    assert float(ratio) == pytest.approx(5, rel=0.1)


def test_transport_of_classes_is_one_of_its_own_for_each() -> None:
    random = torch.Generator().manual_seed(0)
    values, kind = torch.randn(100, 4, generator=random), torch.arange(100) % 2
    labels = torch.nn.functional.one_hot(kind).float()
    scale = label_scale(Targets(values), labels, 10.0, "sqeuclidean", random)
    solver = SemiDiscreteOT(Targets(append_labels(values, scale * labels)), "sqeuclidean")

    def sampler(n: int) -> torch.Tensor:
        return append_labels(torch.randn(n, 4, generator=random), scale * labels[torch.randint(100, (n,), generator=random)])

    assert solver.fit(sampler, chi2=0.1).chi2 < 0.15
    x = sampler(5000)
    index, _ = assign(x, solver.targets, solver.psi, "sqeuclidean")
    assert float((kind[index] == (x[:, 4:] / scale).argmax(1)).float().mean()) > 0.999


def toy(path: Path, n: int = 300, seed: int = 0) -> Path:
    """Images whose left or right half is lit, as ``side`` says, ``charge`` times 10."""
    random = np.random.default_rng(seed)
    side, charge = random.integers(2, size=n), random.uniform(2, 10, n)
    images = np.zeros((n, 1, 8, 8), "f4")
    for image, right, q in zip(images, side, charge, strict=True):
        image[0, :, 4 * right : 4 * right + 4] = 10 * q + random.normal(0, 2, (8, 4))
    return write_images(path, ArrayImages(images, labels={"side": side, "charge": charge}))


@pytest.mark.parametrize(("model", "options"), [
    ("gan", {"batch_size": 50, "num_epochs": 60, "n_hidden": 128, "p": 0.0, "g_lr": 1e-3, "d_lr": 5e-4}),
    ("ewm", {"batch_size": 256, "num_epochs": 3, "n_hidden": 128, "mem_size": 16384}),
    ("flow", {"batch_size": 32, "num_epochs": 30, "n_hidden": 32, "n_layers": 2, "ema": 0.95, "lr": 3e-3}),
])  # fmt: skip
def test_samples_are_of_what_was_asked_for(model: str, options: dict, tmp_path: Path) -> None:
    again = trained(model, toy(tmp_path / "x.h5"), tmp_path, condition="side,charge", **options)
    for side in (0, 1):
        found = []
        for charge in (3, 8):
            conditions = {"side": str(side), "charge": str(charge)}
            sampler = make_sampler(again, again.load_model(), again.image_decoder(), conditions)
            images, labels = sampler.draw(100, torch.Generator().manual_seed(0))
            assert set(labels["side"]) == {side} and set(labels["charge"]) == {charge}
            halves = images[:, 0].unflatten(2, (2, 4)).mean((1, 3))
            assert float(halves[:, 1 - side].mean()) < 0.2 * float(halves[:, side].mean())
            found.append(float(halves[:, side].mean()))
        assert found == pytest.approx([30, 80], rel=0.2)


@pytest.mark.parametrize("options", [{}, {"kl_weight": 1.0}])
def test_codes_tell_the_labels_of_images_never_seen(options: dict, tmp_path: Path) -> None:
    small = {"n_layers": 2, "depth": 4, "l_dim": 6, "num_epochs": 25}
    run = trained("ae", toy(tmp_path / "x.h5"), tmp_path, condition="side,charge", **small, **options)
    fresh = open_images(str(toy(tmp_path / "fresh.h5", seed=1)))
    model = run.load_model()
    with torch.no_grad():
        told = model.labels(model.encode(model.transform.forward(torch.from_numpy(fresh.read(range(len(fresh)))))))
    asked = encode(run.info.conditions, fresh.labels)
    assert float((told[:, :2].argmax(1) == asked[:, :2].argmax(1)).float().mean()) > 0.98
    assert float((told[:, 2] - asked[:, 2]).abs().mean()) < 0.2
