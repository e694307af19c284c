"""Data that moved since a run began: it resumes if their fingerprint is the same, and else says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pgen.data import ArrayImages, write_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from tests.conftest import SMALL_AE, run_pgen

TINY = ("--n-hidden", 4, "--batch-size", 8, "--sample-size", 0)


def store(path: Path, seed: int, kinds: int = 2) -> None:
    rng = np.random.default_rng(seed)
    images = 50 * rng.random((24, 1, 8, 8), dtype=np.float32) * (rng.random((24, 1, 8, 8)) < 0.3)
    write_images(path, ArrayImages(images.astype(np.float32), labels={"kind": np.arange(24) % kinds}))


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of a GAN and of an auto-encoder with held-out data, by relative paths."""
    root = tmp_path_factory.mktemp("began")
    for number, name in enumerate(("train", "held_out", "other")):
        store(root / f"data/{name}.h5", number)
    store(root / "data/relabelled.h5", 0, kinds=3)
    common = ("--data-root", "data", "--max-steps", 2, "--name")
    for arguments in (
        ("train", "gan", "--dataset", "train.h5", *TINY, "--condition", "kind", *common, "gan"),
        ("train", "ae", "--data", "train.h5", "--held-out", "held_out.h5", *SMALL_AE, "--sample-size", 0, *common, "ae"),
    ):
        done = run_pgen(*arguments, cwd=root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def work(began: Path, tmp_path: Path) -> Path:
    """The runs on another machine, without the folder in which they began."""
    shutil.copytree(began, tmp_path / "work")
    for config in tmp_path.glob("work/runs/*/config.json"):
        values = json.loads(config.read_text())
        config.write_text(json.dumps({**values, "began_in": str(tmp_path / "gone")}))
    return tmp_path / "work"


def newest(run: Path) -> int:
    return checkpoints.steps(RunDirectory(run))[-1]


def test_training_resumes_on_the_same_data_elsewhere_and_refuses_others(pgen, refuses, work: Path) -> None:
    (work / "data").rename(work / "moved")
    resume = ("train", "gan", "--resume", "runs/gan", "--max-steps")
    refuses(*resume, 4, saying="train.h5: the data of runs/gan are gone", cwd=work)
    refuses(*resume, 4, saying="give --data with the path they have now", cwd=work)
    refuses(
        *resume, 4, "--data", work / "moved/other.h5", saying="has changed since runs/gan was trained on it, or is another set", cwd=work
    )
    refuses(*resume, 4, "--data", work / "moved/relabelled.h5", saying="its labels kind have changed", cwd=work)
    pgen(*resume, 4, "--data-root", "moved", cwd=work)
    assert newest(work / "runs/gan") == 4
    # The next command finds them from any folder.
    pgen("train", "gan", "--resume", "work/runs/gan", "--max-steps", 5, cwd=work.parent)
    pgen(*resume, 6, "--data", work / "moved/train.h5", cwd=work)
    assert newest(work / "runs/gan") == 6
    refuses(*resume, 7, "--held-out", "moved/other.h5", saying="cannot change --held-out from None", cwd=work)


def test_other_commands_and_held_out_data_find_moved_data(pgen, refuses, work: Path) -> None:
    (work / "data").rename(work / "moved")
    resume = ("train", "ae", "--resume", "runs/ae", "--max-steps", 4, "--data", work / "moved/train.h5")
    refuses(*resume, saying="held_out.h5: the data of runs/ae are gone", cwd=work)
    refuses(*resume, "--held-out", work / "moved/other.h5", saying="was compared with it, or is another set", cwd=work)
    for command in (("deploy", "runs/ae"), ("evaluate", "reconstruction", "runs/ae", "--held-out", "moved/held_out.h5")):
        refuses(*command, saying="train.h5: the data of runs/ae are gone", cwd=work)
    pgen("deploy", "runs/ae", "--data", "moved/train.h5", cwd=work)
    pgen(*resume, "--held-out", work / "moved/held_out.h5", cwd=work)
    assert newest(work / "runs/ae") == 4


def test_relative_paths_start_where_the_run_began(pgen, began: Path, tmp_path: Path) -> None:
    shutil.copytree(began / "runs", tmp_path / "runs")
    pgen("deploy", tmp_path / "runs/ae", cwd=tmp_path)
    pgen("train", "ae", "--resume", "runs/ae", "--max-steps", 3, cwd=tmp_path)
    config = json.loads((tmp_path / "runs/ae/config.json").read_text())
    assert config["began_in"] == str(began) and newest(tmp_path / "runs/ae") == 3
    # Data in the current folder take precedence.
    shutil.copytree(began / "data", tmp_path / "data")
    pgen("train", "gan", "--resume", "runs/gan", "--max-steps", 3, cwd=tmp_path)
    assert json.loads((tmp_path / "runs/gan/config.json").read_text())["began_in"] == str(tmp_path)
