"""Codes that are small maps of an image: local, kept flat, known as maps to who learns them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pgen import DataInfo
from pgen.data import LatentCodes, load_codes, open_images, read_all
from pgen.data.transforms.charge import ChargeTransform
from pgen.engine.run import Run
from pgen.models.ae.config import AeConfig
from pgen.models.ae.model import AutoEncoder
from pgen.models.flow.networks import UNet
from tests.helpers.trained import trained

AE = ("--arch", "map", "--n-layers", 2, "--depth", 4, "--l-dim", 3, "--batch-size", 16, "--threshold", 10, "--num-epochs", 2)


@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
def test_a_place_tells_of_its_surroundings_alone(kl_weight: float) -> None:
    info = DataInfo("images", (1, 64, 32), 5, transform=ChargeTransform(clip=10.0).to_dict())
    torch.manual_seed(0)
    model = AutoEncoder(AeConfig(arch="map", kl_weight=kl_weight, depth=4), info).eval()
    assert (model.code_shape, model.latent_size) == ((4, 8, 4), 128)
    images = torch.rand(3, 1, 64, 32)
    other = images.clone()
    other[:, :, :8] = 0
    with torch.no_grad():
        one, two = (model.encode(each).unflatten(1, model.code_shape) for each in (images, other))
        assert model.decode(one.flatten(1)).shape == images.shape
    assert not torch.allclose(one[:, :, 0], two[:, :, 0])
    assert torch.equal(one[:, :, 5:], two[:, :, 5:])


@pytest.mark.parametrize("model", ["flow", "ewm"])
def test_generators_learn_maps(model: str, pgen, tmp_path: Path) -> None:
    pgen("train", "ae", "--data", "simulate:n=40,size=16,seed=3", *AE, "--name", "ae", cwd=tmp_path)
    assert "train flow --targets" in " ".join(pgen("deploy", "runs/ae", cwd=tmp_path).stdout.split())
    codes = load_codes(tmp_path / "runs/ae/deploy/codes.pt")
    assert codes.shape == (3, 4, 4) and codes.codes.shape == (40, 48)
    more = {"flow": ("--n-hidden", 8), "ewm": ("--n-hidden", 16, "--ots-steps", 4)}[model]
    pgen("train", model, "--targets", "runs/ae/deploy/codes.pt", *more, "--max-steps", 3, "--batch-size", 16, "--name", "new", cwd=tmp_path)
    pgen("sample", "runs/new", "-n", 5, "--out", "new.h5", cwd=tmp_path)
    assert read_all(open_images(str(tmp_path / "new.h5"))).shape == (5, 1, 16, 16)
    made = Run.open(str(tmp_path / "runs/new"), device=torch.device("cpu")).load_model()
    assert any(isinstance(part, UNet) for part in made.modules()) == (model == "flow")


@pytest.mark.parametrize(("model", "steps"), [("flow", 150), ("ewm", 1000)])
def test_moments_are_held_channel_by_channel(model: str, steps: int, tmp_path: Path) -> None:
    """Places of a channel differ in what they hold, the dark rim of an image above all: to hold each at the same spread would light it."""
    random = torch.Generator().manual_seed(0)
    rim = torch.tensor([0.01, 1.0, 1.0, 0.01])
    values = torch.randn(400, 2, 4, 4, generator=random) * rim + torch.tensor([0.0, 3.0])[:, None, None]
    LatentCodes.from_vectors(values.flatten(1), list(map(str, range(400))), {}, shape=(2, 4, 4)).save(tmp_path / "codes.pt")
    options: dict[str, object] = (
        {"n_hidden": 16, "n_layers": 1, "batch_size": 64, "lr": 5e-3, "ema": 0.9} if model == "flow" else {"n_hidden": 32, "g_lr": 3e-3}
    )
    run = trained(model, tmp_path / "codes.pt", tmp_path, max_steps=steps, **options)
    with torch.no_grad():
        found = run.load_model().sample(500, generator=torch.Generator().manual_seed(1)).unflatten(1, (2, 4, 4))  # type: ignore[operator]
    # As standardised: each channel as a whole has spread 1.
    assert found.transpose(0, 1).flatten(1).std(1).tolist() == pytest.approx([1, 1], abs=0.1)
    assert float(found[..., 0].std(0).mean()) < 0.3 * float(found[..., 1].std(0).mean())
