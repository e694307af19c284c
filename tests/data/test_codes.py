from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import LatentCodes, load_codes
from pgen.errors import PgenError


def test_codes_come_back(tmp_path: Path) -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    values[:, 2] = 3.0
    codes = LatentCodes.from_vectors(
        values, [f"a/{i}" for i in range(6)], {"name": "x", "fingerprint": "ff"}, {"run": "runs/ae", "weights": "00"}
    )
    assert codes.std[2] == 1 and torch.allclose(codes.mean, values.mean(0))
    codes.save(tmp_path / "codes.pt")
    back = load_codes(tmp_path / "codes.pt")
    assert torch.equal(back.codes, values) and torch.equal(back.std, codes.std)
    assert (back.ids, dict(back.source), dict(back.encoder)) == (codes.ids, dict(codes.source), dict(codes.encoder))
    assert back.fingerprint == codes.fingerprint != LatentCodes.from_vectors(values + 1, codes.ids, {}).fingerprint
    with pytest.raises(PgenError, match="exists already"):
        codes.save(tmp_path / "codes.pt")


def test_target_folder_is_in_order_of_numbers(tmp_path: Path) -> None:
    for i in (10, 2):
        np.save(tmp_path / f"target_{i}.npy", np.full(3, i))
    assert load_codes(tmp_path).codes[:, 0].tolist() == [2, 10]
    np.save(tmp_path / "target_3.npy", np.ones(4))
    with pytest.raises(PgenError, match=r"target_3\.npy has shape"):
        load_codes(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), "expected latent codes"),
        (torch.ones(3, 2, 2), "expected latent codes"),
        (torch.full((2, 2), torch.nan), "NaN"),
        (torch.ones(0, 2), "neither of them 0"),
        ({"format": "pgen-codes-9"}, "expected 'pgen-codes-1'"),
        ({"format": "pgen-codes-1"}, "cannot be read"),
        ({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, "more than one key"),
    ],
)
def test_bad_codes(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "codes.pt")
    with pytest.raises(PgenError, match=message):
        load_codes(tmp_path / "codes.pt")


def test_parts_must_fit() -> None:
    ones = torch.ones(2, 3)
    with pytest.raises(PgenError, match="expected a float32 tensor"):
        LatentCodes(ones.double(), ones[0], ones[0], ["a", "b"])
    with pytest.raises(PgenError, match="come with mean"):
        LatentCodes(ones, ones[0, :2], ones[0], ["a", "b"])
    with pytest.raises(PgenError, match="std is not positive"):
        LatentCodes(ones, ones[0], 0 * ones[0], ["a", "b"])


def test_no_codes(tmp_path: Path) -> None:
    with pytest.raises(PgenError, match="no such file"):
        load_codes(tmp_path / "x.pt")
    with pytest.raises(PgenError, match=r"no target_<i>\.npy"):
        load_codes(tmp_path)


def test_maps_are_standardised_channel_by_channel(tmp_path: Path) -> None:
    values = torch.randn(50, 2, 3, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 5.0])[:, None, None]
    values += torch.arange(12.0).view(3, 4)  # places differ
    codes = LatentCodes.from_vectors(values.flatten(1), list(map(str, range(50))), {}, shape=(2, 3, 4))
    for channel in (0, 1):
        places = slice(12 * channel, 12 * channel + 12)
        assert torch.allclose(codes.mean[places], values[:, channel].mean())
        assert torch.allclose(codes.std[places], values[:, channel].std(correction=0))
    codes.save(tmp_path / "codes.pt")
    assert load_codes(tmp_path / "codes.pt").shape == (2, 3, 4)
    with pytest.raises(PgenError, match="its maps of"):
        LatentCodes.from_vectors(values.flatten(1), codes.ids, {}, shape=(2, 3, 5))
