"""Training N steps equals training k, stopping and resuming to N, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgen.data import open_images, write_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from tests.helpers.kills import IMAGES, MODELS, assert_equal


def assert_same_checkpoint(root: Path, first: str, second: str, step: int) -> None:
    """The checkpoints of two runs at a step are equal, bit for bit."""
    assert_equal(*(checkpoints.load(RunDirectory(root / name), step) for name in (first, second)))


def truncate_run(run: Path, step: int) -> Path:
    """Remove from a run what came after ``step`` steps."""
    folder = RunDirectory(run)
    for later in [number for number in checkpoints.steps(folder) if number > step]:
        checkpoints.path_of(folder, later).unlink()
    folder.weights.unlink()
    return run


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [11])
def test_resume_is_exact(model: str, steps: int, pgen, tmp_path: Path) -> None:
    common = (*MODELS[model], "--save-root", tmp_path, "--sample-size", 0, "--num-epochs", 99, "--max-steps", 27, "--checkpoint", steps)
    pgen("train", model, *common, "--name", "whole")
    truncate_run(shutil.copytree(tmp_path / "whole", tmp_path / "halves"), steps)
    assert f"from step {steps}" in pgen("train", model, "--resume", tmp_path / "halves").stderr
    assert_same_checkpoint(tmp_path, "whole", "halves", 27)
    if model == "gan":
        assert "nothing was left to do at step 27" in pgen("train", model, "--resume", tmp_path / "halves").stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("model", MODELS)
def test_resume_is_exact_on_a_gpu(model: str, pgen, tmp_path: Path) -> None:
    # Fresh processes: CUDA does not survive the fork of a warm one.
    common = (*MODELS[model], "--save-root", tmp_path, "--sample-size", 0, "--num-epochs", 99, "--max-steps", 27, "--checkpoint", 11)
    pgen("train", model, *common, "--name", "whole", "--device", "cuda", "--deterministic", fresh=True)
    truncate_run(shutil.copytree(tmp_path / "whole", tmp_path / "halves"), 11)
    pgen("train", model, "--resume", tmp_path / "halves", fresh=True)
    assert_same_checkpoint(tmp_path, "whole", "halves", 27)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_job_ends_training_after_the_step_and_saves(workers: int, number: int, tmp_path: Path) -> None:
    """Ctrl-C and schedulers send a signal to all processes of the group."""
    images = write_images(tmp_path / "images.h5", open_images(IMAGES))
    arguments = ("train", "gan", "--data", images, *MODELS["gan"][2:], "--save-root", tmp_path, "--name", "x", "--num-epochs", 10**6)
    command = [sys.executable, "-m", "pgen", *map(str, (*arguments, "--num-workers", workers, "--log-every", 1))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, text=True)
    wait_for(tmp_path / "x/metrics.jsonl", process)
    os.killpg(process.pid, number)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 128 + number, log
    assert "Traceback" not in log
    assert list((tmp_path / "x/checkpoints").glob("step-*.pt"))
    assert load_file(tmp_path / "x/model/weights.safetensors")


def test_a_run_killed_before_its_first_checkpoint_starts_from_step_0(pgen, tmp_path: Path) -> None:
    common = ("--data", IMAGES, *MODELS["gan"][2:], "--save-root", tmp_path, "--name", "x", "--num-epochs", 10**6, "--log-every", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "pgen", "train", "gan", *map(str, (*common, "--checkpoint", 10**6))],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(tmp_path / "x/metrics.jsonl", process)
    process.kill()
    process.wait(60)
    pgen("train", "gan", "--resume", tmp_path / "x", "--max-steps", 3)
    lines = [json.loads(line)["step"] for line in (tmp_path / "x/metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3]


def test_options_changed_on_resume_are_saved(pgen, refuses, tmp_path: Path) -> None:
    common = ("--data", IMAGES, *MODELS["gan"][2:], "--save-root", tmp_path, "--name", "x", "--sample-size", 0, "--lr-decay", 0.5)
    pgen("train", "gan", *common, "--max-steps", 2)
    config = tmp_path / "x/config.json"
    # As if training had started on a machine with more GPUs.
    saved = json.loads(config.read_text())
    saved["settings"]["gpu"] = 93
    config.write_text(json.dumps(saved))
    refuses("train", "gan", "--resume", tmp_path / "x", saying="GPU 93")
    text = pgen("train", "gan", "--resume", tmp_path / "x", "--device", "cpu", "--max-steps", 4, "--num-epochs", 40).stderr
    assert "no longer of 20" in " ".join(text.split())
    settings = json.loads(config.read_text())["settings"]
    assert (settings["device"], settings["gpu"], settings["max_steps"], settings["num_epochs"]) == ("cpu", None, 4, 40)
