"""The decoder's two promises: as many lit pixels as expected, and the charge spectrum of real images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.models.ae.model import most_probable
from pgen.models.ae.spectrum import ChargeSpectrum


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 9))
@settings(max_examples=50, deadline=None)
def test_as_many_pixels_as_the_probabilities_sum_to_and_the_best_ones(seed: int, n: int, side: int) -> None:
    probability = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed)).pow(3)
    chosen = most_probable(probability)
    wanted = probability.flatten(1).sum(1).round().long()
    assert torch.equal(chosen.flatten(1).sum(1), wanted)
    for p, c in zip(probability, chosen, strict=True):
        if c.any() and not c.all():
            assert p[c].min() >= p[~c].max()


def test_spectrum_is_matched_beyond_its_mean() -> None:
    random = torch.Generator().manual_seed(0)
    real = 2 + 20 * torch.empty(50_000).exponential_(generator=random)
    decoded = 22 + 0.2 * (real - 22)  # bunched around the mean
    spectrum = ChargeSpectrum()
    assert torch.equal(spectrum(decoded), decoded)
    for part_real, part_decoded in zip(real.split(5000), decoded.roll(77).split(5000), strict=True):
        spectrum.follow(part_real, part_decoded)
    matched = spectrum(decoded)
    assert float(matched.sum()) == pytest.approx(float(real.sum()), rel=0.01)
    for threshold in (5, 10, 50, 100):
        assert float((matched > threshold).float().mean()) == pytest.approx(float((real > threshold).float().mean()), abs=0.005)
    ordered = spectrum(torch.linspace(0, 2 * float(decoded.max()), 1000))
    assert (ordered.diff() >= 0).all() and ordered[-1] > real.max()


def test_spectrum_ignores_empty_batches() -> None:
    spectrum = ChargeSpectrum()
    spectrum.follow(torch.tensor([]), torch.tensor([1.0]))
    assert spectrum(torch.tensor([3.0])) == 3.0
