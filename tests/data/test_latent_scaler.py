from __future__ import annotations

import json

import pytest
import torch

from pgen.data.transforms.latent_scaler import LatentScaler
from pgen.errors import DataError


def test_standardises_bit_for_bit_and_survives_json() -> None:
    torch.manual_seed(0)
    codes, mean, std = torch.randn(50, 7) * 3, torch.randn(7), torch.rand(7) + 0.1
    scaler = LatentScaler(mean, std)
    standardised = scaler.forward(codes)
    assert torch.equal(standardised, (codes - mean) / std)
    assert torch.equal(scaler.inverse(standardised), standardised * std + mean)
    again = LatentScaler.from_dict(json.loads(json.dumps(scaler.to_dict())) | {"encoder": {}})
    assert torch.equal(again.mean, mean) and torch.equal(again.std, std) and again.mean.dtype == torch.float32


def test_exports_without_copies() -> None:
    class Decode(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.randn(3))
            self.register_buffer("std", torch.rand(3) + 1)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return LatentScaler(self.mean, self.std).inverse(z)

    z, module = torch.randn(4, 3), Decode()
    program = torch.export.export(module, (z,))
    assert torch.equal(program.module()(z), module(z))
    assert not any("_to" in str(node.target) for node in program.graph.nodes)


def test_refuses_what_is_no_scaler() -> None:
    with pytest.raises(DataError, match="of one shape"):
        LatentScaler(torch.zeros(3), torch.ones(2))
    for values in ({"mean": [0.0]}, {"mean": ["x"], "std": [1.0]}, {"mean": [0.0], "std": None}):
        with pytest.raises(DataError, match="lists of numbers"):
            LatentScaler.from_dict(values)
