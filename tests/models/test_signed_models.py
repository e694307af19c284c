"""Models of signed charge: what range they make, and that they learn which sign goes where."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pgen import DataInfo, PgenError
from pgen.data import ArrayImages, open_images, write_images
from pgen.data.transforms.charge import ChargeTransform
from pgen.engine import hooks
from pgen.engine.artifacts.exported_program import load_program
from pgen.engine.inference.reconstruct import reconstruct
from pgen.engine.inference.sampler import generate_samples, make_sampler
from pgen.engine.run import Run
from pgen.engine.training.setup import resume_run
from pgen.models.ae.config import AeConfig
from pgen.models.ae.model import AutoEncoder
from pgen.plugins import registry
from pgen.plugins.requests import DeployRequest
from tests.helpers.trained import trained

SHAPE = (1, 16, 16)


def bipolar(n: int, seed: int) -> np.ndarray:
    """(n, 1, 16, 16) images of a row of positive charge above a row of negative charge, of random place, extent and charge."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, *SHAPE), np.float32)
    for image, row, first, charge in zip(images, rng.integers(0, 14, n), rng.integers(0, 8, n), rng.uniform(20, 60, n), strict=True):
        image[0, row, first : first + 8] = charge
        image[0, row + 1, first : first + 8] = -0.5 * charge
    return images


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("signed") / "signed.npz", ArrayImages(bipolar(96, 0)))


def drawn(run: Run, n: int = 64) -> np.ndarray:
    model = run.load_model()
    return make_sampler(run, model, run.image_decoder()).draw(n, torch.Generator().manual_seed(0))[0].numpy()


OPTIONS = {
    "gan": {"max_steps": 5},
    "ewm": {"max_steps": 12, "ots_steps": 6, "batch_size": 32, "n_hidden": 16},
    "ewm conv": {"max_steps": 12, "ots_steps": 6, "batch_size": 32, "n_hidden": 16, "n_layers": 2, "arch": "conv"},
    "flow": {"max_steps": 5, "n_hidden": 8, "n_layers": 2, "batch_size": 32},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_generators_of_signed_images_make_both_signs(name: str, source: Path, tmp_path: Path) -> None:
    run = trained(name.split()[0], source, tmp_path, scale="asinh", threshold=2.0, **OPTIONS[name])
    assert run.info.signed
    samples = generate_samples(run, run.load_model(), 64, torch.Generator().manual_seed(0))
    assert -1 <= float(samples.min()) < 0 < float(samples.max()) <= 1
    charge = drawn(run)
    assert (charge < -2).any() and (charge > 2).any() and not ((charge != 0) & (np.abs(charge) <= 2)).any()


def info(transform: ChargeTransform) -> DataInfo:
    return DataInfo("images", SHAPE, 8, transform=transform.to_dict())


@pytest.mark.parametrize("name", OPTIONS)
def test_generators_of_unsigned_images_make_one_sign(name: str) -> None:
    plugin = registry.load(name.split()[0])
    config = plugin.config_class()(arch="conv") if name == "ewm conv" else plugin.config_class()()
    random = torch.Generator().manual_seed(0)
    for signed in (True, False):
        model = plugin.model_class()(config, info(ChargeTransform(60.0, signed=signed))).eval()
        samples = model.sample(8, generator=random).detach()
        assert (float(samples.min()) < 0) == signed and float(samples.abs().max()) <= 1


@pytest.mark.parametrize("loss_fn", ["charge", "mse"])
def test_the_auto_encoder_gives_the_signs_back(loss_fn: str, source: Path, tmp_path: Path) -> None:
    options = {"loss_fn": loss_fn, "depth": 8, "n_layers": 2, "code_noise": 0.02, "num_epochs": 10**4, "ae_lr": 5e-3}
    run = trained("ae", source, tmp_path, threshold=2.0, arch="map", max_steps=250, **options)
    real = bipolar(40, 1)
    (batch,) = reconstruct(run, run.load_model(), ArrayImages(real))
    rebuilt = batch.images
    bright = np.abs(real) > 2
    assert np.mean(np.sign(rebuilt[bright]) == np.sign(real[bright])) > 0.75
    # Pixel by pixel some of the charge is lost to the threshold, which is what the loss "charge" is for. Processors differ; without signs
    # the sum would be three times as large, and half of the signs wrong.
    assert np.abs(rebuilt).sum() == pytest.approx(np.abs(real).sum(), rel=0.25 if loss_fn == "charge" else 0.5)
    assert rebuilt.sum() == pytest.approx(real.sum(), rel=0.6)
    assert np.square(rebuilt - real).mean() < 0.5 * np.square(real).mean()


def test_decoded_charge_has_the_spectrum_of_the_magnitude_and_the_sign_of_the_decoder() -> None:
    """Charges of -30 and 90, which the decoder gives as -40 and 60: the spectrum stretches both, and turns neither."""
    transform = ChargeTransform(100.0, 1.0, signed=True)
    model = AutoEncoder(AeConfig(n_layers=1, depth=2, l_dim=2), info(transform)).eval()
    real, decoded = torch.zeros(64, *SHAPE), torch.zeros(64, *SHAPE)
    real[..., 2, :], real[..., 5, :] = -30, 90
    decoded[..., 2, :], decoded[..., 5, :] = -40, 60
    maps = torch.cat([torch.where(real != 0, 9.0, -9.0), transform.forward(decoded).atanh()], dim=1)
    for _ in range(3):
        model._update_charge_spectrum(transform.forward(real), maps, SimpleNamespace(gather=lambda rows: rows))
    model.decoder = Constant(maps[:4])  # type: ignore[assignment]
    assert torch.allclose(transform.inverse(model.decode(torch.zeros(4, 2))), real[:4], rtol=1e-3)


class Constant(torch.nn.Module):
    """A network with one answer."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.answer


def test_bce_refuses_signed_charge(source: Path, tmp_path: Path) -> None:
    with pytest.raises(PgenError, match=r"`loss_fn=bce` is for charge of one sign.*add negative=drop to their source"):
        trained("ae", source, tmp_path / "runs", loss_fn="bce", max_steps=1)
    assert not (tmp_path / "runs").exists()
    AutoEncoder(AeConfig(loss_fn="bce"), info(ChargeTransform(9.0)))


@pytest.mark.parametrize("name", ["gan", "ewm"])
def test_the_exported_generator_makes_what_the_model_makes(name: str, source: Path, tmp_path: Path) -> None:
    run = trained(name, source, tmp_path, scale="log", **OPTIONS[name])
    (path,) = hooks.call(run, "deploy", request=DeployRequest(out=tmp_path))
    program, _ = load_program(path, torch.device("cpu"))
    model = run.load_model()
    noise = model.noise(9, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        charge, exported = run.image_decoder()(model(noise)), program(noise)
    assert exported.min() < 0 < exported.max()
    torch.testing.assert_close(exported, charge, rtol=1e-4, atol=1e-4)


def test_the_discriminator_sees_signed_images_as_they_are() -> None:
    plugin = registry.load("gan")
    for signed in (True, False):
        model = plugin.model_class()(plugin.config_class()(), info(ChargeTransform(60.0, signed=signed))).eval()
        seen: list[torch.Tensor] = []
        model.discriminator.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        model._discriminate(torch.tensor([[0.0, 0.25, 1.0, -1.0]]).repeat(1, 64).view(1, *SHAPE), None)
        expected = [0.0, 0.25, 1.0, -1.0] if signed else [-1.0, -0.5, 1.0, -3.0]
        assert seen[0][0, :4].tolist() == expected


def test_a_run_of_an_earlier_version_resumes_unsigned(source: Path, tmp_path: Path) -> None:
    """Its transform says nothing of signs, and its negative charge counts as 0: in training further too, with a warning."""
    run = trained("gan", f"{source}:negative=drop", tmp_path, max_steps=2)
    config = json.loads(run.folder.config.read_text())
    del config["data"]["transform"]["signed"]
    config["settings"]["data"] = str(source)
    config["data"]["fingerprint"] = open_images(str(source)).fingerprint
    run.folder.config.write_text(json.dumps(config))
    old = Run.open(run.folder.path)
    assert not old.info.signed and float(old.data.read(range(20)).min()) == 0
    further = resume_run(run.folder.path, old.settings.model_copy(update={"max_steps": 4}))
    hooks.train_session(further)
    assert "warning: negative charge counts as 0" in log_of(further.run) and "is negative; the model sees" not in log_of(further.run)
    assert drawn(Run.open(run.folder.path)).min() >= 0


def log_of(run: Run) -> str:
    return (run.folder.path / "log.txt").read_text()


def test_what_happens_to_the_charge_is_logged(source: Path, tmp_path: Path) -> None:
    images = bipolar(96, 0)
    magnitude = np.abs(images)
    kept = magnitude > 15
    negative = magnitude[kept & (images < 0)].sum() / magnitude[kept].sum()
    faint, beyond = magnitude[~kept].sum() / magnitude.sum(), np.maximum(magnitude - 40, 0).sum() / magnitude.sum()
    assert faint > 0.02 and beyond > 0.02
    log = log_of(trained("gan", source, tmp_path, threshold=15.0, clip=40.0, max_steps=1))
    assert f"signed charge: {negative:.1%} of |charge| is negative; the model sees values from -1 to 1" in log
    assert f"`threshold=15` sets {faint:.1%} of |charge| to 0" in log and f"`clip=40` removes {beyond:.1%} of |charge|" in log
    assert "negative=drop" not in log
    assert "|charge|" not in log_of(trained("gan", f"{source}:negative=drop", tmp_path, max_steps=1))
    magnitude[0, 0, 0, 0] = -5
    few_negative = write_images(tmp_path / "few.npz", ArrayImages(magnitude))
    assert "add negative=drop to the source" in log_of(trained("gan", few_negative, tmp_path, max_steps=1))


def test_held_out_images_of_another_kind_are_a_warning(source: Path, tmp_path: Path) -> None:
    unsigned = write_images(tmp_path / "unsigned.npz", ArrayImages(np.abs(bipolar(40, 2))))
    held_out = write_images(tmp_path / "held_out.npz", ArrayImages(bipolar(40, 2)))
    for data, held, expected in (
        (source, unsigned, f"`held_out={unsigned}`: holds no negative charge"),
        (unsigned, held_out, "33.3% of its |charge| is negative and counts as 0"),
        (source, held_out, ""),
    ):
        log = log_of(trained("ae", data, tmp_path, held_out=str(held), max_steps=1, n_layers=2, depth=2))
        assert expected in log and ("warning" in log) == bool(expected)


def test_choosing_unsigned_samples_by_signed_images_is_a_warning(source: Path, tmp_path: Path) -> None:
    unsigned = write_images(tmp_path / "unsigned.npz", ArrayImages(np.abs(bipolar(40, 2))))
    for data, warned in ((unsigned, True), (source, False)):
        held_out = write_images(tmp_path / f"{data.stem} held out.npz", ArrayImages(bipolar(40, 3)))
        log = log_of(trained("gan", data, tmp_path, held_out=str(held_out), best_by="wasserstein", max_steps=1))
        assert (f"33.3% of the |charge| of {held_out} is negative" in log) == warned


def test_codes_of_signed_images_by_an_unsigned_run_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unsigned = write_images(tmp_path / "unsigned.npz", ArrayImages(np.abs(bipolar(40, 2))))
    signed = write_images(tmp_path / "signed.npz", ArrayImages(bipolar(40, 2)))
    run = trained("ae", unsigned, tmp_path, max_steps=1, n_layers=2, depth=2)
    caplog.set_level("INFO", logger="pgen")
    for data, expected in ((signed, "33.3% of |charge| is negative"), (unsigned, "")):
        caplog.clear()
        hooks.call(run, "deploy", request=DeployRequest(out=tmp_path / data.stem, data=str(data)))
        assert expected in caplog.messages[-1] and any(record.levelname == "WARNING" for record in caplog.records) == bool(expected)
