"""The decoder's two promises, as many lit pixels as expected and the charge spectrum of real images; and the variational loss."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen import DataInfo
from pgen.data.transforms.charge import ChargeTransform
from pgen.models.ae.charge_spectrum import ChargeSpectrum
from pgen.models.ae.config import AeConfig
from pgen.models.ae.model import AutoEncoder, expected_mask


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 9))
@settings(max_examples=50, deadline=None)
def test_as_many_pixels_as_the_probabilities_sum_to_and_the_best_ones(seed: int, n: int, side: int) -> None:
    probability = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed)).pow(3)
    chosen = expected_mask(probability)
    wanted = probability.flatten(1).sum(1).round().long()
    assert torch.equal(chosen.flatten(1).sum(1), wanted)
    for p, c in zip(probability, chosen, strict=True):
        if c.any() and not c.all():
            assert p[c].min() >= p[~c].max()


def bunched(seed: int, n: int = 400, side: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real images (n, 1, side, side) of various brightness, decoded ones whose charges bunch about their mean, and where both are lit."""
    random = torch.Generator().manual_seed(seed)
    lit = torch.rand(n, 1, side, side, generator=random) < 0.3
    brightness = 20 * torch.empty(n, 1, 1, 1).exponential_(generator=random) + 5
    real = brightness * torch.empty(n, 1, side, side).exponential_(generator=random) * lit
    decoded = 0.7 * (brightness + 0.2 * (real - brightness)) * lit
    return real, decoded, lit


def test_spectrum_keeps_total_charge_and_occupancy_above_any_threshold() -> None:
    spectrum = ChargeSpectrum()
    for seed in range(5):
        real, decoded, lit = bunched(seed)
        spectrum.update(real, lit, decoded, lit)
    real, decoded, lit = bunched(9)
    matched = spectrum(decoded, lit)
    assert float(matched.sum()) == pytest.approx(float(real.sum()), rel=0.05)
    for threshold in (2, 5, 10, 50, 100):
        wanted, before, found = (float((images > threshold).float().mean()) for images in (real, decoded, matched))
        assert abs(found - wanted) < 0.01
        assert threshold in (10, 50) or abs(before - wanted) > 0.01  # without it, occupancy is off
    assert not matched[~lit].any()


def test_brightness_of_an_image_stays_the_decoders_answer() -> None:
    spectrum = ChargeSpectrum()
    real, decoded, lit = bunched(0)
    spectrum.update(real, lit, decoded, lit)
    ratio = spectrum(decoded, lit).sum((1, 2, 3)) / decoded.sum((1, 2, 3))
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_spectrum_ignores_blank_batches_and_survives_blank_images() -> None:
    spectrum = ChargeSpectrum()
    blank, nothing = torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    spectrum.update(blank, nothing, blank + 1, ~nothing)
    assert torch.equal(spectrum(blank + 3, ~nothing), blank + 3)
    real, decoded, lit = bunched(0)
    spectrum.update(real, lit, decoded, lit)
    assert torch.equal(spectrum(blank, nothing), blank)


def test_divergence_is_that_of_the_codes_before_noise() -> None:
    info = DataInfo("images", (1, 8, 8), 5, transform=ChargeTransform(clip=10.0).to_dict())
    torch.manual_seed(0)
    model = AutoEncoder(AeConfig(arch="mlp", l_dim=3, kl_weight=0.7), info)
    images, random = torch.rand(5, 1, 8, 8), torch.Generator().manual_seed(1)
    trainer = SimpleNamespace(
        sample_noise=lambda draw: draw(5, generator=random), update=lambda *_: None, step=1, condition=None, gather=lambda values: values
    )
    losses = model.training_step(images, trainer)
    mean, spread = model.encode_distribution(images)
    assert spread is not None
    encoded, standard = torch.distributions.Normal(mean, spread), torch.distributions.Normal(0.0, 1.0)
    wanted = torch.distributions.kl_divergence(encoded, standard).sum() / 5
    torch.testing.assert_close(losses["kl"], wanted)
    torch.testing.assert_close(losses["loss"], losses["lit_loss"] + 100 * losses["charge_loss"] + 0.7 * wanted)
