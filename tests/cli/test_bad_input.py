"""Bad input: one sentence, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import IMAGES, SMALL_AE


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (("train", "gann", "--data", IMAGES), "Did you mean 'gan'"),
        (("train", "gan"), "needs training images"),
        (("train", "gan", "--data", "nothing.h5"), "nothing.h5"),
        (("train", "gan", "--data", IMAGES, "--batch-size", "97", "--drop-last"), "--batch-size 97"),
        (("train", "gan", "--data", IMAGES, "--gpu", "3", "--device", "cpu"), "contradict"),
        (("train", "gan", "--data", IMAGES, "--g-lr", "-1", "--p", "2"), "--g-lr -1"),
        (("train", "gan", "--data", IMAGES, "--g-lr", "-1", "--p", "2"), "--p 2"),
        (("train", "gan", "--targets", IMAGES), "--data"),
        (("train", "ae", "--data", IMAGES, "--n-layers", "6"), "--n-layers"),
        (("train", "gan", "--resume", "runs/none"), "runs/none"),
        (("train", "gan", "--config", "none.toml"), "none.toml"),
        (("deploy", "runs/none"), "runs/none"),
        (("sample", "runs/none", "--out", "x.h5"), "runs/none"),
        (("sample", "runs/none", "--out", "x.h5", "--device", "gpu"), "--device gpu"),
        (("deploy", "runs/none", "--device", "cuda:x"), "--device cuda:x"),
        (("train", "gan", "--data", IMAGES, "--held-out", IMAGES), "--held-out"),
        (("evaluate", "losses", "runs/none", "--out", "x"), "x.png"),
    ],
)
def test_one_sentence(refuses, tmp_path: Path, arguments: tuple[str, ...], saying: str) -> None:
    refuses(*arguments, saying=saying, cwd=tmp_path)


def test_missing_gpu(refuses, tmp_path: Path) -> None:
    refuses("train", "gan", "--data", IMAGES, "--gpu", 93, saying="GPU 93", cwd=tmp_path)


def test_bad_files(refuses, tmp_path: Path) -> None:
    (tmp_path / "empty.h5").write_bytes(b"")
    np.save(tmp_path / "nan.npy", np.full((4, 8, 8), np.nan, np.float32))
    np.save(tmp_path / "codes.npy", np.full((4, 2, 2, 2, 2), 1, np.float32))
    refuses("train", "gan", "--data", "empty.h5", saying="empty.h5", cwd=tmp_path)
    refuses("train", "gan", "--data", "nan.npy", saying="NaN", cwd=tmp_path)
    refuses("train", "ewm", "--targets", "codes.npy", saying="codes.npy", cwd=tmp_path)
    refuses("data", "crop", "simulate:n=2,size=32", "--size", 64, "--out", "x.h5", saying="64", cwd=tmp_path)


def test_pictures_without_a_known_ending_are_refused_before_the_work(refuses, pipeline: Path, tmp_path: Path) -> None:
    for name in ("grid", "grid.xyz"):
        refuses("sample", "runs/ewm", "-n", 2, "--out", tmp_path / "x.h5", "--grid", tmp_path / name, saying="grid.png", cwd=pipeline)
    assert not list(tmp_path.iterdir())


def test_options_without_effect_are_refused(refuses, pipeline: Path, tmp_path: Path) -> None:
    refuses("deploy", "runs/ae", "--decoder", "runs/ae", "--out", tmp_path, saying="--decoder", cwd=pipeline)
    refuses("deploy", "runs/ae", "--data-root", ".", "--out", tmp_path, saying="--data-root", cwd=pipeline)
    refuses("train", "ewm", "--resume", "runs/ewm", "--name", "other", saying="--name from ewm to other", cwd=pipeline)


def test_existing_things_stay(refuses, pipeline: Path) -> None:
    before = (pipeline / "runs/ae/config.json").read_bytes()
    refuses("train", "ae", "--data", IMAGES, *SMALL_AE, "--save-root", "runs", "--name", "ae", saying="--overwrite", cwd=pipeline)
    refuses("deploy", "runs/ae", saying="exists already", cwd=pipeline)
    refuses("train", "ae", "--resume", "runs/ae", "--l-dim", 9, saying="--l-dim from 8 to 9", cwd=pipeline)
    assert (pipeline / "runs/ae/config.json").read_bytes() == before


def test_overwrite_spares_its_own_input_and_is_not_inherited(refuses, pgen, pipeline: Path, tmp_path: Path) -> None:
    codes = pipeline / "runs/ae/deploy/codes.pt"
    refuses("train", "ewm", "--targets", codes, "--name", "ae", "--overwrite", saying="holds the input", cwd=pipeline)
    assert codes.is_file()
    gan = ("train", "gan", "--data", IMAGES, "--n-hidden", 4, "--max-steps", 1, "--sample-size", 0, "--name")
    pgen(*gan, "first", "--overwrite", cwd=tmp_path)
    pgen(*gan, "second", cwd=tmp_path)
    refuses("train", "gan", "--config", "runs/first/config.json", "--name", "second", saying="exists already", cwd=tmp_path)


def test_decoder_that_does_not_belong(refuses, pgen, pipeline: Path, tmp_path: Path) -> None:
    for name, size in (("other", 8), ("smaller", 4)):
        small = [str(size) if word == "8" else word for word in SMALL_AE]
        pgen("train", "ae", "--data", IMAGES, *small, "--max-steps", 2, "--save-root", tmp_path, "--name", name)
    sample = ("sample", "runs/ewm", "--out", tmp_path / "x.h5", "--decoder")
    refuses(*sample, tmp_path / "other", saying="another training", cwd=pipeline)
    refuses(*sample, tmp_path / "smaller", saying="codes have 4 values", cwd=pipeline)
    refuses("sample", "runs/ae", "--out", tmp_path / "x.h5", saying="generates nothing", cwd=pipeline)


def test_divergence_keeps_the_last_good_checkpoint(refuses, tmp_path: Path) -> None:
    steep = ("train", "gan", "--data", IMAGES, "--n-hidden", 8, "--batch-size", 32, "--d-opt", "sgd", "--beta", 0, "--sample-size", 0)
    # The rate doubles what is left of the weights until they overflow: some steps go well.
    options = (*steep, "--d-lr", 1e4, "--save-root", tmp_path, "--name", "x", "--checkpoint", 1, "--keep-checkpoints", 99)
    refuses(*options, saying="diverged", cwd=tmp_path)
    kept = sorted((tmp_path / "x/checkpoints").glob("*"))
    assert kept
    for path in kept:
        assert all(bool(torch.isfinite(value).all()) for value in torch.load(path, weights_only=True)["model"].values())
    refuses("train", "gan", "--resume", tmp_path / "x", saying=f"The checkpoint of step {int(kept[-1].stem[5:])} is kept", cwd=tmp_path)


def test_divergence_before_the_first_checkpoint(refuses, tmp_path: Path) -> None:
    arguments = ("train", "ae", "--data", IMAGES, *SMALL_AE, "--ae-lr", "1e38", "--ae-opt", "sgd", "--save-root", tmp_path, "--name", "x")
    refuses(*arguments, saying="There was no checkpoint yet", cwd=tmp_path)
    assert not list((tmp_path / "x/checkpoints").glob("*"))
