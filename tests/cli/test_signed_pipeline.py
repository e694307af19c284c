"""Signed charge from a file to a report, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgen.data import ArrayImages, describe, open_images, read_all, write_images
from pgen.data.transforms.crop import crop

SHAPE = (16, 16)


def waveforms(n: int, seed: int) -> np.ndarray:
    """(n, 1, 16, 16): bipolar pulses of random width along a column of random place, and some noise of both signs."""
    rng = np.random.default_rng(seed)
    images = np.rint(rng.normal(0, 1, (n, 1, *SHAPE))).astype(np.float32)
    for image, first, width, charge in zip(images, rng.integers(2, 9, n), rng.integers(3, 8, n), rng.integers(15, 60, n), strict=True):
        image[0, 5:7, first : first + width] += charge
        image[0, 7:9, first : first + width] -= charge // 2
    return images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed")
    for seed, name in enumerate(("train", "held_out")):
        write_images(path / f"{name}.npz", ArrayImages(waveforms(64, seed)))
    return path


def test_facts_of_signed_images() -> None:
    facts = describe(ArrayImages(np.array([[[0.0, -20], [50, 3]], [[-3, 0], [0, 0]]])), threshold=5)
    assert (facts["charge_min"], facts["charge_max"]) == (-20, 50)
    assert (facts["occupancy_above_0"], facts["occupancy"], facts["blank_images"]) == (4 / 8, 2 / 8, 1)
    assert (facts["mean_total_charge"], facts["mean_total_absolute_charge"]) == (15, 35)
    assert facts["negative_fraction"] == pytest.approx(20 / 70) and facts["charge_percentiles"]["50"] == 15
    assert describe(ArrayImages(np.full((1, 2, 2), -7.0)))["negative_fraction"] == 1
    assert describe(ArrayImages(np.zeros((1, 2, 2))))["negative_fraction"] == 0


def test_crops_go_by_magnitude() -> None:
    plane = np.zeros((2, 8, 8), np.float32)
    plane[0, 1, 1], plane[0, 1, 3], plane[1, 6, 6] = 10, -10, -10
    parts = list(crop(ArrayImages(plane), (4, 4), threshold=5, min_occupancy=1 / 16))
    assert [part.ids.tolist() for part in parts] == [["0/0/0"], ["1/4/4"]]
    (window,) = crop(ArrayImages(plane[:1]), (2, 2), mode="centre", border="pad", threshold=5, min_occupancy=0)
    assert window.ids.tolist() == ["0/0/1"]  # halfway between the two: their charge does not cancel


def test_files_keep_the_signs(pgen, refuses, folder: Path, tmp_path: Path) -> None:
    images = open_images(str(folder / "train.npz"))
    for command, name in (("convert", "store.h5"), ("convert", "copy.npz"), ("export", "larcv3.h5")):
        pgen("data", command, folder / "train.npz", "--out", name, cwd=tmp_path)
        assert open_images(str(tmp_path / name)).fingerprint == images.fingerprint
    refuses("data", "convert", folder / "train.npz", "--out", "png", saying="does not fit a PNG, expected 0 to 65535", cwd=tmp_path)
    charge = read_all(images)
    dropped = read_all(open_images(f"{tmp_path / 'store.h5'}:negative=drop,suppress=3"))
    assert np.array_equal(dropped, np.where(charge > 3, charge, 0))
    suppressed = read_all(open_images(f"{tmp_path / 'store.h5'}:suppress=3"))
    assert np.array_equal(suppressed, np.where(np.abs(charge) > 3, charge, 0)) and (suppressed < 0).any()
    refuses("data", "info", "store.h5:negative=no", saying="negative=no is unknown; expected keep or drop", cwd=tmp_path)


def test_from_a_file_to_a_report(pgen, folder: Path) -> None:
    real = ("--threshold", 4, "--held-out", "held_out.npz")
    info = pgen("data", "info", "train.npz", "--threshold", 4, "--preview", "-", cwd=folder).stdout
    assert "negative" in info and "@" in info
    small = ("--arch", "map", "--n-layers", 2, "--depth", 8, "--num-epochs", 40, "--batch-size", 16)
    pgen("train", "ae", "--data", "train.npz", *real, *small, "--name", "ae", cwd=folder)
    pgen("deploy", "runs/ae", cwd=folder)
    short = ("--n-hidden", 16, "--max-steps", 100, "--sample-size", 4)
    pgen("train", "flow", "--targets", "runs/ae/deploy/codes.pt", *short, "--name", "flow", cwd=folder)
    pgen("sample", "runs/flow", "-n", 64, "--out", "samples.h5", "--grid", "grid.png", cwd=folder)
    samples = read_all(open_images(str(folder / "samples.h5")))
    assert samples.min() < -4 and samples.max() > 4 and not ((samples != 0) & (np.abs(samples) <= 4)).any()
    pixels = np.asarray(Image.open(folder / "grid.png").convert("RGB")).astype(int)
    red, blue = pixels[..., 0] > pixels[..., 2] + 40, pixels[..., 2] > pixels[..., 0] + 40
    assert red.sum() > 1000 and blue.sum() > 1000
    sets = ("--train", "train.npz:suppress=4", "--held-out", "held_out.npz:suppress=4", "--threshold", 4)
    pgen("evaluate", "physics", "--generated", "samples.h5", *sets, "--out", "report", cwd=folder)
    results = json.loads((folder / "report/results.json").read_text())
    means = results["generated"]["samples"]["metrics"]["physics"]["details"]["mean"]
    assert means["net charge"]["generated"] == pytest.approx(np.where(np.abs(samples) > 4, samples, 0).sum((1, 2, 3)).mean(), rel=1e-5)
    assert 0.2 < means["negative fraction"]["generated"] < 0.5
    pgen("evaluate", "wasserstein", "--generated", "train.npz:negative=drop", *sets, "--out", "unsigned", cwd=folder)
    (warning,) = [text for text in json.loads((folder / "unsigned/results.json").read_text())["warnings"] if "negative charge" in text]
    assert "0.00% in generated" in warning
