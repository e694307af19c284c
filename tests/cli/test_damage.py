"""Files that are damaged, do not fit, or cannot be written: one sentence, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen import PgenError
from pgen.data import open_images, write_images
from pgen.utils.drafts import DRAFT
from tests.conftest import IMAGES, SMALL_AE


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    """The trained pipeline, to be damaged."""
    return shutil.copytree(pipeline, tmp_path / "copy")


def test_truncated_weights(refuses, copy: Path) -> None:
    halve(copy / "runs/ewm/model/weights.safetensors")
    refuses("sample", "runs/ewm", "--out", "x.h5", saying="weights.safetensors", cwd=copy)
    assert not (copy / "x.h5").exists()


def test_truncated_decoder(refuses, copy: Path) -> None:
    halve(copy / "runs/ewm/model/decoder.safetensors")
    refuses("sample", "runs/ewm", "--out", "x.h5", saying="decoder.safetensors", cwd=copy)


def test_truncated_checkpoint_is_named_and_resume_goes_back_to_the_one_before(refuses, pgen, copy: Path) -> None:
    steps = sorted((copy / "runs/ae/checkpoints").glob("step-*.pt"))
    halve(steps[-1])
    number = int(steps[-1].stem.removeprefix("step-"))
    refuses("deploy", "runs/ae", "--checkpoint", number, "--out", "there", saying=steps[-1].name, cwd=copy)
    pgen("train", "ae", "--resume", "runs/ae", cwd=copy)
    before = int(steps[-2].stem.removeprefix("step-"))
    assert f"from step {before}" in (copy / "runs/ae/log.txt").read_text()
    assert torch.load(steps[-1], weights_only=True)["step"] == number


def test_generator_that_is_none(pgen, tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(b"garbage")
    result = pgen("sample", "x.pt2", "--out", "x.h5", code=2, cwd=tmp_path)
    assert result.stderr.startswith("Error: x.pt2 is no generator") and "Traceback" not in result.stderr


def test_truncated_codes_and_config(refuses, copy: Path) -> None:
    halve(copy / "runs/ae/deploy/codes.pt")
    refuses("train", "ewm", "--targets", "runs/ae/deploy/codes.pt", saying="codes.pt", cwd=copy)
    halve(copy / "runs/ewm/config.json")
    refuses("sample", "runs/ewm", "--out", "x.h5", saying="config.json", cwd=copy)


def test_run_of_another_version(refuses, copy: Path) -> None:
    path = copy / "runs/ewm/config.json"
    config = json.loads(path.read_text())
    for change, saying in (
        ({"settings": None}, "must be a table"),
        ({"settings": {**config["settings"], "warp": 9}}, "--warp 9"),
        ({"config": {**config["config"], "n_wings": 2}}, "--n-wings 2"),
        ({"data": {"kind": "images"}}, "shape"),
    ):
        path.write_text(json.dumps({**config, **change}))
        refuses("sample", "runs/ewm", "--out", "x.h5", saying=saying, cwd=copy)
    del config["settings"]
    path.write_text(json.dumps(config))
    refuses("sample", "runs/ewm", "--out", "x.h5", saying="lacks settings", cwd=copy)
    refuses("train", "ewm", "--resume", "runs/ewm", saying="lacks settings", cwd=copy)


@pytest.mark.parametrize(
    "array", [np.float32(1), np.ones((2, 1, 1, 1, 1), np.float32), np.ones((0, 8), np.float32)], ids=["rank 0", "rank 5", "empty"]
)
def test_targets_of_the_wrong_rank(refuses, tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "targets.npy", array)
    refuses("train", "ewm", "--targets", "targets.npy", saying="targets.npy", cwd=tmp_path)


def test_targets_of_unequal_length(refuses, tmp_path: Path) -> None:
    for number, length in enumerate((8, 8, 7)):
        np.save(tmp_path / f"target_{number}.npy", np.ones(length, np.float32))
    refuses("train", "ewm", "--targets", tmp_path, saying="target_2.npy", cwd=tmp_path)


def test_folder_that_cannot_be_written(refuses, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    arguments = ("train", "gan", "--data", IMAGES, "--n-hidden", 4, "--max-steps", 1)
    refuses(*arguments, "--save-root", "file/runs", saying="file/runs", cwd=tmp_path)
    refuses("data", "simulate", "-n", 2, "--size", 16, "--out", "file/x.h5", saying="file", cwd=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(refuses, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    refuses("train", "gan", "--data", IMAGES, "--save-root", "closed", saying="closed", cwd=tmp_path)


def test_full_disk_keeps_what_was_there(pgen, refuses, tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the write fails half way, as there."""
    small = ("--data", IMAGES, "--n-hidden", 256, "--save-root", ".", "--name", "x", "--sample-size", 0)
    pgen("train", "gan", *small, "--max-steps", 1, cwd=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
    refuses("train", "gan", "--resume", "x", "--max-steps", 2, saying="free some space", cwd=tmp_path, **full)
    refuses("data", "simulate", "-n", 2000, "--size", 64, "--out", "x.npz", saying="x.npz", cwd=tmp_path, **full)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pt")} == before
    assert not list(tmp_path.rglob(f"*{DRAFT}"))


def test_hdf5_foresees_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(PgenError, match=r"x\.h5: cannot be written \(No space left on device\)"):
        write_images(tmp_path / "x.h5", open_images(IMAGES))
    assert not list(tmp_path.iterdir())


def test_images_of_another_shape(refuses, pipeline: Path, tmp_path: Path) -> None:
    other = "simulate:n=4,size=16,seed=3"
    refuses("deploy", "runs/ae", "--data", other, "--out", tmp_path, saying="(1, 16, 16)", cwd=pipeline)
    refuses("evaluate", "reconstruction", "runs/ae", "--held-out", other, "--out", tmp_path, saying="(1, 16, 16)", cwd=pipeline)
    refuses("train", "ae", "--data", IMAGES, "--held-out", other, *SMALL_AE, saying="(1, 16, 16)", cwd=tmp_path)
