from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ArrayImages, Transform
from pgen.errors import UserError

transforms = st.builds(
    lambda clip, fraction, scale, unit: Transform(clip, fraction * clip, scale, unit * clip),
    st.floats(1e-2, 1e4),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.sampled_from(["linear", "sqrt", "log", "asinh"]),
    st.floats(1e-3, 10),
)


@settings(deadline=None)
@given(transforms, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_inverse_undoes_forward(transform: Transform, parts: list[float]) -> None:
    charge = transform.threshold * 1.001 + torch.tensor(parts, dtype=torch.float64) * (transform.clip - transform.threshold * 1.001)
    charge = charge.float()
    model = transform.forward(charge)
    assert model.min() >= 0 and model.max() <= 1 + 1e-6
    assert torch.allclose(transform.inverse(model), charge, rtol=1e-4, atol=1e-5 * transform.clip)
    ordered = charge.sort().values
    assert bool((transform.forward(ordered).diff() >= 0).all())


@settings(deadline=None)
@given(transforms)
def test_ends(transform: Transform) -> None:
    charge = torch.tensor([-5.0, 0.0, transform.threshold, transform.clip, 2 * transform.clip])
    assert torch.allclose(transform.forward(charge), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))
    out = transform.inverse(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert torch.allclose(out, torch.tensor([0.0, 0.0, transform.clip, transform.clip]), rtol=1e-4)
    assert Transform.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform


def test_fit() -> None:
    images = ArrayImages(np.array([[[0.0, 10, 20]], [[40, 5, -3]]]))
    assert Transform.fit(images, threshold=5, scale="log") == Transform(40, 5, "log", np.mean([10, 20, 40]))
    assert Transform.fit(images, clip=25).clip == 25
    with pytest.raises(UserError, match="all images are blank"):
        Transform.fit(images, threshold=40)


def test_exports() -> None:
    for scale in ("linear", "sqrt", "log", "asinh"):
        transform = Transform(100.0, 10.0, scale, 30.0)

        class Back(torch.nn.Module):
            def forward(self, y: torch.Tensor) -> torch.Tensor:
                return transform.inverse(y)  # noqa: B023

        y = torch.rand(2, 1, 4, 4)
        assert torch.equal(torch.export.export(Back(), (y,)).module()(y), transform.inverse(y))


def test_bad_values() -> None:
    for values in (
        {"clip": 0},
        {"clip": 1, "threshold": 2},
        {"clip": 1, "threshold": -1},
        {"clip": float("nan")},
        {"clip": 1, "unit_charge": 0},
    ):
        with pytest.raises(UserError, match="fit"):
            Transform(**values)
    with pytest.raises(UserError, match="scale='cube'"):
        Transform(1, scale="cube")
    with pytest.raises(UserError, match="has the keys"):
        Transform.from_dict({"clip": 1})
