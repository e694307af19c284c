"""Runs, stores and codes that an earlier version wrote still open, and give the same images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import pgen
from tests.conftest import run_pgen

WRITTEN = Path(__file__).parent / "containers" / "runs_0.1.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "written"))


def test_stores_codes_and_runs_open(folder: Path) -> None:
    images = pgen.open_images(folder / "images.h5")
    assert len(images) == 40 and images.unit == "ADC" and "pdg" in images.labels
    ae = pgen.load(folder / "runs/ae")
    assert ae.encode(images).codes.shape == (40, 2)


def test_samples_are_the_same_to_rounding(folder: Path) -> None:
    samples = pgen.load(folder / "runs/flow").sample(10, type="proton")
    np.testing.assert_allclose(np.asarray(samples), np.asarray(pgen.open_images(folder / "samples.h5")), rtol=1e-4, atol=1e-3)


def test_training_resumes(folder: Path) -> None:
    result = run_pgen("train", "flow", "--resume", "runs/flow", "--num-epochs", 3, cwd=folder)
    assert result.returncode == 0 and "from step 4" in result.stderr, result.stderr
