from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, ChargeTransform
from pgen.data.transforms.charge import ChargeBalance, fit_transform
from pgen.data.transforms.charge_scales import BUILT_IN, Scale
from pgen.errors import PgenError

#: A scale as a plug-in may offer it.
CBRT = Scale(lambda x: x ** (1 / 3), lambda y: y**3)


def transforms(signed: bool = False, scales: Sequence[str] = ("linear", "sqrt", "log", "asinh")) -> st.SearchStrategy[ChargeTransform]:
    return st.builds(
        lambda clip, fraction, scale, unit: ChargeTransform(clip, fraction * clip, scale, unit * clip, signed),
        st.floats(1e-2, 1e4),
        st.sampled_from([0.0, 0.05, 0.5]),
        st.sampled_from(scales),
        st.floats(1e-3, 10),
    )


@settings(deadline=None)
@given(transforms(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_inverse_undoes_forward(transform: ChargeTransform, parts: list[float]) -> None:
    charge = transform.threshold * 1.001 + torch.tensor(parts, dtype=torch.float64) * (transform.clip - transform.threshold * 1.001)
    charge = charge.float()
    model = transform.forward(charge)
    assert model.min() >= 0 and model.max() <= 1 + 1e-6
    assert torch.allclose(transform.inverse(model), charge, rtol=1e-4, atol=1e-5 * transform.clip)
    ordered = charge.sort().values
    assert bool((transform.forward(ordered).diff() >= 0).all())


@given(st.data(), st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.sampled_from([torch.float32, torch.float64]))
@settings(deadline=None)
def test_signed_charge_goes_by_its_magnitude(data: st.DataObject, parts: list[float], dtype: torch.dtype) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILT_IN, "cbrt", CBRT)
        signed = data.draw(transforms(True, [*BUILT_IN]))
        unsigned = replace(signed, signed=False)
        charge = torch.tensor(parts, dtype=dtype) * 1.2 * signed.clip
        model = signed.forward(charge)
        assert model.abs().max() <= 1 + 1e-6
        assert torch.equal(signed.forward(-charge), -model)
        assert torch.equal(model, unsigned.forward(charge.abs()) * charge.sign())
        assert torch.equal(signed.inverse(-model), -signed.inverse(model))
        # What lies between the thresholds is exactly invertible, the rest goes to 0 or to clip.
        back, magnitude = signed.inverse(model), charge.abs()
        inside = (magnitude > 1.001 * signed.threshold) & (magnitude <= signed.clip)
        assert torch.allclose(back[inside], charge[inside], rtol=1e-4, atol=1e-5 * signed.clip)
        assert not back[magnitude <= signed.threshold].any()
        beyond = magnitude > signed.clip
        assert torch.allclose(back[beyond], signed.clip * charge[beyond].sign(), rtol=1e-4)


@settings(deadline=None)
@given(transforms())
def test_ends(transform: ChargeTransform) -> None:
    charge = torch.tensor([-5.0, 0.0, transform.threshold, transform.clip, 2 * transform.clip])
    assert torch.allclose(transform.forward(charge), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))
    out = transform.inverse(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert torch.allclose(out, torch.tensor([0.0, 0.0, transform.clip, transform.clip]), rtol=1e-4)
    assert ChargeTransform.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform


def test_fit() -> None:
    images = ArrayImages(np.array([[[0.0, 10, 20]], [[40, 5, -3]]]))
    assert ChargeTransform.fit(images, threshold=5, scale="log") == ChargeTransform(40, 5, "log", np.mean([10, 20, 40]))
    assert ChargeTransform.fit(images, threshold=2, scale="log") == ChargeTransform(40, 2, "log", np.mean([10, 20, 40, 5, 3]), signed=True)
    assert ChargeTransform.fit(ArrayImages(-images.images)) == ChargeTransform(40, 0, "linear", np.mean([10, 20, 40, 5, 3]), signed=True)
    assert ChargeTransform.fit(images, clip=25).clip == 25
    with pytest.raises(PgenError, match="all images are blank"):
        ChargeTransform.fit(images, threshold=40)


def test_balance_of_the_charge() -> None:
    images = ArrayImages(np.array([[[0.0, 10, 20]], [[40, 5, -25]]]))
    transform, balance = fit_transform(images, threshold=5, clip=30)
    assert balance == ChargeBalance(signed=True, negative=25 / 95, suppressed=pytest.approx(5 / 100), clipped=10 / 100)
    faint, balance = fit_transform(images, threshold=25, clip=30)
    assert not faint.signed and balance == ChargeBalance(signed=False, negative=0, suppressed=pytest.approx(60 / 100), clipped=10 / 100)
    unsigned = replace(transform, signed=False, clip=22)
    assert unsigned.balance(images) == ChargeBalance(signed=False, negative=25 / 95, suppressed=pytest.approx(0.05), clipped=18 / 100)
    assert unsigned.balance(ArrayImages(np.zeros((1, 2, 2)))) == ChargeBalance(signed=False, negative=0, suppressed=0, clipped=0)


def test_transforms_of_earlier_versions_are_unsigned() -> None:
    old = {"clip": 40.0, "threshold": 1.0, "scale": "asinh", "unit_charge": 3.0}
    assert ChargeTransform.from_dict(old) == ChargeTransform(40, 1, "asinh", 3) and not ChargeTransform.from_dict(old).signed


def test_exports() -> None:
    for scale in ("linear", "sqrt", "log", "asinh"):
        transform = ChargeTransform(100.0, 10.0, scale, 30.0, signed=scale != "log")

        class Back(torch.nn.Module):
            def forward(self, y: torch.Tensor) -> torch.Tensor:
                return transform.inverse(y)  # noqa: B023

        y = 2 * torch.rand(2, 1, 4, 4) - 1
        assert torch.equal(torch.export.export(Back(), (y,)).module()(y), transform.inverse(y))


def test_bad_values() -> None:
    for values in (
        {"clip": 0},
        {"clip": 1, "threshold": 2},
        {"clip": 1, "threshold": -1},
        {"clip": float("nan")},
        {"clip": 1, "unit_charge": 0},
    ):
        with pytest.raises(PgenError, match="fit"):
            ChargeTransform(**values)
    with pytest.raises(PgenError, match="scale='cube'"):
        ChargeTransform(1, scale="cube")
    with pytest.raises(PgenError, match="has the keys"):
        ChargeTransform.from_dict({"clip": 1})
