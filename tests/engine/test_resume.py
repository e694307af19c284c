"""Train N steps = train k, stop, resume to N, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import IMAGES, SMALL_AE

MODELS = {
    "gan": ("--data", IMAGES, "--n-hidden", "16", "--p", "0.2", "--batch-size", "20"),
    "ae": ("--data", IMAGES, *SMALL_AE, "--p", "0.2"),
    "ewm": (
        "--targets",
        "simulate:n=40,size=16,seed=3",
        "--n-hidden",
        "16",
        "--ots-steps",
        "9",
        "--batch-size",
        "32",
        "--p",
        "0.2",
        "--tess-var",
        "0.01",
    ),
}


def assert_same(root: Path, first: str, second: str, step: int) -> None:
    """The checkpoints of two runs at a step are equal, bit for bit."""
    a, b = (torch.load(root / name / f"checkpoints/step-{step:08d}.pt", weights_only=True) for name in (first, second))
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    assert str(a["optimizers"]) == str(b["optimizers"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [11])
def test_resume_is_exact(model: str, steps: int, pgen, tmp_path: Path) -> None:
    common = (*MODELS[model], "--save-root", tmp_path, "--sample-size", 0, "--num-epochs", 99)
    pgen("train", model, *common, "--name", "whole", "--max-steps", 27)
    pgen("train", model, *common, "--name", "halves", "--max-steps", steps)
    pgen("train", model, "--resume", tmp_path / "halves", "--max-steps", 27)
    assert_same(tmp_path, "whole", "halves", 27)


@pytest.mark.parametrize("model", MODELS)
def test_resume_after_kill_is_exact(model: str, pgen, tmp_path: Path) -> None:
    common = (*MODELS[model], "--save-root", tmp_path, "--sample-size", 0, "--num-epochs", 10**6, "--lr-decay", 0.1, "--checkpoint", 5)
    command = [sys.executable, "-m", "pgen", "train", model, *map(str, (*common, "--name", "killed"))]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := sorted((tmp_path / "killed/checkpoints").glob("step-*.pt"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    last = int(sorted((tmp_path / "killed/checkpoints").glob("step-*.pt"))[-1].stem[5:]) + 7
    assert found and last < 10**5
    pgen("train", model, "--resume", tmp_path / "killed", "--max-steps", last)
    pgen("train", model, *common, "--name", "whole", "--max-steps", last)
    assert_same(tmp_path, "whole", "killed", last)


def test_sigterm_finishes_the_step_and_saves(tmp_path: Path) -> None:
    arguments = ("train", "gan", *MODELS["gan"], "--save-root", tmp_path, "--name", "x", "--num-epochs", "1000000")
    process = subprocess.Popen([sys.executable, "-m", "pgen", *map(str, arguments)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "x/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list((tmp_path / "x/checkpoints").glob("step-*.pt"))
    assert load_file(tmp_path / "x/model/weights.safetensors")
