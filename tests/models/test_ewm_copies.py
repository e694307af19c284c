"""EWM fitted to targets of which many are identical: noise goes to them in proportion, in every round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import ArrayImages, open_images, read_all, write_images
from tests.helpers.trained import trained

SMALL = {"n_hidden": 32, "batch_size": 128, "ots_steps": 90, "num_epochs": 2}


def share_of_pairs(model: torch.nn.Module, is_copy: torch.Tensor) -> float:
    """The fraction of the pairs of the last solve whose target is one of those copies."""
    return float(is_copy[model.pair_hit].float().mean())  # type: ignore[index]


@pytest.mark.parametrize("number", [200, 60, 6])
@pytest.mark.parametrize("jitter", [0.0, 1e-6])
def test_pairs_have_identical_codes_in_proportion(number: int, jitter: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = random.standard_normal((600, 8)).astype("f4")
    codes[:number] = codes[0] + jitter * random.standard_normal((number, 8))
    np.save(tmp_path / "codes.npy", codes)
    run = trained("ewm", tmp_path / "codes.npy", tmp_path, **SMALL)
    model = run.load_model("last:raw")
    assert share_of_pairs(model, torch.arange(600) < number) == pytest.approx(number / 600, abs=0.02)
    counted = model.histograms()["hits per target"]  # type: ignore[operator]
    assert len(counted) == 601 - number and float(counted.max() / counted.sum()) == pytest.approx(number / 600, abs=0.02)
    assert run.folder.log.read_text().count(f"{number} of 600 targets") == 1


@pytest.mark.parametrize("cost", ["sqeuclidean", "l1"])
def test_pairs_have_blank_images_in_proportion_by_their_pixels_too(cost: str, tmp_path: Path) -> None:
    images = read_all(open_images("simulate:n=120,size=16,seed=4"))
    images[::3] = 0
    store = write_images(tmp_path / "x.h5", ArrayImages(images))
    run = trained("ewm", store, tmp_path, threshold=10, cost=cost, **SMALL)
    assert share_of_pairs(run.load_model("last:raw"), torch.arange(120) % 3 == 0) == pytest.approx(1 / 3, abs=0.03)


def test_distinct_targets_are_reported_by_no_line(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.random.default_rng(1).standard_normal((50, 3)).astype("f4"))
    run = trained("ewm", tmp_path / "codes.npy", tmp_path, **SMALL, max_steps=3)
    assert "identical" not in run.folder.log.read_text()
